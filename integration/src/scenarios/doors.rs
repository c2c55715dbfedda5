//! Guesses at every door, those FMD Server does not log included.

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{DOORS, Door, PRIVATE_REGISTRATION, knock_until_cut, prove_banned};
use crate::testbed::{Break, Fault};

inventory::submit! {
    Scenario {
        name: "doors",
        proves: "maxretry wrong guesses at any door, logged by FMD Server or not: banned",
        settings: &[PRIVATE_REGISTRATION],
        needs: &[],
        // One for each door, and the owner.
        clients: DOORS.len() + 1,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "nginx-logs-nothing",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/server.conf",
                    find: "if=$fmd_refused",
                    with: "if=0",
                },
                noticed_as: "unknown-account: packets",
            },
            Fault {
                name: "salt-answers-not-told-apart",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/http.conf",
                    find: "\"~ salt 200 empty$\"       unknown-account;",
                    with: "",
                },
                noticed_as: "unknown-account-by-salt: packets",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    for number in 0..5 {
        owner.register(&format!("account{number}")).await?;
    }
    for door in DOORS {
        attack(stage, door)
            .await
            .with_context(|| door.name.to_owned())?;
    }
    Ok(())
}

async fn attack(stage: &Stage, door: &Door) -> Result<()> {
    let attacker = stage.person(door.name).await?;
    let guesses = (0..door.maxretry).map(door.guess).collect();
    let cut = knock_until_cut(&attacker, guesses).await?;
    stage.note(format!(
        "{}: cut {:.2} s after the last guess",
        door.name,
        cut.delay().as_secs_f64()
    ));
    prove_banned(stage, &attacker, door.jail).await.map(drop)
}
