//! A server behind another proxy, which is all that its firewall sees.

use anyhow::{Context, Result, ensure};

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, Person, login, wait_for};
use crate::testbed::{Action, Break, Capability, Command, Fault, Service};

/// The setting that moves bans from the firewall into nginx.
pub(super) const BANS_IN_NGINX: (&str, &str) =
    ("etc/fail2ban/jail.d/zz-scenario.local", "[DEFAULT]\nfmd_ban = %(fmd_nginx)s\n");

/// What nginx answers to whoever is banned there.
const DENIED: u16 = 403;

inventory::submit! {
    Scenario {
        name: "behind-edge",
        proves: "behind a proxy, the client is banned in nginx; the proxy and others are not",
        settings: &[BANS_IN_NGINX],
        needs: &[Capability::ServiceControl],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "ban-in-the-firewall",
                breaks: Break::Write { file: BANS_IN_NGINX.0, content: "" },
                noticed_as: "denied by nginx",
            },
            Fault {
                name: "edge-not-trusted",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/server.conf",
                    find: "include /etc/nginx/fmd-stack/real-ip.conf;",
                    with: "",
                },
                noticed_as: "in the ban list of jail fmd-server: not within",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    // Made first, so that the fault's words can name its address.
    let attacker = stage.person("attacker").await?;
    let edge = set_up_edge(stage).await?;
    let attacker = attacker.speaking_to(&edge);
    let bystander = stage.person("bystander").await?.speaking_to(&edge);
    bystander.register("alice").await?;
    let guesses = vec![login("alice", "wrong"); MAXRETRY];
    attacker.send(attacker.requests(guesses)).await?;
    stage.fail2ban().wait_banned(JAIL, attacker.address(), PATIENCE).await?;
    wait_for_page(&attacker, DENIED).await.context("the attacker, denied by nginx")?;
    wait_for_page(&bystander, 200).await.context("the bystander")?;
    let banned = stage.fail2ban().status(JAIL).await?.banned;
    ensure!(banned.len() == 1, "more than the attacker is banned: {banned:?}");
    stage.fail2ban().unban(JAIL, attacker.address()).await?;
    wait_for_page(&attacker, 200).await.context("the attacker, after the unban")
}

/// Asks for the page until it is answered with this status.
pub(super) async fn wait_for_page(person: &Person, status: u16) -> Result<()> {
    let what = format!("an answer {status} to {}", person.address());
    wait_for(&what, PATIENCE, async || {
        let outcome = person.ask(Request::new("GET", "/")).await?;
        Ok((outcome.status() == Some(status)).then_some(()))
    })
    .await
}

/// Runs nginx as a proxy on a client node and has the server trust it; returns the proxy's URL.
pub(super) async fn set_up_edge(stage: &Stage) -> Result<String> {
    let edge = stage.testbed().client("edge").await?;
    let address = edge.addresses().v4;
    let conf = format!(
        "user root;\nworker_processes 1;\npid /run/edge.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  \
         access_log off;\n  server {{\n    listen {address}:80;\n    location / {{\n      \
         proxy_pass {};\n      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    \
         }}\n  }}\n}}\n",
        stage.testbed().url()
    );
    edge.write("/run/edge.conf", conf.as_bytes(), 0o644).await?;
    let start = Command::shell("nginx -q -c /run/edge.conf >/dev/null 2>&1 </dev/null", &[]);
    edge.run(start).await?.ok().context("starting the edge")?;
    let trust = format!(
        "set_real_ip_from {address};\nreal_ip_header X-Forwarded-For;\nreal_ip_recursive on;\n"
    );
    let nginx = stage.testbed().service_node(Service::Nginx);
    nginx.write("/etc/nginx/fmd-stack/real-ip.conf", trust.as_bytes(), 0o644).await?;
    // Not a reload: the old workers would still take a connection or two.
    stage
        .testbed()
        .control(Service::Nginx, Action::Restart)
        .await?;
    Ok(format!("http://{address}"))
}
