//! Failures and bans that grow old.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{
    JAIL, MAXRETRY, PATIENCE, guess_on, login, prove_banned, prove_not_banned, wait_for,
};
use crate::testbed::{Break, Fault};

const SETTINGS: (&str, &str) = (
    "etc/fail2ban/jail.d/zz-scenario.local",
    "[fmd-server]\nfindtime = 3\nbantime = 12\n",
);

/// All signs of the ban have to be seen within it, on an emulated machine as well.
const BANTIME: Duration = Duration::from_secs(12);

inventory::submit! {
    Scenario {
        name: "expiry",
        proves: "failures older than findtime don't count, and after bantime service returns",
        settings: &[SETTINGS],
        needs: &[],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "failures-never-forgotten",
                breaks: Break::Replace { file: SETTINGS.0, find: "findtime = 3", with: "findtime = 1h" },
                noticed_as: "the failures forgotten",
            },
            Fault {
                name: "bans-without-end",
                breaks: Break::Replace { file: SETTINGS.0, find: "bantime = 12", with: "bantime = -1" },
                noticed_as: "service after the ban",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let registrar = stage.person("registrar").await?;
    registrar.register("alice").await?;
    registrar.register("bob").await?;
    let forgetful = stage.person("forgetful").await?;
    for _ in 1..MAXRETRY {
        forgetful.guess_wrong("alice").await?;
    }
    wait_for("the failures forgotten", PATIENCE, async || {
        let text = stage.fail2ban().status(JAIL).await?.text;
        let total = text.contains(&format!("Total failed:\t{}", MAXRETRY - 1));
        Ok((total && text.contains("Currently failed:\t0")).then_some(()))
    })
    .await?;
    forgetful.guess_wrong("alice").await?;
    wait_for(
        "the last failure in the jail's count",
        PATIENCE,
        async || {
            let failed = stage.fail2ban().status(JAIL).await?.total_failed;
            Ok((failed == u32::try_from(MAXRETRY)?).then_some(()))
        },
    )
    .await?;
    prove_not_banned(stage, &forgetful).await?;
    // Somebody else: nginx would not let the first one fail five times within findtime again.
    let attacker = stage.person("attacker").await?;
    guess_on(&attacker, login("bob", "wrong")).await?;
    let banned = Instant::now();
    prove_banned(stage, &attacker, JAIL).await?;
    wait_for("service after the ban", BANTIME + PATIENCE, async || {
        Ok(prove_not_banned(stage, &attacker).await.ok())
    })
    .await
    .context("the ban did not end")?;
    let lasted = banned.elapsed();
    stage.note(format!("banned for {:.1} s", lasted.as_secs_f64()));
    ensure!(
        lasted + Duration::from_secs(1) > BANTIME,
        "the ban ended after {lasted:?}"
    );
    Ok(())
}
