//! The services in any order.

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, prove_banned};
use crate::testbed::Service::{Fail2ban, FmdServer, Journal, Nginx};
use crate::testbed::{Action, Break, Capability, Fault, Service};

/// Each service comes first and last once, and before and after every other.
const ORDERS: [[Service; 4]; 4] = [
    [Fail2ban, Nginx, FmdServer, Journal],
    [Nginx, Journal, Fail2ban, FmdServer],
    [FmdServer, Fail2ban, Journal, Nginx],
    [Journal, FmdServer, Nginx, Fail2ban],
];

inventory::submit! {
    Scenario {
        name: "order",
        proves: "in whatever order the four services start, the attacker is banned",
        settings: &[],
        needs: &[Capability::ServiceControl],
        clients: 5,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            // A jail that reads from the end of the log only, and of no later one.
            name: "filter-matches-nothing",
            breaks: Break::Replace {
                file: "etc/fail2ban/filter.d/fmd-server.conf",
                find: "failed login attempt",
                with: "no such message",
            },
            noticed_as: "still get in",
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
        guess_until_cut(&attacker, MAXRETRY, |_| account.clone()).await.with_context(place)?;
        prove_banned(stage, &attacker, JAIL).await.with_context(place)?;
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
