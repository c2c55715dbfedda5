//! Somebody else, while an attack goes on.

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, Person, guess_until_cut, prove_banned, prove_not_banned};
use crate::testbed::{Break, Fault};

inventory::submit! {
    Scenario {
        name: "bystander",
        proves: "another client logs in before, during and after an attack",
        settings: &[],
        needs: &[],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            // What a proxy that hides its clients does: everybody has one address.
            name: "everybody-has-one-address",
            breaks: Break::Replace {
                file: "etc/nginx/fmd-stack/http.conf",
                find: "map $remote_addr $fmd_client {\n    default ",
                with: "map $remote_addr $fmd_client {\n    default everybody; # ",
            },
            noticed_as: "during the attack",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let bystander = stage.person("bystander").await?;
    let attacker = stage.person("attacker").await?;
    bystander.register("bob").await?;
    stage.person("owner").await?.register("alice").await?;
    bystander.log_in("bob").await.context("before the attack")?;
    let (attack, during) = tokio::join!(
        guess_until_cut(&attacker, 4 * MAXRETRY, |_| "alice".to_owned()),
        log_in_often(&bystander),
    );
    during.context("during the attack")?;
    attack?;
    prove_banned(stage, &attacker, JAIL).await?;
    bystander.log_in("bob").await.context("after the attack")?;
    prove_not_banned(stage, &bystander).await
}

/// Several logins, so that some of them fall into the thick of the attack; as many as nginx lets
/// through at once, with the registration and the other two.
async fn log_in_often(bystander: &Person) -> Result<()> {
    for _ in 0..MAXRETRY - 3 {
        bystander.log_in("bob").await?;
    }
    Ok(())
}
