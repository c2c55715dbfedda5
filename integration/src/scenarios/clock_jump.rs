//! A clock that is set while somebody is banned.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{
    JAIL, MAXRETRY, PATIENCE, Person, guess_on, guess_until_cut, login, prove_banned,
    prove_not_banned, wait_for,
};
use crate::testbed::{Action, Break, Capability, Command, Fault, Service};

/// All that happens to the clock has to fit in, on an emulated machine as well.
const BANTIME: Duration = Duration::from_secs(60);

/// Time enough for fail2ban to free what it takes for past.
const A_WHILE: Duration = Duration::from_secs(5);

/// How far a ban's end may be off: fail2ban counts whole seconds and looks every half.
const POLL_OF_FAIL2BAN: Duration = Duration::from_secs(2);

/// What it takes an emulated machine to show that somebody is not banned.
const LOOKS: Duration = Duration::from_secs(10);

inventory::submit! {
    Scenario {
        name: "clock-jump",
        proves: "a clock set forward and back by an hour, fail2ban restarted in between, neither frees nor extends a ban, nor has it forget the next",
        settings: &[("etc/fail2ban/jail.d/zz-scenario.local", "[fmd-server]\nbantime = 60\n")],
        needs: &[Capability::Clock, Capability::ServiceControl],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "fail2ban-goes-by-the-wall-clock",
                breaks: Break::Replace {
                    file: "etc/fail2ban/jail.d/fmd-server.conf",
                    find: "fmd_reaction = fast",
                    with: "fmd_reaction = stock",
                },
                noticed_as: "after the clock was set forward",
            },
            Fault {
                name: "database-by-the-old-clock",
                breaks: Break::Replace {
                    file: "etc/fail2ban/action.d/fmd-reaction.py",
                    find: "_move_bans(database, jump)",
                    with: "pass",
                },
                noticed_as: "restarted by another clock",
            },
            Fault {
                name: "earlier-bans-by-the-old-clock",
                breaks: Break::Replace {
                    file: "etc/fail2ban/action.d/fmd-reaction.py",
                    find: "moment - _wall_clock.ahead",
                    with: "moment",
                },
                noticed_as: "banned again after the clock was set",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    owner.register("bob").await?;
    let attacker = stage.person("attacker").await?;
    // The ban begins between these two, which are seconds apart for a busy emulated machine.
    let guessing = Instant::now();
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    let banned = Instant::now();
    set_clock(stage, "+1 hour").await?;
    let set = Instant::now();
    wait_for("a while", BANTIME, async || {
        prove_banned(stage, &attacker, JAIL)
            .await
            .context("after the clock was set forward")?;
        Ok((set.elapsed() > A_WHILE).then_some(()))
    })
    .await?;
    stage
        .testbed()
        .control(Service::Fail2ban, Action::Restart)
        .await?;
    prove_banned(stage, &attacker, JAIL)
        .await
        .context("restarted by another clock")?;
    set_clock(stage, "-1 hour").await?;
    wait_for(
        "the end of the ban, after the clock was set back",
        BANTIME + PATIENCE,
        async || Ok(prove_not_banned(stage, &attacker).await.ok()),
    )
    .await?;
    let (most, lasted) = (guessing.elapsed(), banned.elapsed());
    stage.note(format!(
        "banned for {:.1} to {:.1} s of {}",
        lasted.as_secs_f64(),
        most.as_secs_f64(),
        BANTIME.as_secs()
    ));
    ensure!(
        most + POLL_OF_FAIL2BAN > BANTIME,
        "the ban ended after {most:?}"
    );
    ensure!(
        lasted < BANTIME + POLL_OF_FAIL2BAN + LOOKS,
        "the ban ended only after {lasted:?}"
    );
    remembers_the_next(stage, &attacker).await
}

/// Two hours on it is one hour later than when fail2ban started: so far the first ban stands in the
/// database ahead of fail2ban's own clock. The second must not be taken for an older one, which
/// would not be kept.
async fn remembers_the_next(stage: &Stage, attacker: &Person) -> Result<()> {
    set_clock(stage, "+2 hours").await?;
    guess_on(attacker, login("bob", "wrong")).await?;
    prove_banned(stage, attacker, JAIL).await?;
    stage
        .testbed()
        .control(Service::Fail2ban, Action::Restart)
        .await?;
    prove_banned(stage, attacker, JAIL)
        .await
        .context("banned again after the clock was set, and fail2ban restarted")
        .map(drop)
}

async fn set_clock(stage: &Stage, by: &str) -> Result<()> {
    let script = r#"date --set "$(date --date "$1" '+%Y-%m-%d %H:%M:%S')""#;
    let set = Command::shell(script, &[by]);
    stage
        .testbed()
        .server()
        .run(set)
        .await?
        .ok()
        .context("setting the clock")
        .map(drop)
}
