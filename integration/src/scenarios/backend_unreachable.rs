//! The ways to FMD Server: in through nginx only, out to a push service.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{PATIENCE, Person, wait_for};
use crate::testbed::{Break, Command, Fault, Service};

/// Where the push endpoint listens on its node.
const PUSH_PORT: u16 = 8099;

/// The ports at which nginx may be reached.
const PUBLIC: [u16; 2] = [80, 443];

inventory::submit! {
    Scenario {
        name: "backend-unreachable",
        proves: "nobody reaches FMD Server except through nginx, yet its wake-up push gets out",
        settings: &[],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "fmd-server-on-tcp",
            breaks: Break::All(&[
                Break::Replace {
                    file: "etc/fmd-server/config.yml",
                    find: "UnixSocketPath: /run/fmd-server/fmd-server.sock",
                    with: "",
                },
                Break::Replace {
                    file: "etc/fmd-server/config.yml",
                    find: "PortInsecure: -1",
                    with: "PortInsecure: 8080",
                },
                Break::Replace {
                    file: "etc/nginx/fmd-stack/http.conf",
                    find: "server unix:/run/fmd-server/fmd-server.sock",
                    with: "server 127.0.0.1:8080",
                },
            ]),
            noticed_as: "8080",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let stranger = stage.person("stranger").await?;
    let testbed = stage.testbed();
    // Where FMD Server has a network of its own, the stranger is on that too from now on.
    let facing = testbed.facing_fmd_server("stranger").await?;
    let nginx = testbed.server().addresses().all();
    for &address in &nginx {
        let open = stranger.scan(address).await?;
        check_ports(stage, address, &open)?;
        ensure!(
            open.contains(&80),
            "{address}: not even nginx can be reached"
        );
    }
    let fmd_server = testbed.service_node(Service::FmdServer).addresses().all();
    for address in fmd_server
        .into_iter()
        .filter(|address| !nginx.contains(address))
    {
        check_ports(stage, address, &stranger.scan(address).await?)?;
    }
    push(stage, facing).await.context("the wake-up push")
}

fn check_ports(stage: &Stage, address: IpAddr, open: &[u16]) -> Result<()> {
    let beside = stage.testbed().ports_beside();
    let public = |port: &&u16| PUBLIC.contains(port) || beside.contains(port);
    let private: Vec<_> = open.iter().filter(|port| !public(port)).collect();
    ensure!(
        private.is_empty(),
        "{address} has open ports beside nginx's: {private:?}"
    );
    Ok(())
}

/// The owner's phone registers a push endpoint; a command from the web page must reach it.
pub(super) async fn push(stage: &Stage, facing: IpAddr) -> Result<()> {
    let owner = stage.person("owner").await?;
    let endpoint = stage.person("stranger").await?;
    owner.register("alice").await?;
    let token = owner.log_in("alice").await?.token;
    let (received, sent) = tokio::join!(
        endpoint.listen(PUSH_PORT, 1, PATIENCE),
        command(&owner, &endpoint, facing, &token)
    );
    sent?;
    let received = received?;
    let push = received
        .first()
        .context("FMD Server sent no push within 15 s")?;
    stage.note(format!("push received: {}", push.request));
    Ok(())
}

async fn command(owner: &Person, endpoint: &Person, facing: IpAddr, token: &str) -> Result<()> {
    wait_for("the push endpoint", PATIENCE, async || {
        let look = Command::shell("ss -Hltn \"sport = :$1\"", &[&PUSH_PORT.to_string()]);
        Ok((!endpoint.node().run(look).await?.text().is_empty()).then_some(()))
    })
    .await?;
    let url = format!("http://{facing}:{PUSH_PORT}/wake-up");
    let requests = vec![
        Request::new("PUT", "/api/v1/push").json(&json!({ "IDT": token, "Data": url })),
        Request::new("POST", "/api/v1/command")
            .json(&json!({ "IDT": token, "Data": "locate", "UnixTime": 0, "CmdSig": "" })),
    ];
    let mut plan = owner.requests(requests);
    plan.timeout_ms = Duration::from_secs(5).as_millis().try_into()?;
    for attempt in owner.send(plan).await? {
        ensure!(
            attempt.outcome.status() == Some(200),
            "request {}: {}",
            attempt.request,
            attempt.outcome
        );
    }
    Ok(())
}
