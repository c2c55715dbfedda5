//! The firewall's rules are loaded anew, with `flush ruleset` in them.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, guess_until_cut, prove_banned, wait_in_force};
use crate::testbed::{Break, Capability, Command, Fault};

inventory::submit! {
    Scenario {
        name: "firewall-reload",
        proves: "nftables reloaded or restarted: who was banned still is",
        settings: &[],
        needs: &[Capability::Init],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "fail2ban-is-not-told",
            breaks: Break::All(&[
                Break::Write {
                    file: "etc/systemd/system/nftables.service.d/fmd-stack.conf",
                    content: "[Service]\n",
                },
                // Nor does it look by itself before the scenario's patience ends.
                Break::Replace {
                    file: "etc/fail2ban/jail.d/fmd-server.conf",
                    find: "hook=\"%(fmd_hook)s\"]",
                    with: "hook=\"%(fmd_hook)s\", look=\"3600\"]",
                },
            ]),
            noticed_as: "nftables reload",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await?;
    for act in ["reload", "restart"] {
        let command = Command::new(["systemctl", act, "nftables"]);
        stage.testbed().server().run(command).await?.ok()?;
        let since = Instant::now();
        wait_in_force(stage, attacker.address(), PATIENCE)
            .await
            .with_context(|| format!("the ban in the firewall after nftables {act}"))?;
        stage.note(format!(
            "in force {:.1} s after nftables {act}",
            since.elapsed().as_secs_f64()
        ));
        prove_banned(stage, &attacker, JAIL)
            .await
            .with_context(|| format!("after nftables {act}"))?;
    }
    Ok(())
}
