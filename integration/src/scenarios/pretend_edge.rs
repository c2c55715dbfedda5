//! A client that pretends to be the edge.

use anyhow::{Context, Result};

use super::behind_edge::{BANS_IN_NGINX, DENIED, set_up_edge, wait_for_page};
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, login, prove_not_banned};
use crate::testbed::{Break, Capability, Fault};

inventory::submit! {
    Scenario {
        name: "pretend-edge",
        proves: "a client that sends an edge's header without being one is banned itself",
        settings: &[BANS_IN_NGINX],
        needs: &[Capability::ServiceControl],
        clients: 4,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "everybody-is-an-edge",
            breaks: Break::Replace {
                file: "etc/nginx/fmd-stack/server.conf",
                find: "include /etc/nginx/fmd-stack/real-ip.conf;",
                with: "set_real_ip_from 0.0.0.0/0; real_ip_header X-Forwarded-For;",
            },
            noticed_as: "the victim",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    set_up_edge(stage).await?;
    let victim = stage.person("victim").await?;
    // Not by the victim: nginx counts it with the guesses that seem to be the victim's.
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    let forged = login("alice", "wrong").header("X-Forwarded-For", &victim.address().to_string());
    attacker
        .send(attacker.requests(vec![forged; MAXRETRY]))
        .await?;
    let banned = stage
        .fail2ban()
        .wait_banned(JAIL, attacker.address(), PATIENCE)
        .await;
    prove_not_banned(stage, &victim)
        .await
        .context("the victim")?;
    banned?;
    wait_for_page(&attacker, DENIED, PATIENCE)
        .await
        .context("the attacker")
}
