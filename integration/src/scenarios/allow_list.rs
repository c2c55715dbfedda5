//! Addresses the owner trusts.

use anyhow::{Context, Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{
    JAIL, MAXRETRY, PATIENCE, Person, guess_until_cut, login, prove_banned, prove_not_banned,
    wait_for,
};
use crate::testbed::{Break, Fault, Service};

/// What stands in the jails' `ignoreip` as well.
const OWN: &str = "127.0.0.0/8";

const FILE: &str = "/etc/fmd-stack/allow-list";

inventory::submit! {
    Scenario {
        name: "allow-list",
        proves: "an address written to the allow list is freed and never banned, without a restart",
        settings: &[],
        needs: &[],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "list-read-elsewhere",
                breaks: Break::Replace {
                    file: "etc/fail2ban/jail.d/fmd-server.conf",
                    find: "fmd_allow_list = /etc/fmd-stack/allow-list",
                    with: "fmd_allow_list = /etc/fmd-stack/no-such-list",
                },
                noticed_as: "freed by the allow list",
            },
            Fault {
                name: "lines-of-others-go-too",
                breaks: Break::Replace {
                    file: "etc/fail2ban/action.d/fmd-allow-list.py",
                    find: "if _text(network) not in ignored:",
                    with: "if True:",
                },
                noticed_as: "in the jail's own ignoreip",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let registrar = stage.person("registrar").await?;
    registrar.register("alice").await?;
    registrar.register("bob").await?;
    registrar.register("carol").await?;
    let owner = stage.person("owner").await?;
    guess_until_cut(&owner, MAXRETRY, |_| "alice".to_owned())
        .await
        .context("before")?;
    prove_banned(stage, &owner, JAIL).await?;
    let node = stage.testbed().service_node(Service::Fail2ban);
    let list = format!(
        "# home\nnot an address\n{} # the owner's\n",
        owner.address()
    );
    let twice = format!("{OWN}\n{list}");
    node.write(FILE, twice.as_bytes(), 0o644).await?;
    wait_for("the owner freed by the allow list", PATIENCE, async || {
        Ok(prove_not_banned(stage, &owner).await.ok())
    })
    .await?;
    node.write(FILE, list.as_bytes(), 0o644).await?;
    mistype(stage, &owner).await?;
    // By now the shorter list has been read.
    let ignored = stage.fail2ban().client(&["get", JAIL, "ignoreip"]).await?;
    ensure!(
        ignored.contains(OWN),
        "{OWN}, in the jail's own ignoreip, went with a line of the list: {ignored}"
    );
    prove_not_banned(stage, &owner)
        .await
        .context("on the allow list")
}

/// A second series of wrong passwords, waited for until fail2ban has read the last of them.
async fn mistype(stage: &Stage, owner: &Person) -> Result<()> {
    let before = failures(stage, owner).await?;
    let mut sent = 0;
    wait_for(
        "the owner's wrong passwords in FMD Server's log",
        PATIENCE,
        async || {
            if sent < MAXRETRY && owner.ask(login("bob", "wrong")).await?.status() == Some(403) {
                sent += 1;
            }
            Ok((failures(stage, owner).await? >= before + MAXRETRY).then_some(()))
        },
    )
    .await?;
    // Whoever fails after the owner is banned after him, if he were.
    let attacker = stage.person("attacker").await?;
    guess_until_cut(&attacker, MAXRETRY, |_| "carol".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}

async fn failures(stage: &Stage, owner: &Person) -> Result<usize> {
    let lines = stage.journal().messages("fmd-server").await?;
    let address = format!("\"{}\"", owner.address());
    Ok(lines
        .iter()
        .filter(|l| l.contains("failed login attempt") && l.contains(&address))
        .count())
}
