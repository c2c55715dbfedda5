//! Services that crash.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, Person, guess_until_cut, prove_banned, wait_for};
use crate::testbed::{Action, Break, Capability, Command, Fault, Service};

/// Within this time a crashed service has to be back.
const BACK: Duration = Duration::from_secs(5);

inventory::submit! {
    Scenario {
        name: "crash",
        proves: "each service killed with SIGKILL is back within 5 s, old bans hold, new ones are made",
        settings: &[],
        needs: &[Capability::Init, Capability::ServiceControl],
        clients: 6,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "fail2ban-stays-down",
            breaks: Break::Replace {
                file: "etc/systemd/system/fail2ban.service.d/fmd-stack.conf",
                find: "Restart=always",
                with: "Restart=no",
            },
            noticed_as: "fail2ban back: not within",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    let banned = stage.person("banned-before").await?;
    attack(stage, &owner, &banned).await?;
    for service in Service::ALL {
        stage.testbed().control(service, Action::Kill).await?;
        let killed = Instant::now();
        wait_for(&format!("{service} back"), BACK, async || {
            Ok(works(stage, &owner, service).await?.then_some(()))
        })
        .await?;
        stage.note(format!(
            "{service}: back after {:.1} s",
            killed.elapsed().as_secs_f64()
        ));
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

/// Whether a service does its work, as those see it who depend on it.
async fn works(stage: &Stage, owner: &Person, service: Service) -> Result<bool> {
    Ok(match service {
        Service::FmdServer | Service::Nginx => {
            owner.ask(Request::new("GET", "/")).await?.status() == Some(200)
        }
        Service::Fail2ban => stage.fail2ban().client(&["ping"]).await.is_ok(),
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
