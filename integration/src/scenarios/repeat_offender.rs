//! Somebody who comes back, through another door.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{
    JAIL, NGINX_JAIL, PATIENCE, Person, guess_on, login, prove_not_banned, wait_for,
};
use crate::testbed::{Break, Fault};

/// The first ban, in seconds: short enough to wait for its end.
const FIRST_BAN: u64 = 2;

inventory::submit! {
    Scenario {
        name: "repeat-offender",
        proves: "who was banned by one jail is banned six times as long by the next",
        settings: &[(
            "etc/fail2ban/jail.d/zz-scenario.local",
            "[fmd-server]\nbantime = 2\n[fmd-server-nginx]\nbantime = 10m\n",
        )],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "jails-do-not-know-each-other",
            breaks: Break::Replace {
                file: "etc/fail2ban/jail.d/fmd-server.conf",
                find: "bantime.overalljails = true",
                with: "bantime.overalljails = false",
            },
            noticed_as: "the second ban lasts 600 s",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    guess_on(&attacker, login("alice", "wrong"))
        .await
        .context("the first time")?;
    wait_for(
        "the end of the first ban",
        PATIENCE + Duration::from_secs(FIRST_BAN),
        async || {
            Ok((!stage
                .fail2ban()
                .status(JAIL)
                .await?
                .bans(attacker.address()))
            .then_some(()))
        },
    )
    .await?;
    wait_for("service after the first ban", PATIENCE, async || {
        Ok(prove_not_banned(stage, &attacker).await.ok())
    })
    .await?;
    guess_on(&attacker, login("nobody", "wrong"))
        .await
        .context("the second time")?;
    let seconds = wait_for("the second ban's time", PATIENCE, async || {
        let seconds = ban_seconds(stage, &attacker).await?;
        // The observer thread adds to it a moment after the ban.
        Ok((seconds > 600).then_some(seconds))
    })
    .await;
    let seconds = match seconds {
        Ok(seconds) => seconds,
        Err(_) => ban_seconds(stage, &attacker).await?,
    };
    stage.note(format!("the second ban lasts {seconds} s"));
    ensure!(
        seconds == 3600,
        "the second ban lasts {seconds} s, not six times 600 s"
    );
    Ok(())
}

/// How long the attacker's ban by nginx's jail lasts, as fail2ban tells it:
/// `203.0.113.11 \t2026-11-23 02:00:00 + 3600 = 2026-11-23 03:00:00`.
async fn ban_seconds(stage: &Stage, attacker: &Person) -> Result<u64> {
    let text = stage
        .fail2ban()
        .client(&["get", NGINX_JAIL, "banip", "--with-time"])
        .await?;
    let address = attacker.address().to_string();
    let line = text
        .lines()
        .find(|line| line.contains(&address))
        .unwrap_or_default();
    let seconds = line
        .split(" + ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    seconds
        .and_then(|text| text.parse().ok())
        .with_context(|| format!("no ban time in {text:?}"))
}
