//! A service that logs more than journald's own limit allows.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, prove_banned};
use crate::testbed::{Break, Capability, Command, Fault, Service};

/// journald counts by unit and drops what is above its limit, by default 10,000 lines in 30 s, up to
/// three times that with a disk like a test machine's (`burst_modulate` in systemd's
/// journald-rate-limit.c).
const LINES: usize = 40_000;

/// Lines as another program of the unit would write them, so that fail2ban need not read them, of the
/// priority of a failed login: each is counted by itself.
const FLOOD: &str = r#"
echo $$ >"/sys/fs/cgroup$(systemctl show --value --property=ControlGroup fmd-server)/cgroup.procs"
yes 'a line of no interest' | head -n "$1" | logger --tag noise --priority user.warn
"#;

/// An emulated machine that is busy takes a minute for that.
const FLOODED: Duration = Duration::from_secs(120);

inventory::submit! {
    Scenario {
        name: "journal-rate-limit",
        proves: "failed logins are seen although FMD Server's unit logs more than journald's own limit",
        settings: &[],
        // Only an init system gives journald units to count by.
        needs: &[Capability::Init, Capability::Faults],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "journald's-own-limit",
            breaks: Break::Replace {
                // A unit's own limit goes before journald's.
                file: "etc/systemd/system/fmd-server.service",
                find: "LogRateLimitBurst=300000",
                with: "LogRateLimitBurst=10000",
            },
            noticed_as: "still get in",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    let node = stage.testbed().service_node(Service::Journal);
    let flood = Command::shell(FLOOD, &[&LINES.to_string()]).deadline(FLOODED);
    node.run(flood)
        .await?
        .ok()
        .context("flooding the journal")?;
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}
