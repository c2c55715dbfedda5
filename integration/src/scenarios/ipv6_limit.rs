//! A client that changes its address within its /64 at every request.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::ipv6_prefix::take_address;
use crate::scenario::{Scenario, Stage};
use crate::stack::{MAXRETRY, login, password_of};
use crate::testbed::{Break, Fault};

/// Logins, each from an address of its own.
const LOGINS: usize = 20;

inventory::submit! {
    Scenario {
        name: "ipv6-limit",
        proves: "nginx's limits count a /64 as one client, whatever address of it asks, and no other",
        settings: &[],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "each-address-is-a-client",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/http.conf",
                    find: "$fmd_g4;",
                    with: "$remote_addr;",
                },
                noticed_as: "logins served",
            },
            Fault {
                name: "a-48-is-one-client",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/http.conf",
                    find: "$fmd_g4;",
                    with: "one;",
                },
                noticed_as: "the neighbour",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let neighbour = stage.person("neighbour").await?.over_v6()?;
    // Right passwords: nobody is banned, so that the limit alone decides.
    neighbour.register("alice").await?;
    let owner = stage.person("owner").await?.over_v6()?;
    let mut sources = Vec::new();
    for number in 0..LOGINS {
        sources.push(take_address(&owner, number).await?);
    }
    let started = Instant::now();
    let mut served = 0;
    for source in sources {
        let mut plan = owner.requests(vec![login("alice", &password_of("alice"))]);
        plan.source = Some(IpAddr::V6(source));
        for attempt in owner.send(plan).await? {
            match attempt.outcome.status() {
                Some(200) => served += 1,
                Some(429) => {}
                _ => ensure!(false, "a login from {source}: {}", attempt.outcome),
            }
        }
    }
    neighbour.log_in("alice").await.context("the neighbour")?;
    // As many at once as the limit grants, and one for each second that this took.
    let granted = MAXRETRY + 1 + usize::try_from(started.elapsed().as_secs())?;
    stage.note(format!("{served} of {LOGINS} logins served"));
    ensure!(
        served <= granted,
        "{served} logins served to a /64, {granted} granted"
    );
    Ok(())
}
