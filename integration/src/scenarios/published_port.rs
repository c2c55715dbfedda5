//! From outside of the stack's networks, through a port that the container engine publishes.

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, Person, guess_until_cut, prove_banned};
use crate::testbed::{Break, Capability, Fault, Way};

inventory::submit! {
    Scenario {
        name: "published-port",
        proves: "a client from outside, through the engine's published port, is banned and cut",
        settings: &[],
        needs: &[Capability::PublishedPort],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                // What a ban in the host's INPUT chain amounts to: the packets pass elsewhere.
                name: "ban-on-a-way-that-packets-do-not-take",
                breaks: Break::Replace {
                    file: "etc/fail2ban/jail.d/fmd-server.conf",
                    find: "fmd_hook = input",
                    with: "fmd_hook = forward",
                },
                noticed_as: "still get in",
            },
            Fault { name: "no-net-admin", breaks: Break::NoNetAdmin, noticed_as: "still get in" },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = Person::outside(stage.testbed(), "attacker", Way::Routed).await?;
    let cut = guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    ensure!(
        cut.answered() == MAXRETRY,
        "only {} of {MAXRETRY} guesses were answered",
        cut.answered()
    );
    prove_banned(stage, &attacker, JAIL).await?;
    let delay = cut.delay().as_secs_f64();
    stage.note(format!(
        "{} to {}: {}, {delay:.2} s after the last failure",
        attacker.address(),
        attacker.url(),
        cut.cut.outcome
    ));
    let bystander = Person::outside(stage.testbed(), "bystander", Way::Routed).await?;
    bystander
        .log_in("alice")
        .await
        .map(drop)
        .context("somebody else through the same port")
}
