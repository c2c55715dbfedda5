//! A long ban list, and a restart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, PATIENCE, prove_banned, prove_not_banned, wait_for};
use crate::testbed::{Action, Break, Capability, Fault, Service};

/// The benchmark `attack_budget` has 10,000: an emulated machine is minutes over them.
const BANS: usize = 1000;

inventory::submit! {
    Scenario {
        name: "many-bans",
        proves: "1,000 bans stand again after a restart of fail2ban, and one command lifts them",
        settings: &[],
        // On somebody's deployment other people's bans would be lifted too.
        needs: &[Capability::ServiceControl, Capability::Faults],
        clients: 1,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "bans-not-kept",
            breaks: Break::Write {
                file: "etc/fail2ban/fail2ban.d/zz-fault.local",
                content: "[DEFAULT]\ndbfile = None\n",
            },
            noticed_as: "bans restored",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let attacker = stage.person("attacker").await?;
    let mut addresses = vec![attacker.address().to_string()];
    addresses.extend((1..BANS).map(|n| format!("198.18.{}.{}", n >> 8, n & 255)));
    // An emulated machine that is busy takes minutes for all of them.
    for some in addresses.chunks(100) {
        let mut args = vec!["set", JAIL, "banip"];
        args.extend(some.iter().map(String::as_str));
        stage.fail2ban().client(&args).await?;
    }
    wait_for_bans(stage, "bans in the firewall").await?;
    // fail2ban writes bans to its database behind the scenes; it ends only when all are written.
    let restarted = Instant::now();
    stage
        .testbed()
        .control(Service::Fail2ban, Action::Restart)
        .await?;
    wait_for_bans(stage, "bans restored").await?;
    stage.note(format!(
        "{BANS} bans restored {:.1} s after the restart began",
        restarted.elapsed().as_secs_f64()
    ));
    prove_banned(stage, &attacker, JAIL).await?;
    let lifted = stage.fail2ban().client(&["unban", "--all"]).await?;
    ensure!(
        lifted.trim() == BANS.to_string(),
        "`unban --all` lifted {}",
        lifted.trim()
    );
    wait_for("service after `unban --all`", PATIENCE, async || {
        Ok(prove_not_banned(stage, &attacker).await.ok())
    })
    .await
}

async fn wait_for_bans(stage: &Stage, what: &str) -> Result<()> {
    wait_for(
        &format!("{BANS} {what}"),
        Duration::from_secs(60),
        async || {
            let standing = stage
                .firewall()
                .banned()
                .await
                .context("listing bans")?
                .len();
            Ok((standing == BANS).then_some(()))
        },
    )
    .await
}
