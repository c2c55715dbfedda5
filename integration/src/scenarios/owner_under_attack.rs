//! The owner of an account that somebody else keeps locked.

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{
    JAIL, LOCKED_JAIL, MAXRETRY, PATIENCE, Person, guess_until_cut, login, password_of,
    prove_banned, prove_not_banned, wait_for,
};
use crate::testbed::{Break, Fault};

/// What FMD Server answers while an account is locked, whatever the password.
const LOCKED: u16 = 423;

/// Guesses at once, each on a connection of its own. More would come again when nginx gives back a
/// guess, within a second, in which a busy emulated machine may not have banned yet.
const AT_ONCE: usize = 8;

inventory::submit! {
    Scenario {
        name: "owner-under-attack",
        proves: "no address locks an account at once; who tries while others lock his is not banned",
        settings: &[],
        needs: &[],
        clients: 4,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                // As upstream's documented filter has it.
                name: "blocked-tries-count-as-failures",
                breaks: Break::Replace {
                    file: "etc/fail2ban/filter.d/fmd-server.conf",
                    find: "message = failed login attempt",
                    with: "message = (?:failed|blocked) login attempt",
                },
                noticed_as: "the owner",
            },
            Fault {
                name: "guesses-not-limited",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/server.conf",
                    find: "limit_req zone=fmd_guess burst=4 nodelay;",
                    with: "",
                },
                noticed_as: "one attacker alone",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    let loner = stage.person("loner").await?;
    owner.register("bob").await?;
    guess_at_once(&loner, "bob").await?;
    prove_banned(stage, &loner, JAIL).await?;
    owner
        .log_in("bob")
        .await
        .context("after one attacker alone")?;
    let attacker = stage.person("attacker").await?;
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await?;
    // The sixth failure locks, and a banned attacker needs an accomplice for it.
    let accomplice = stage.person("accomplice").await?;
    accomplice.guess_wrong("alice").await?;
    let outcome = accomplice.ask(login("alice", "wrong")).await?;
    ensure!(
        outcome.status() == Some(LOCKED),
        "the seventh failure: {outcome}, not 423"
    );
    insist(stage, &owner).await.context("the owner")?;
    prove_not_banned(stage, &owner).await.context("the owner")
}

async fn guess_at_once(attacker: &Person, account: &str) -> Result<()> {
    let guesses = vec![login(account, "wrong"); AT_ONCE];
    let plan = attacker.requests(guesses).kept().over(AT_ONCE);
    attacker.send(plan).await.map(drop)
}

/// The owner tries the right password twice as often as a jail of wrong passwords would bear.
async fn insist(stage: &Stage, owner: &Person) -> Result<()> {
    let mut answered = 0;
    wait_for("answers to the owner's tries", PATIENCE * 2, async || {
        let outcome = owner.ask(login("alice", &password_of("alice"))).await?;
        match outcome.status() {
            Some(LOCKED) => answered += 1,
            Some(429) => {}
            _ => ensure!(false, "a try on the locked account: {outcome}"),
        }
        Ok((answered == 2 * MAXRETRY).then_some(()))
    })
    .await?;
    let counted = u32::try_from(answered)?;
    wait_for(
        "the tries in the jail for locked accounts",
        PATIENCE,
        async || {
            Ok((stage.fail2ban().status(LOCKED_JAIL).await?.total_failed >= counted).then_some(()))
        },
    )
    .await
}
