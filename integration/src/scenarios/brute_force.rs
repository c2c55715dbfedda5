//! Wrong passwords on one account.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::{Outcome, Request};
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, Person, guess_until_cut, prove_banned};
use crate::testbed::{Break, Fault};

inventory::submit! {
    Scenario {
        name: "brute-force",
        proves: "maxretry wrong passwords on one account: listed, refused, open connections cut",
        settings: &[],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "filter-matches-nothing",
                breaks: Break::Replace {
                    file: "etc/fail2ban/filter.d/fmd-server.conf",
                    find: "failed login attempt",
                    with: "no such message",
                },
                noticed_as: "still get in",
            },
            Fault { name: "no-net-admin", breaks: Break::NoNetAdmin, noticed_as: "still get in" },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    attack(stage, &stage.person("attacker").await?, "alice").await
}

/// The attack itself, which the IPv6 scenario repeats.
pub(super) async fn attack(stage: &Stage, attacker: &Person, account: &str) -> Result<()> {
    let (cut, open) = tokio::join!(
        guess_until_cut(attacker, MAXRETRY, |_| account.to_owned()),
        keep_open(attacker),
    );
    let cut = cut?;
    for guess in &cut.guesses {
        ensure!(guess.outcome.status() == Some(403), "a wrong password was answered with {}", guess.outcome);
    }
    let delay = cut.delay().as_secs_f64();
    stage.note(format!("{}, {delay:.2} s after the last failure", cut.cut.outcome));
    stage.note(format!("an open keep-alive connection was cut: {}", open?));
    prove_banned(stage, attacker, JAIL).await.map(drop)
}

/// Asks for the page over one kept connection until it is cut.
async fn keep_open(attacker: &Person) -> Result<Outcome> {
    let page = Request::new("GET", "/");
    let until = page.clone().until_refused(Duration::from_millis(50), PATIENCE);
    let mut plan = attacker.requests(vec![page, until]).kept();
    plan.timeout_ms = 2000;
    let attempts = attacker.send(plan).await?;
    let first = attempts.first().and_then(|attempt| attempt.outcome.status());
    ensure!(first == Some(200), "the kept connection was not served before the ban");
    match attempts.last().map(|attempt| &attempt.outcome) {
        Some(cut) if cut.is_cut() => Ok(cut.clone()),
        _ => anyhow::bail!("an open connection of {} is still served after the ban", attacker.address()),
    }
}
