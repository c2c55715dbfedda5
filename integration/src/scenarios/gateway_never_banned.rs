//! Clients that the container engine hides behind its gateway: everybody has one address.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{
    JAIL, MAXRETRY, PATIENCE, Person, guess_until_cut, login, prove_banned, prove_not_listed,
    wait_for,
};
use crate::testbed::{Break, Capability, Fault, Way};

inventory::submit! {
    Scenario {
        name: "gateway-never-banned",
        proves: "an engine's gateway that hides its clients is never banned, and the operator is told",
        settings: &[],
        needs: &[Capability::PublishedPort],
        clients: 4,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "nobody-knows-the-gateway",
                breaks: Break::Write {
                    file: "etc/fail2ban/jail.d/zz-fault.local",
                    content: "[DEFAULT]\nfmd_more_actions =\n",
                },
                noticed_as: "in the ban list",
            },
            Fault {
                name: "nobody-is-told",
                breaks: Break::Replace {
                    file: "etc/fail2ban/action.d/fmd-gateway.py",
                    find: "if str(ip) in self._gateways:",
                    with: "if False:",
                },
                noticed_as: "a warning for the operator",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    owner.register("bob").await?;
    let attacker = Person::outside(stage.testbed(), "attacker", Way::Proxied).await?;
    let guesses = (0..2 * MAXRETRY).map(|_| login("alice", "wrong")).collect();
    attacker.send(attacker.requests(guesses)).await?;
    let seen = seen_as(stage).await?;
    if seen == attacker.address() {
        stage.note("this engine does not hide its clients' addresses");
        return prove_banned(stage, &attacker, JAIL).await.map(drop);
    }
    stage.note(format!(
        "this engine hides its clients behind {seen}: nobody is banned for it"
    ));
    // Whoever fails after the gateway is banned after it, if it were.
    let marker = stage.person("marker").await?;
    guess_until_cut(&marker, MAXRETRY, |_| "bob".to_owned()).await?;
    prove_banned(stage, &marker, JAIL).await?;
    prove_not_listed(stage, &[seen])
        .await
        .context("the gateway")?;
    let page = attacker.ask(Request::new("GET", "/")).await?;
    ensure!(
        page.status() == Some(200),
        "whoever comes by the gateway {seen} is not served: {page}"
    );
    let told = warned(stage, seen).await?;
    stage.note(format!("the operator is told: {told}"));
    Ok(())
}

/// The address by which the attacker stands in FMD Server's log.
async fn seen_as(stage: &Stage) -> Result<IpAddr> {
    let lines = stage.journal().messages("fmd-server").await?;
    let failure = lines
        .iter()
        .rfind(|line| line.contains("failed login attempt"));
    let failure = failure.context("FMD Server logged no failed login attempt")?;
    let line: serde_json::Value =
        serde_json::from_str(failure).context("reading FMD Server's log")?;
    let address = line["remoteIp"]
        .as_str()
        .context("no remoteIp in FMD Server's log")?;
    address
        .parse()
        .with_context(|| format!("remoteIp {address:?}"))
}

/// What the journal says to the operator.
async fn warned(stage: &Stage, gateway: IpAddr) -> Result<String> {
    wait_for(
        "a warning for the operator in the journal",
        PATIENCE,
        async || {
            let lines = stage.journal().messages("fmd-stack").await?;
            Ok(lines.into_iter().find(|line| {
                line.contains(&gateway.to_string()) && line.contains("nobody is banned")
            }))
        },
    )
    .await
}
