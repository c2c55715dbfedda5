//! A slow attacker in the shadow of somebody's flood.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::{interval, sleep};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, wait_in_force};
use crate::testbed::{Break, Capability, Command, Fault, Service};

/// Lines a second, about as many as fail2ban reads.
const RATE: usize = 5000;

/// Flood between two guesses; an emulated machine writes less than the rate in that time.
const PAUSE: Duration = Duration::from_secs(1);

/// Where they seem to come from; no node has it (RFC 5737).
const FLOODER: &str = "198.51.100.99";

/// fail2ban has to read all the lines before it comes to the attacker's last; below findtime.
const WITHIN: Duration = Duration::from_secs(240);

/// Between two questions how far it has come.
const LOOK: Duration = Duration::from_secs(3);

inventory::submit! {
    Scenario {
        name: "flood",
        proves: "5,000 log lines a second from one address hide no other: both are banned",
        settings: &[],
        // It fills the journal, and bans an address that nobody has.
        needs: &[Capability::Faults],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        // For a journal that loses lines see journal-rate-limit.
        faults: &[Fault {
            name: "attacker-forgotten-during-the-flood",
            breaks: Break::Write {
                file: "etc/fail2ban/jail.d/zz-fault.local",
                content: "[fmd-server]\nfindtime = 1\n",
            },
            noticed_as: "not in the ban list",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    let mut pace = interval(PAUSE);
    for guess in 0..MAXRETRY {
        if guess > 0 {
            flood(stage).await.context("flooding the journal")?;
        }
        pace.tick().await;
        attacker.guess_wrong("alice").await?;
    }
    let read = read_to_the_end(stage).await?;
    stage.note(format!("{read} lines read"));
    let flooder: IpAddr = FLOODER.parse().context("the flooder's address")?;
    let banned = stage.fail2ban().status(JAIL).await?;
    for (who, address) in [("flooder", flooder), ("attacker", attacker.address())] {
        ensure!(
            banned.bans(address),
            "the {who}, {address}, is not in the ban list: {:?}",
            banned.banned
        );
        wait_in_force(stage, address, PATIENCE).await?;
    }
    Ok(())
}

/// Waits until fail2ban counts no further failures; returns how many it counted.
async fn read_to_the_end(stage: &Stage) -> Result<u32> {
    let mut before = None;
    let end = Instant::now() + WITHIN;
    loop {
        let read = stage.fail2ban().status(JAIL).await?.total_failed;
        if before == Some(read) {
            return Ok(read);
        }
        ensure!(Instant::now() < end, "fail2ban still reads, at line {read}");
        before = Some(read);
        // Asked more often, an emulated machine would be busy with the asking.
        sleep(LOOK).await;
    }
}

/// Writes the lines as FMD Server would, through the same socket.
async fn flood(stage: &Stage) -> Result<()> {
    let line = format!(
        r#"{{"level":"warn","userid":"alice","remoteIp":"{FLOODER}","time":"","message":"failed login attempt"}}"#
    );
    let script = r#"yes "$1" | head -n "$2" | timeout "$3" logger --tag fmd-server --priority user.warn || [ $? = 124 ]"#;
    let seconds = PAUSE.as_secs().to_string();
    let command = Command::shell(script, &[&line, &RATE.to_string(), &seconds]);
    let node = stage.testbed().service_node(Service::Journal);
    node.run(command).await?.ok().map(drop)
}
