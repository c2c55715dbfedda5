//! Services that crash.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{
    JAIL, MAXRETRY, Person, answered, guess_until_cut, prove_banned, wait_for, while_knocking,
};
use crate::testbed::{Action, Break, Capability, Command, Fault, Service};

/// Within this time a crashed service has to be back, by the machine's own clock: its process runs,
/// and its unit is up. Each may take as long as it took the last time beyond that: on an emulated
/// machine nginx tests its configuration for seconds before its process is started, and fail2ban
/// reads its jails after that.
const BACK: Duration = Duration::from_secs(5);

/// That long is it waited for, whatever else the machine has to do.
const SEEN: Duration = Duration::from_secs(30);

inventory::submit! {
    Scenario {
        name: "crash",
        proves: "each service killed with SIGKILL is back within 5 s by itself, old bans hold, new ones are made",
        settings: &[],
        needs: &[Capability::Init, Capability::ServiceControl],
        clients: 6,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "fail2ban-stays-down",
                breaks: Break::Replace {
                    file: "etc/systemd/system/fail2ban.service.d/fmd-stack.conf",
                    find: "Restart=always",
                    with: "Restart=no",
                },
                noticed_as: "fail2ban back: not within",
            },
            Fault {
                name: "nginx-stays-down",
                breaks: Break::Replace {
                    file: "etc/systemd/system/nginx.service.d/fmd-stack.conf",
                    find: "Restart=always",
                    with: "Restart=no",
                },
                noticed_as: "nginx back: not within",
            },
            Fault {
                name: "fmd-server-stays-down",
                breaks: Break::Replace {
                    file: "etc/systemd/system/fmd-server.service",
                    find: "Restart=always",
                    with: "Restart=no",
                },
                noticed_as: "fmd-server back: not within",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    let banned = stage.person("banned-before").await?;
    attack(stage, &owner, &banned).await?;
    for service in Service::ALL {
        let (back, knocks) = while_knocking(&banned, crash(stage, &owner, service)).await?;
        back?;
        let served = answered(&knocks);
        ensure!(
            served == 0,
            "{service} crashed, and a banned address was answered {served} times"
        );
        prove_banned(stage, &banned, JAIL)
            .await
            .with_context(|| format!("the old ban after {service} crashed"))?;
        let attacker = stage.person(&format!("after-{service}")).await?;
        attack(stage, &owner, &attacker)
            .await
            .with_context(|| format!("a new ban after {service} crashed"))?;
    }
    Ok(())
}

/// Kills a service and waits until it works again.
async fn crash(stage: &Stage, owner: &Person, service: Service) -> Result<()> {
    let before = main_process(stage, service).await?;
    let uptime = stage.testbed().server().read("/proc/uptime").await?;
    stage.testbed().control(service, Action::Kill).await?;
    let after = wait_for(&format!("{service} back"), SEEN, async || {
        let now = main_process(stage, service).await?;
        let another = now.pid != before.pid && now.is_up;
        let back = another && works(stage, owner, service).await?;
        Ok(back.then_some(now))
    })
    .await?;
    let uptime = String::from_utf8_lossy(&uptime);
    let uptime = uptime.split_whitespace().next().unwrap_or_default();
    let uptime: f64 = uptime.parse().context("reading /proc/uptime")?;
    let (back, up, start) = (after.began - uptime, after.up - uptime, before.starting);
    stage.note(format!(
        "{service}: back after {back:.1} s, up after {up:.1} s (its start takes {start:.1} s)"
    ));
    let tests = before.testing;
    ensure!(
        back < tests + BACK.as_secs_f64(),
        "{service} came back {back:.1} s after it was killed, though {tests:.1} s pass before its process starts"
    );
    ensure!(
        up < start + BACK.as_secs_f64(),
        "{service} was up {up:.1} s after it was killed, though its start takes {start:.1} s"
    );
    Ok(())
}

/// The main process of a service: another one after a crash. What it had started may serve on for a
/// while, so that an answer alone says little.
struct MainProcess {
    pid: String,
    /// When it was started, in seconds since the kernel started.
    began: f64,
    /// When its unit was up, likewise.
    up: f64,
    /// Seconds from the start of the unit until its process was started.
    testing: f64,
    /// Seconds from the start of the unit until it was up.
    starting: f64,
    is_up: bool,
}

async fn main_process(stage: &Stage, service: Service) -> Result<MainProcess> {
    let unit = match service {
        Service::Journal => "systemd-journald",
        other => other.name(),
    };
    let properties = "--property=MainPID,ActiveState,ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic,InactiveExitTimestampMonotonic";
    let server = stage.testbed().server();
    let show = Command::new(["systemctl", "show", properties, unit]);
    let text = server.run(show).await?.ok()?.text();
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value)
    };
    let seconds = |name: &str| -> Result<f64> {
        let micros: f64 = value(name)
            .parse()
            .with_context(|| format!("{unit}: {text}"))?;
        Ok(micros / 1e6)
    };
    let up = seconds("ActiveEnterTimestampMonotonic")?;
    let began = seconds("ExecMainStartTimestampMonotonic")?;
    let unit_began = seconds("InactiveExitTimestampMonotonic")?;
    Ok(MainProcess {
        pid: value("MainPID").to_owned(),
        began,
        up,
        testing: began - unit_began,
        starting: up - unit_began,
        is_up: value("ActiveState") == "active",
    })
}

/// Whether a service does its work, as those see it who depend on it.
async fn works(stage: &Stage, owner: &Person, service: Service) -> Result<bool> {
    Ok(match service {
        Service::FmdServer | Service::Nginx => {
            owner.ask(Request::new("GET", "/")).await?.status() == Some(200)
        }
        // Its unit is up when its jails are; what follows asks them for their bans.
        Service::Fail2ban => true,
        Service::Journal => {
            let write = Command::shell(
                "logger -t fmd-stack alive && journalctl -q -n 1 -t fmd-stack",
                &[],
            );
            let node = stage.testbed().service_node(service);
            node.run(write).await?.success()
        }
    })
}

/// Wrong passwords on an account of the attack's own: a locked one counts elsewhere.
async fn attack(stage: &Stage, owner: &Person, attacker: &Person) -> Result<()> {
    let account = attacker.node().name().replace('-', "");
    owner.register(&account).await?;
    guess_until_cut(attacker, MAXRETRY, |_| account.clone()).await?;
    prove_banned(stage, attacker, JAIL).await.map(drop)
}
