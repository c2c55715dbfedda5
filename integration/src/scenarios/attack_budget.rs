//! How many guesses an attacker at full speed gets answered.

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{DOORS, Door, PRIVATE_REGISTRATION, prove_banned};
use crate::testbed::{Break, Fault};

/// Guesses an attacker has in store: far more than he gets to make.
const STORE: usize = 4000;

/// Connections he uses at once.
const CONNECTIONS: usize = 8;

/// What nginx answers instead of FMD Server to who is too fast.
const TOO_FAST: u16 = 429;

inventory::submit! {
    Scenario {
        name: "attack-budget",
        proves: "at full speed on 8 connections, any door answers at most maxretry + 1 guesses",
        settings: &[PRIVATE_REGISTRATION],
        needs: &[],
        // One for each door, and the owner.
        clients: DOORS.len() + 1,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "guesses-not-limited",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/server.conf",
                    find: "limit_req zone=fmd_guess burst=4 nodelay;",
                    with: "",
                },
                noticed_as: "guesses answered",
            },
            Fault {
                name: "each-door-limited-by-itself",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/http.conf",
                    find: "limit_req_zone $fmd_guess_key zone",
                    with: "limit_req_zone $fmd_guess_key$fmd_door zone",
                },
                noticed_as: "doors-in-turn",
            },
            Fault {
                name: "tokens-not-limited",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/server.conf",
                    find: "limit_req zone=fmd_api   burst=600 delay=14;",
                    with: "",
                },
                noticed_as: "access-token",
            },
            Fault {
                name: "answers-under-way-arrive",
                breaks: Break::Replace {
                    file: "etc/fail2ban/action.d/fmd-nft.py",
                    find: "tcp flags & rst == 0x0 drop",
                    with: "accept",
                },
                noticed_as: "guesses answered",
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
    let guesses = (0..STORE).map(door.guess).collect();
    let mut plan = attacker.requests(guesses).kept().over(CONNECTIONS);
    plan.stop_when_cut = true;
    let attempts = attacker.send(plan).await?;
    let answered = attempts
        .iter()
        .filter_map(|attempt| attempt.outcome.status())
        .filter(|status| *status != TOO_FAST)
        .count();
    stage.note(format!(
        "{}: {answered} of {} guesses answered",
        door.name,
        attempts.len()
    ));
    let budget = door.maxretry + 1;
    ensure!(
        answered <= budget,
        "{answered} guesses answered, {budget} allowed"
    );
    prove_banned(stage, &attacker, door.jail).await.map(drop)
}
