//! A fail2ban nobody has looked into yet.

use anyhow::{Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, prove_banned};
use crate::testbed::{Break, Fault, Service};

/// fail2ban's own file, with another number.
const VERSION: (&str, &str) = (
    "usr/lib/python3/dist-packages/fail2ban/version.py",
    "version = \"99.0\"\n\ndef normVersion():\n    return version\n",
);

inventory::submit! {
    Scenario {
        name: "unknown-fail2ban",
        proves: "a fail2ban of unknown version keeps its own waits, says so, and bans all the same",
        settings: &[VERSION],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "any-version-is-changed",
            breaks: Break::Replace {
                file: "etc/fail2ban/action.d/fmd-reaction.py",
                find: "if version not in KNOWN:",
                with: "if False:",
            },
            noticed_as: "no warning",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let log = stage.testbed().service_log(Service::Fail2ban).await?;
    ensure!(
        log.contains("its own waits stay"),
        "no warning in fail2ban's log: {log}"
    );
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    let cut = guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    stage.note(format!(
        "{}, {:.2} s after the last failure",
        cut.cut.outcome,
        cut.delay().as_secs_f64()
    ));
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}
