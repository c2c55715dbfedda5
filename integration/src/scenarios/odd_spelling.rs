//! Paths that nginx and FMD Server could read as different places.

use anyhow::{Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{login, password_of};
use crate::testbed::{Break, Fault};

/// The login, to a server that splits a path before it decodes it; files of the web page, to one
/// that decodes first.
const SPELLINGS: &[&str] = &[
    "/requestAccess/..%2fx.js",
    "/requestAccess/..%2Fx.js",
    "/api/v1/requestAccess/..%2f..%2f..%2fx.css",
    "/requestAccess/%2e.%2fx.js",
    "/requestAccess/.%2e%2Fx.js",
    "/%72equestAccess",
    "/requestAccess/x%2ejs",
];

inventory::submit! {
    Scenario {
        name: "odd-spelling",
        proves: "a path that nginx could read otherwise than FMD Server reaches no door of it",
        settings: &[],
        needs: &[],
        clients: 1,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "escapes-passed-on",
            breaks: Break::Replace {
                file: "etc/nginx/fmd-stack/server.conf",
                find: "if ($fmd_spelling) {",
                with: "if ($fmd_denied) {",
            },
            noticed_as: "answered with 200",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    for path in SPELLINGS {
        let mut right = login("alice", &password_of("alice"));
        right.path = (*path).to_owned();
        let outcome = owner.ask(right).await?;
        let status = outcome.status().unwrap_or_default();
        ensure!(status == 400, "{path} answered with {status}, not 400");
    }
    // Plain ones pass, and none of these tries was counted as a login.
    owner.log_in("alice").await.map(drop)
}
