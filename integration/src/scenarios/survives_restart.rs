//! Bans across restarts, of fail2ban and of everything.

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, Person, guess_until_cut, prove_banned, prove_not_banned};
use crate::testbed::{Action, Break, Capability, Fault, Service};

inventory::submit! {
    Scenario {
        name: "survives-restart",
        proves: "after restarts of fail2ban and of all, a ban still holds and a removed one stays removed",
        settings: &[],
        needs: &[Capability::ServiceControl],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            // Without its database fail2ban reads the same failures again, and bans everybody anew.
            name: "fail2ban-forgets",
            breaks: Break::Write {
                file: "etc/fail2ban/fail2ban.d/zz-fault.local",
                content: "[DEFAULT]\ndbfile = :memory:\n",
            },
            noticed_as: "stands in the ban list",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    let attacker = stage.person("attacker").await?;
    let forgiven = stage.person("forgiven").await?;
    // An account each: a locked one answers otherwise, and counts for another jail.
    // The forgiven one first: fail2ban notes when the newest line was written, not when the journal
    // received it, and after a restart reads lines of those last milliseconds again.
    for (person, account) in [(&forgiven, "bob"), (&attacker, "alice")] {
        owner.register(account).await?;
        guess_until_cut(person, MAXRETRY, |_| account.to_owned()).await?;
        prove_banned(stage, person, JAIL).await?;
    }
    stage.fail2ban().unban(JAIL, forgiven.address()).await?;
    prove_not_banned(stage, &forgiven).await?;
    stage
        .testbed()
        .control(Service::Fail2ban, Action::Restart)
        .await?;
    check(stage, &attacker, &forgiven)
        .await
        .context("after a restart of fail2ban")?;
    stage.testbed().reboot().await?;
    check(stage, &attacker, &forgiven)
        .await
        .context("after a restart of everything")
}

async fn check(stage: &Stage, attacker: &Person, forgiven: &Person) -> Result<()> {
    prove_banned(stage, attacker, JAIL).await?;
    prove_not_banned(stage, forgiven).await
}
