//! Requests that are too big, and one that is only big.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, login, prove_banned};
use crate::testbed::{Break, Fault};

const MEGABYTE: usize = 1 << 20;

inventory::submit! {
    Scenario {
        name: "big-request",
        proves: "headers of 1 MB and bodies of 20 MB are refused, pictures pass, the jail works on",
        settings: &[],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                // nginx's own default.
                name: "pictures-refused",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/server.conf",
                    find: "client_max_body_size 16m;",
                    with: "client_max_body_size 1m;",
                },
                noticed_as: "a picture of 2 MB",
            },
            Fault {
                name: "headers-of-any-size",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/server.conf",
                    find: "large_client_header_buffers 4 8k;",
                    with: "large_client_header_buffers 4 4m;",
                },
                noticed_as: "a header of 1 MB",
            },
            Fault {
                name: "bodies-of-any-size",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/http.conf",
                    find: "long;",
                    with: "\"\";",
                },
                noticed_as: "a body of 20 MB",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    let token = owner.log_in("alice").await?.token;
    let picture = json!({ "IDT": token, "Data": "p".repeat(2 * MEGABYTE) });
    let outcome = owner
        .ask(Request::new("POST", "/api/v1/picture").json(&picture))
        .await?;
    ensure!(
        outcome.status() == Some(200),
        "a picture of 2 MB: {outcome}"
    );
    let attacker = stage.person("attacker").await?;
    let header = Request::new("GET", "/").header("X-Long", &"h".repeat(MEGABYTE));
    let outcome = attacker.ask(header).await?;
    ensure!(
        // nginx's answer; FMD Server's would be 431.
        matches!(outcome.status(), Some(400) | None),
        "a header of 1 MB: {outcome}"
    );
    let outcome = attacker
        .ask(login("alice", &"b".repeat(20 * MEGABYTE)))
        .await?;
    ensure!(
        matches!(outcome.status(), Some(413) | None),
        "a body of 20 MB: {outcome}"
    );
    let lines = stage.journal().messages("nginx").await?;
    let logged = lines.iter().filter(|line| line.contains("too large body"));
    ensure!(
        logged.count() == 0,
        "a body of 20 MB: nginx logs whatever asks it to take one"
    );
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}
