//! One wrong password on each of many accounts.

use anyhow::Result;

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, prove_banned};
use crate::testbed::{Break, Fault};

inventory::submit! {
    Scenario {
        name: "password-spraying",
        proves: "one wrong password on each of many accounts, from one address: banned",
        settings: &[],
        needs: &[],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            // FMD Server's own lock counts by account, and so would this jail.
            name: "failures-counted-by-account",
            breaks: Break::Replace {
                file: "etc/fail2ban/filter.d/fmd-server.conf",
                find: r#""user(?:id)?":<_string>"#,
                with: r#""user(?:id)?":"account0""#,
            },
            noticed_as: "still get in",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    // nginx lets one client register only a few accounts at a time.
    for (who, accounts) in [("owner", 0..3), ("bystander", 3..MAXRETRY)] {
        let person = stage.person(who).await?;
        for number in accounts {
            person.register(&account(number)).await?;
        }
    }
    let attacker = stage.person("attacker").await?;
    let cut = guess_until_cut(&attacker, MAXRETRY, account).await?;
    let delay = cut.delay().as_secs_f64();
    stage.note(format!(
        "{} accounts; {}, {delay:.2} s after the last failure",
        MAXRETRY, cut.cut.outcome
    ));
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}

fn account(number: usize) -> String {
    format!("account{number}")
}
