//! Wrong passwords on one account.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::{Attempt, Outcome, Request};
use crate::scenario::{Scenario, Stage};
use crate::stack::{Cut, JAIL, MAXRETRY, PATIENCE, Person, login, prove_banned};
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
    // The page over a connection that stays open from before the ban to after it.
    let kept = || Request::new("GET", "/").kept();
    let knock = Request::new("GET", "/").until_refused(Duration::from_millis(10), PATIENCE);
    let mut requests = vec![kept()];
    requests.extend(vec![login(account, "wrong"); MAXRETRY]);
    requests.extend([knock, kept()]);
    let attempts = attacker.send(attacker.requests(requests)).await?;
    let (kept, rest): (Vec<_>, Vec<_>) = attempts
        .into_iter()
        .partition(|attempt| [0, MAXRETRY + 2].contains(&attempt.request));
    let cut = Cut::from_attempts(attacker, MAXRETRY + 1, rest)?;
    for guess in &cut.guesses {
        let outcome = &guess.outcome;
        ensure!(
            outcome.status() == Some(403),
            "a wrong password was answered with {outcome}"
        );
    }
    let delay = cut.delay().as_secs_f64();
    stage.note(format!(
        "{}, {delay:.2} s after the last failure",
        cut.cut.outcome
    ));
    check_kept(stage, &kept)?;
    prove_banned(stage, attacker, JAIL).await.map(drop)
}

/// The kept connection must have been served first, and stall or close once the ban stands.
fn check_kept(stage: &Stage, kept: &[Attempt]) -> Result<()> {
    let [before, after] = kept else {
        anyhow::bail!("{} answers on the kept connection instead of 2", kept.len());
    };
    ensure!(
        before.outcome.status() == Some(200),
        "before the ban: {}",
        before.outcome
    );
    // A refused connection would mean that the kept one had been given up already.
    let cut = matches!(after.outcome, Outcome::TimedOut | Outcome::Closed);
    ensure!(cut, "an open connection after the ban: {}", after.outcome);
    stage.note(format!(
        "an open keep-alive connection was cut: {}",
        after.outcome
    ));
    Ok(())
}
