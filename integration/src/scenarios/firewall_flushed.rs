//! Somebody empties the firewall, and nobody tells fail2ban.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, guess_until_cut, prove_banned, wait_in_force};
use crate::testbed::{Break, Command, Fault, Service};

/// The action looks after its table every two seconds instead of thirty.
const LOOKS_OFTEN: (&str, &str) = (
    "etc/fail2ban/jail.d/zz-scenario.local",
    "[DEFAULT]\nfmd_nft = fmd-nft.py[port=\"80,443\", look=\"2\"]\n",
);

inventory::submit! {
    Scenario {
        name: "firewall-flushed",
        proves: "`nft flush ruleset` by somebody: the ban stands again by itself",
        settings: &[LOOKS_OFTEN],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "action-never-looks",
            breaks: Break::Replace {
                file: "etc/fail2ban/action.d/fmd-nft.py",
                find: "                        self._look()\n",
                with: "                        pass\n",
            },
            noticed_as: "the ban in the firewall",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await?;
    let flush = Command::new(["nft", "flush", "ruleset"]);
    let guard = stage.testbed().service_node(Service::Fail2ban);
    guard
        .run(flush)
        .await?
        .ok()
        .context("emptying the firewall")?;
    let since = Instant::now();
    wait_in_force(stage, attacker.address(), PATIENCE)
        .await
        .context("the ban in the firewall")?;
    stage.note(format!(
        "in force again after {:.1} s",
        since.elapsed().as_secs_f64()
    ));
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}
