//! The same attack over IPv6.

use anyhow::Result;

use super::brute_force::attack;
use crate::scenario::{Scenario, Stage};
use crate::testbed::{Break, Fault};

inventory::submit! {
    Scenario {
        name: "ipv6",
        proves: "wrong passwords from an IPv6 address: listed, refused, open connections cut",
        settings: &[],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "filter-reads-ipv4-only",
            breaks: Break::Replace {
                file: "etc/fail2ban/filter.d/fmd-server.conf",
                find: "<ADDR>",
                with: "<IP4>",
            },
            noticed_as: "still get in",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?.over_v6()?;
    attack(stage, &attacker, "alice").await
}
