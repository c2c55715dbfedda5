//! The machine is restarted.

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, prove_banned};
use crate::testbed::{Break, Capability, Command, Fault, Service};

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
                breaks: Break::Write {
                    file: "etc/fail2ban/fail2ban.d/zz-fault.local",
                    content: "[DEFAULT]\ndbfile = :memory:\n",
                },
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
    forget_how_it_came(stage).await?;
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

/// Empties the journal: what led to a ban would be counted anew from it, and a ban made again is not
/// one that was kept.
async fn forget_how_it_came(stage: &Stage) -> Result<()> {
    let journal = stage.testbed().service_node(Service::Journal);
    let empty = ["journalctl", "--quiet", "--rotate", "--vacuum-size=1"];
    journal.run(Command::new(empty)).await?.ok()?;
    let left = stage.journal().entries("fmd-server").await?;
    let failures = left.iter().filter(|line| line.contains("failed login"));
    ensure!(
        failures.count() == 0,
        "the journal still has the failures that led to the ban"
    );
    Ok(())
}
