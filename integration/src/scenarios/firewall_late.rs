//! A firewall that can't be written to when fail2ban starts.

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, login, prove_banned, wait_for, wait_in_force};
use crate::testbed::{Break, Command, Fault, Service};

/// A program that is not there yet; the action tries again every two seconds instead of thirty.
const LATE: (&str, &str) = (
    "etc/fail2ban/jail.d/zz-scenario.local",
    "[DEFAULT]\nfmd_nft = fmd-nft.py[port=\"80,443\", look=\"2\", nft=\"/run/late-nft\"]\n",
);

inventory::submit! {
    Scenario {
        name: "firewall-late",
        proves: "nft fails while fail2ban starts: who is banned is cut off as soon as it works",
        settings: &[LATE],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "action-gives-up",
            breaks: Break::Replace {
                file: "etc/fail2ban/action.d/fmd-nft.py",
                find: "                self._complain(error)\n        self._writer",
                with: "                raise\n        self._writer",
            },
            noticed_as: "the ban in the firewall",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    let guesses = (0..MAXRETRY).map(|_| login("alice", "wrong")).collect();
    attacker.send(attacker.requests(guesses)).await?;
    wait_for("the ban in fail2ban's list", PATIENCE, async || {
        let status = stage.fail2ban().status(JAIL).await?;
        Ok(status.bans(attacker.address()).then_some(()))
    })
    .await?;
    ensure!(
        !stage.firewall().bans(attacker.address()).await?,
        "nft works already: nothing is tried here"
    );
    let guard = stage.testbed().service_node(Service::Fail2ban);
    guard
        .run(Command::shell(
            "ln -s \"$(command -v nft)\" /run/late-nft",
            &[],
        ))
        .await?
        .ok()
        .context("having nft work")?;
    wait_in_force(stage, attacker.address(), PATIENCE)
        .await
        .context("the ban in the firewall")?;
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}
