//! The journal starts a new file in the middle of an attack.

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, login, prove_banned};
use crate::testbed::{Break, Capability, Command, Fault, Service};

inventory::submit! {
    Scenario {
        name: "journal-rotation",
        proves: "failures before and after a rotation of the journal count together",
        settings: &[],
        needs: &[Capability::Init],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "follows-one-file",
            breaks: Break::Write {
                file: "etc/fail2ban/jail.d/zz-fault.local",
                content: "[fmd-server]\nbackend = systemd[journalfiles=\"/var/log/journal/*/system.journal\"]\n",
            },
            noticed_as: "after the rotation",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    let before = vec![login("alice", "wrong"); MAXRETRY - 2];
    attacker.send(attacker.requests(before)).await?;
    let journal = stage.testbed().service_node(Service::Journal);
    for act in ["--rotate", "--vacuum-files=1"] {
        journal.run(Command::new(["journalctl", act])).await?.ok()?;
    }
    guess_until_cut(&attacker, 2, |_| "alice".to_owned())
        .await
        .context("after the rotation")?;
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}
