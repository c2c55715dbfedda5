//! Somebody else's web page, which has its reader's browser knock at the doors.

use anyhow::{Context, Result, ensure};

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{MAXRETRY, NGINX_JAIL, login, password_of, prove_not_banned};
use crate::testbed::{Break, Fault};

inventory::submit! {
    Scenario {
        name: "lured-browser",
        proves: "another site's page can't get its reader banned, nor use up his logins",
        settings: &[],
        needs: &[],
        clients: 1,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "other-sites-are-served",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/server.conf",
                    find: "if ($fmd_lured) {",
                    with: "if ($fmd_denied) {",
                },
                noticed_as: "an image of another site",
            },
            Fault {
                name: "links-lead-to-the-api",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/http.conf",
                    find: "document /(?!api(?:/|$))\"",
                    with: "document /\"",
                },
                noticed_as: "a link of another site to the API",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    // `<img src="https://fmd.example.org/requestAccess?1">` and so on.
    for number in 0..2 * MAXRETRY {
        let image = Request::new("GET", &format!("/requestAccess?{number}"));
        let outcome = owner
            .ask(sent_by_browser(image, "cross-site", "image"))
            .await?;
        ensure!(
            outcome.status() == Some(403),
            "an image of another site: {outcome}, not 403"
        );
    }
    // A link to the API, which is no page: in FMD Server 0.17 it takes a token.
    let api = Request::new("GET", "/api/v2/data/location");
    let outcome = owner
        .ask(sent_by_browser(api, "cross-site", "document"))
        .await?;
    ensure!(
        outcome.status() == Some(403),
        "a link of another site to the API: {outcome}, not 403"
    );
    let link = sent_by_browser(Request::new("GET", "/map"), "cross-site", "document");
    let outcome = owner.ask(link).await?;
    ensure!(
        outcome.status() == Some(200),
        "a link of another site: {outcome}"
    );
    let own = login("alice", &password_of("alice"));
    let outcome = owner
        .ask(sent_by_browser(own, "same-origin", "empty"))
        .await?;
    ensure!(
        outcome.status() == Some(200),
        "a login of FMD Server's own page: {outcome}"
    );
    let counted = stage.fail2ban().status(NGINX_JAIL).await?.total_failed;
    ensure!(
        counted == 0,
        "{counted} of the lured browser's requests were counted"
    );
    prove_not_banned(stage, &owner).await.context("the reader")
}

/// The headers by which browsers say where a request comes from (W3C Fetch Metadata).
fn sent_by_browser(request: Request, site: &str, destination: &str) -> Request {
    request
        .header("Sec-Fetch-Site", site)
        .header("Sec-Fetch-Dest", destination)
}
