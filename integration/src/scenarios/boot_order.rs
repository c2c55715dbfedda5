//! Services that start in any order.

use anyhow::{Context, Result, ensure};

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{
    JAIL, MAXRETRY, PATIENCE, Person, answered, guess_until_cut, prove_banned, wait_for,
    while_knocking,
};
use crate::testbed::{Action, Break, Capability, Command, Fault, Service};

inventory::submit! {
    Scenario {
        name: "boot-order",
        proves: "at boot nginx opens when bans are in force; in any other order all find each other too",
        settings: &[],
        needs: &[Capability::Init, Capability::ServiceControl],
        clients: 4,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "nginx-does-not-wait",
                breaks: Break::Replace {
                    file: "etc/systemd/system/nginx.service.d/fmd-stack.conf",
                    find: "After=fail2ban.service",
                    with: "Before=fail2ban.service",
                },
                noticed_as: "before fail2ban had started",
            },
            Fault {
                name: "fail2ban-starts-too-soon",
                breaks: Break::Replace {
                    file: "etc/systemd/system/fail2ban.service.d/fmd-stack.conf",
                    find: "ExecStartPost=-/usr/lib/fmd-stack/await-bans",
                    with: "",
                },
                noticed_as: "before its bans were in force",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    attacked(stage, "banned").await?;
    let banned = stage.person("banned").await?;
    let (rebooted, knocks) = while_knocking(&banned, stage.testbed().reboot()).await?;
    rebooted?;
    booted_in_order(stage).await?;
    let served = answered(&knocks);
    ensure!(
        served == 0,
        "nginx answered a banned address {served} times before its bans were in force"
    );
    prove_banned(stage, &banned, JAIL)
        .await
        .context("the earlier ban after a boot")?;
    attacked(stage, "after-boot")
        .await
        .context("after a boot")?;
    started_backwards(stage, &owner).await?;
    attacked(stage, "after-start")
        .await
        .context("after a start in another order")
}

async fn booted_in_order(stage: &Stage) -> Result<()> {
    let guard = moment(stage, "fail2ban", "ActiveEnterTimestampMonotonic").await?;
    let door = moment(stage, "nginx", "InactiveExitTimestampMonotonic").await?;
    ensure!(
        door >= guard,
        "nginx was started {} ms before fail2ban had started",
        (guard - door) / 1000
    );
    Ok(())
}

/// A property of a unit in microseconds since the kernel started.
async fn moment(stage: &Stage, unit: &str, property: &str) -> Result<u64> {
    let property = format!("--property={property}");
    let show = Command::new(["systemctl", "show", "--value", &property, unit]);
    let text = stage.testbed().server().run(show).await?.ok()?.text();
    text.trim()
        .parse()
        .with_context(|| format!("{unit}: {property}: {text:?}"))
}

/// fail2ban before there is anything to read, nginx before there is a socket.
async fn started_backwards(stage: &Stage, owner: &Person) -> Result<()> {
    let testbed = stage.testbed();
    for service in [Service::Nginx, Service::Fail2ban, Service::FmdServer] {
        testbed.control(service, Action::Stop).await?;
    }
    for service in [Service::Fail2ban, Service::Nginx] {
        testbed.control(service, Action::Start).await?;
    }
    let early = owner.ask(Request::new("GET", "/")).await?;
    ensure!(
        early.status() == Some(502),
        "without FMD Server nginx answers: {early}"
    );
    testbed.control(Service::FmdServer, Action::Start).await?;
    wait_for("the page, once FMD Server runs", PATIENCE, async || {
        let page = owner.ask(Request::new("GET", "/")).await?;
        Ok((page.status() == Some(200)).then_some(()))
    })
    .await
}

async fn attacked(stage: &Stage, attacker: &str) -> Result<()> {
    let attacker = stage.person(attacker).await?;
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}
