//! The services in any order.

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, prove_banned};
use crate::testbed::Service::{Fail2ban, FmdServer, Journal, Nginx};
use crate::testbed::{Action, Break, Capability, Fault, Service};

/// An order and its reverse: each service comes before and after every other.
///
/// Where starting one starts what it depends on before it, as Compose does, the containers' orders
/// still differ: fail2ban joins nginx's network namespace, FMD Server waits for the journal, and
/// everything else is free.
const ORDERS: [[Service; 4]; 2] = [
    [Fail2ban, Nginx, FmdServer, Journal],
    [Journal, FmdServer, Nginx, Fail2ban],
];

inventory::submit! {
    Scenario {
        name: "order",
        proves: "in whatever order the four services start, the attacker is banned",
        settings: &[],
        needs: &[Capability::ServiceControl],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            // As an nginx that has to resolve its upstream's name when it starts.
            name: "nginx-needs-fmd-server-first",
            breaks: Break::Replace {
                file: "usr/lib/fmd-stack/nginx",
                find: "nginx -t -q \"$@\"",
                with: "[ -S /run/fmd-server/fmd-server.sock ]\nnginx -t -q \"$@\"",
            },
            noticed_as: "nginx ended while starting",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    for (number, order) in ORDERS.into_iter().enumerate() {
        let names: Vec<_> = order.iter().map(ToString::to_string).collect();
        let place = || format!("started in the order {}", names.join(", "));
        restart(stage, order).await.with_context(place)?;
        let attacker = stage.person(&format!("attacker{number}")).await?;
        // A fresh account: a locked one answers otherwise, and counts for another jail.
        let account = format!("account{number}");
        owner.register(&account).await.with_context(place)?;
        guess_until_cut(&attacker, MAXRETRY, |_| account.clone())
            .await
            .with_context(place)?;
        prove_banned(stage, &attacker, JAIL)
            .await
            .with_context(place)?;
    }
    Ok(())
}

async fn restart(stage: &Stage, order: [Service; 4]) -> Result<()> {
    for service in Service::ALL.into_iter().rev() {
        stage.testbed().control(service, Action::Stop).await?;
    }
    for service in order {
        stage.testbed().control(service, Action::Start).await?;
    }
    Ok(())
}
