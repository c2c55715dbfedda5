//! A clock that is set while somebody is banned.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, guess_until_cut, prove_banned, prove_not_banned, wait_for};
use crate::testbed::{Break, Capability, Command, Fault};

const BANTIME: Duration = Duration::from_secs(30);

inventory::submit! {
    Scenario {
        name: "clock-jump",
        proves: "a clock set forward and back by an hour neither frees nor extends a ban",
        settings: &[("etc/fail2ban/jail.d/zz-scenario.local", "[fmd-server]\nbantime = 30\n")],
        needs: &[Capability::Clock],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "fail2ban-goes-by-the-wall-clock",
            breaks: Break::Replace {
                file: "etc/fail2ban/jail.d/fmd-server.conf",
                find: "fmd_reaction = fast",
                with: "fmd_reaction = stock",
            },
            noticed_as: "after the clock was set forward",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    let banned = Instant::now();
    set_clock(stage, "+1 hour").await?;
    wait_for("a third of the ban", BANTIME, async || {
        prove_banned(stage, &attacker, JAIL).await.context("after the clock was set forward")?;
        Ok((banned.elapsed() > BANTIME / 3).then_some(()))
    })
    .await?;
    set_clock(stage, "-1 hour").await?;
    wait_for("the end of the ban, after the clock was set back", BANTIME + PATIENCE, async || {
        Ok(prove_not_banned(stage, &attacker).await.ok())
    })
    .await?;
    let lasted = banned.elapsed();
    stage.note(format!("banned for {:.1} s of {}", lasted.as_secs_f64(), BANTIME.as_secs()));
    ensure!(lasted + Duration::from_secs(2) > BANTIME, "the ban ended after {lasted:?}");
    Ok(())
}

async fn set_clock(stage: &Stage, by: &str) -> Result<()> {
    let script = r#"date --set "$(date --date "$1" '+%Y-%m-%d %H:%M:%S')""#;
    let set = Command::shell(script, &[by]);
    stage.testbed().server().run(set).await?.ok().context("setting the clock").map(drop)
}
