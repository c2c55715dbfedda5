//! nginx refuses its configuration just when somebody is to be denied.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::behind_edge::{BANS_IN_NGINX, DENIED, set_up_edge, wait_for_page};
use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, login, wait_for};
use crate::testbed::{Break, Capability, Fault, Service};

/// A file that nginx includes, and where an operator makes a slip.
const SLIP: &str = "/etc/nginx/fmd-stack/real-ip.conf";

inventory::submit! {
    Scenario {
        name: "deny-list-refused",
        proves: "behind a proxy, a ban that nginx could not take is in force as soon as it can",
        settings: &[BANS_IN_NGINX],
        needs: &[Capability::ServiceControl],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "tried-once",
            breaks: Break::Replace {
                file: "etc/fail2ban/action.d/fmd-nginx.py",
                find: "if self._taken is None:\n            return RETRY_SECONDS",
                with: "return None",
            },
            noticed_as: "an answer 403",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let edge = set_up_edge(stage).await?;
    let owner = stage.person("owner").await?.speaking_to(&edge.v4);
    owner.register("alice").await?;
    let attacker = stage.person("attacker").await?.speaking_to(&edge.v4);
    let nginx = stage.testbed().service_node(Service::Nginx);
    let meant = nginx.read(SLIP).await?;
    let slip = [&meant[..], b"slip;\n"].concat();
    nginx.write(SLIP, &slip, 0o644).await?;
    let guesses = vec![login("alice", "wrong"); MAXRETRY];
    attacker.send(attacker.requests(guesses)).await?;
    stage
        .fail2ban()
        .wait_banned(JAIL, attacker.address(), PATIENCE)
        .await?;
    wait_for("nginx's refusal in a log", PATIENCE, async || {
        Ok(refusal_is_logged(stage).await?.then_some(()))
    })
    .await?;
    let outcome = attacker.ask(Request::new("GET", "/")).await?;
    ensure!(
        outcome.status() == Some(200),
        "nginx took the slip: {outcome} to the attacker"
    );
    nginx.write(SLIP, &meant, 0o644).await?;
    let since = Instant::now();
    // fail2ban tries again after ten seconds.
    wait_for_page(&attacker, DENIED, PATIENCE * 2).await?;
    stage.note(format!(
        "denied {:.1} s after the slip was mended",
        since.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// By whoever tests the configuration: fail2ban, or nginx's own container.
async fn refusal_is_logged(stage: &Stage) -> Result<bool> {
    for service in [Service::Fail2ban, Service::Nginx] {
        let log = stage.testbed().service_log(service).await?;
        if log.contains("unknown directive \"slip\"") {
            return Ok(true);
        }
    }
    Ok(false)
}
