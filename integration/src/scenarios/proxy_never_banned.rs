//! Whose address is logged, and whose is banned.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, prove_banned, prove_not_listed};
use crate::testbed::{Break, Fault};

inventory::submit! {
    Scenario {
        name: "proxy-never-banned",
        proves: "FMD Server logs the client's own address; no proxy, gateway or loopback is banned",
        settings: &[],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            // What FMD Server logs when no header reaches it: its peer, a unix socket.
            name: "nginx-sends-no-address",
            breaks: Break::Replace {
                file: "etc/nginx/fmd-stack/proxy.conf",
                find: "proxy_set_header X-Real-IP $remote_addr;",
                with: "proxy_set_header X-Real-IP $server_addr;",
            },
            noticed_as: "logged",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    owner.guess_wrong("alice").await?;
    check_log(stage, owner.address()).await?;
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await?;
    prove_not_listed(stage, &infrastructure(stage)).await
}

async fn check_log(stage: &Stage, client: IpAddr) -> Result<()> {
    let lines = stage.journal().messages("fmd-server").await?;
    let failure = lines
        .iter()
        .rfind(|line| line.contains("failed login attempt"))
        .context("FMD Server logged no failed login attempt to the journal")?;
    let expected = format!("\"remoteIp\":\"{client}\"");
    ensure!(
        failure.contains(&expected),
        "FMD Server logged {failure}, not the client's address {client}"
    );
    Ok(())
}

/// Addresses that belong to the stack itself.
fn infrastructure(stage: &Stage) -> Vec<IpAddr> {
    let mut all = stage.testbed().server().addresses().all();
    all.extend(
        ["127.0.0.1", "::1"]
            .iter()
            .filter_map(|text| text.parse::<IpAddr>().ok()),
    );
    all
}
