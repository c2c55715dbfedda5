//! Headers that name somebody else.

use anyhow::Result;

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, Person, login, prove_banned, prove_not_banned};
use crate::testbed::{Break, Fault};

inventory::submit! {
    Scenario {
        name: "forged-header",
        proves: "X-Real-IP, X-Forwarded-For and Forwarded naming a victim: the attacker is banned",
        settings: &[],
        needs: &[],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "real-ip-not-overwritten",
            breaks: Break::Replace {
                file: "etc/nginx/fmd-stack/proxy.conf",
                find: "proxy_set_header X-Real-IP $remote_addr;",
                with: "",
            },
            noticed_as: "stands in the ban list",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    let victim = stage.person("victim").await?;
    let guesses = (0..MAXRETRY).map(|_| forged(&victim)).collect();
    attacker.send(attacker.requests(guesses)).await?;
    // Time for either of them to be banned: the attacker's ban is what is waited for.
    let banned = prove_banned(stage, &attacker, JAIL).await;
    prove_not_banned(stage, &victim).await?;
    banned.map(drop)
}

/// A wrong password with every header a proxy might believe.
fn forged(victim: &Person) -> Request {
    let address = victim.address().to_string();
    login("alice", "wrong")
        .header("X-Real-IP", &address)
        .header("X-Real-IP", &address)
        .header("X-Forwarded-For", &address)
        .header("X-Forwarded-For", &format!("{address}, {address}"))
        .header("Forwarded", &format!("for={address}"))
        .header("True-Client-IP", &address)
        .header("CF-Connecting-IP", &address)
}
