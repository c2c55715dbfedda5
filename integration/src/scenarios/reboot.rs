//! The machine is restarted.

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, prove_banned};
use crate::testbed::{Break, Capability, Fault};

inventory::submit! {
    Scenario {
        name: "reboot",
        proves: "bans and accounts survive a reboot of the machine",
        settings: &[],
        needs: &[Capability::Init],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "bans-not-kept",
                // Either alone would do: what led to the ban is counted anew from the journal.
                breaks: Break::All(&[
                    Break::Write {
                        file: "etc/fail2ban/fail2ban.d/zz-fault.local",
                        content: "[DEFAULT]\ndbfile = :memory:\n",
                    },
                    Break::Write {
                        file: "etc/systemd/journald.conf.d/zz-fault.conf",
                        content: "[Journal]\nStorage=volatile\n",
                    },
                ]),
                noticed_as: "the ban after the reboot",
            },
            Fault {
                name: "database-not-kept",
                breaks: Break::Replace {
                    file: "etc/systemd/system/fmd-server.service",
                    find: "--db-dir /var/lib/fmd-server/db",
                    with: "--db-dir /run/fmd-server/db",
                },
                noticed_as: "the account after the reboot",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await?;
    stage.testbed().reboot().await?;
    prove_banned(stage, &attacker, JAIL)
        .await
        .context("the ban after the reboot")?;
    owner
        .log_in("alice")
        .await
        .context("the account after the reboot")
        .map(drop)
}
