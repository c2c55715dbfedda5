//! Somebody who mistypes a password.

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, prove_not_banned, wait_for};
use crate::testbed::{Break, Fault};

inventory::submit! {
    Scenario {
        name: "below-threshold",
        proves: "maxretry - 1 wrong passwords and then the right one: counted, not banned",
        settings: &[],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "threshold-too-low",
            breaks: Break::Write {
                file: "etc/fail2ban/jail.d/zz-fault.local",
                content: "[fmd-server]\nmaxretry = 3\n",
            },
            noticed_as: "below the threshold",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let registrar = stage.person("registrar").await?;
    registrar.register("alice").await?;
    let owner = stage.person("owner").await?;
    // On a deployment others have failed before.
    let before = stage.fail2ban().status(JAIL).await?.total_failed;
    for _ in 1..MAXRETRY {
        owner
            .guess_wrong("alice")
            .await
            .context("below the threshold")?;
    }
    // All of them must have been counted before their number can be too low for a ban.
    let failures = u32::try_from(MAXRETRY - 1)?;
    wait_for("the failures in the jail's count", PATIENCE, async || {
        let status = stage.fail2ban().status(JAIL).await?;
        Ok((status.total_failed >= before + failures).then_some(()))
    })
    .await?;
    owner.log_in("alice").await.context("below the threshold")?;
    let status = stage.fail2ban().status(JAIL).await?;
    ensure!(
        status.total_failed == before + failures,
        "{} failures counted for {failures} wrong passwords",
        status.total_failed - before
    );
    prove_not_banned(stage, &owner).await
}
