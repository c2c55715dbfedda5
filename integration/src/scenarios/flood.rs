//! A slow attacker in the shadow of somebody's flood.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY};
use crate::testbed::{Break, Capability, Command, Fault, Service};

/// Lines between two guesses: two seconds of 5,000 a second. They arrive faster than fail2ban reads.
const LINES: usize = 10_000;

/// Where they seem to come from; no node has it (RFC 5737).
const FLOODER: &str = "198.51.100.99";

/// fail2ban reads some 5,000 lines a second and has to come to the attacker's; far below findtime.
const WITHIN: Duration = Duration::from_secs(40);

inventory::submit! {
    Scenario {
        name: "flood",
        proves: "50,000 log lines from one address hide no other: both are banned",
        settings: &[],
        // It fills the journal, and bans an address that nobody has.
        needs: &[Capability::Faults],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        // What a journal that loses lines does is no fault to seed: whether it loses them before
        // fail2ban has read them depends on the machine's speed, and journald counts its rate limit
        // by unit, which only an init system makes.
        faults: &[Fault {
            name: "attacker-forgotten-during-the-flood",
            breaks: Break::Write {
                file: "etc/fail2ban/jail.d/zz-fault.local",
                content: "[fmd-server]\nfindtime = 1\n",
            },
            noticed_as: "in the ban list",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    for _ in 0..MAXRETRY {
        attacker.guess_wrong("alice").await?;
        flood(stage).await.context("flooding the journal")?;
    }
    let flooder: IpAddr = FLOODER.parse().context("the flooder's address")?;
    stage.fail2ban().wait_banned(JAIL, flooder, WITHIN).await?;
    stage.fail2ban().wait_banned(JAIL, attacker.address(), WITHIN).await.map(drop)
}

/// Writes the lines as FMD Server would, through the same socket.
async fn flood(stage: &Stage) -> Result<()> {
    let line = format!(
        r#"{{"level":"warn","userid":"alice","remoteIp":"{FLOODER}","time":"","message":"failed login attempt"}}"#
    );
    let script = r#"yes "$1" | head -n "$2" | logger --tag fmd-server --priority user.warn"#;
    let command = Command::shell(script, &[&line, &LINES.to_string()]);
    let node = stage.testbed().service_node(Service::Journal);
    node.run(command.deadline(Duration::from_secs(60))).await?.ok().map(drop)
}
