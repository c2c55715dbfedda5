//! The disk is full.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, Person, guess_until_cut, prove_banned, wait_for};
use crate::testbed::{Break, Capability, Command, Fault, Service};

/// Takes every free block of the disk, those kept for root too.
const FILL: &str = r#"
set -- $(stat --file-system --format='%f %S' /var)
fallocate --length $(($1 * $2 - 1048576)) /var/filler || true
cat /dev/zero >>/var/filler 2>/dev/null || true
"#;

inventory::submit! {
    Scenario {
        name: "disk-full",
        proves: "with the disk full attackers are still banned, and the journal says what is wrong",
        settings: &[],
        needs: &[Capability::Init],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "nginx-logs-to-the-disk",
            breaks: Break::Replace {
                file: "etc/nginx/nginx.conf",
                find: "error_log syslog:server=unix:/run/systemd/journal/dev-log,nohostname,tag=nginx warn;",
                with: "error_log /var/log/nginx/error.log warn;",
            },
            noticed_as: "a line in the journal about the full disk",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    let server = stage.testbed().server();
    server.run(Command::shell(FILL, &[])).await?.ok()?;
    let attacker = stage.person("attacker").await?;
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned())
        .await
        .context("with the disk full")?;
    prove_banned(stage, &attacker, JAIL)
        .await
        .context("with the disk full")?;
    let line = complaint(stage, &owner).await?;
    stage.note(format!("the journal says: {line}"));
    Ok(())
}

/// A phone sends a picture, too long to be held in memory, and an operator looks for what went wrong.
async fn complaint(stage: &Stage, owner: &Person) -> Result<String> {
    let picture = json!({ "IDT": "", "Data": "x".repeat(1 << 20) });
    let outcome = owner
        .ask(Request::new("POST", "/api/v1/picture").json(&picture))
        .await?;
    ensure!(
        outcome.status() == Some(500),
        "a picture on a full disk is answered with: {outcome}"
    );
    let server = stage.testbed().service_node(Service::Journal);
    wait_for(
        "a line in the journal about the full disk",
        PATIENCE,
        async || {
            let look = Command::new([
                "journalctl",
                "--quiet",
                "--output=cat",
                "--grep=No space left on device",
            ]);
            Ok(server
                .run(look)
                .await?
                .text()
                .lines()
                .next()
                .map(str::to_owned))
        },
    )
    .await
}
