//! Requests that never end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::client::{Raw, millis};
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, guess_until_cut, prove_banned, wait_for};
use crate::testbed::{Break, Fault};

/// nginx gives a header 10 s, counted from when it takes the connection: one whose first packets were
/// lost comes seconds later.
const FOR: Duration = Duration::from_secs(18);

const CONNECTIONS: usize = 800;

inventory::submit! {
    Scenario {
        name: "slow-loris",
        proves: "800 connections that send a header byte by byte keep nobody else out and end",
        settings: &[],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "headers-may-take-forever",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/server.conf",
                    find: "client_header_timeout 10s;",
                    with: "client_header_timeout 10m;",
                },
                noticed_as: "are still open",
            },
            Fault {
                name: "few-connections",
                breaks: Break::Replace {
                    file: "etc/nginx/nginx.conf",
                    find: "worker_connections 4096;",
                    with: "worker_connections 32;",
                },
                // nginx does not even take them.
                noticed_as: "the attacker's connections",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let bystander = stage.person("bystander").await?;
    bystander.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    let raw = Raw {
        address: stage.testbed().server().addresses().v4.into(),
        port: 80,
        connections: CONNECTIONS,
        opening: b"GET / HTTP/1.1\r\nHost: fmd\r\nX-Slow: ".to_vec(),
        then: b"x".to_vec(),
        every_ms: 500,
        for_ms: millis(FOR),
    };
    let (held, served) = tokio::join!(attacker.drip(raw), async {
        // Served again and again while the connections are held, the first time once they are there.
        wait_for("the attacker's connections", PATIENCE, async || {
            Ok((open_connections(stage).await? > CONNECTIONS * 5 / 8).then_some(()))
        })
        .await?;
        // With the registration no more than nginx lets through at once.
        for _ in 0..MAXRETRY - 1 {
            bystander.log_in("alice").await.context("the bystander")?;
        }
        anyhow::Ok(())
    });
    served?;
    let held = held?;
    let open = held.iter().filter(|connection| !connection.closed).count();
    ensure!(
        open == 0,
        "{open} of {} connections are still open after {} s",
        held.len(),
        FOR.as_secs()
    );
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}

/// Established connections to port 80, as the server sees them.
async fn open_connections(stage: &Stage) -> Result<usize> {
    use crate::testbed::{Command, Service};
    let node = stage.testbed().service_node(Service::Nginx);
    // Not by ss, which the image of a server need not have. 01 is ESTABLISHED, 0050 port 80.
    let script = r#"cat /proc/net/tcp* | awk '$2 ~ /:0050$/ && $4 == "01" { print $3 }'"#;
    let list = Command::shell(script, &[]);
    Ok(node.run(list).await?.ok()?.text().lines().count())
}
