//! A server behind another proxy, which is all that its firewall sees.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, Person, login, wait_for, while_knocking};
use crate::testbed::{Action, Break, Capability, Command, Fault, Service};

/// The setting that moves bans from the firewall into nginx.
pub(super) const BANS_IN_NGINX: (&str, &str) = (
    "etc/fail2ban/jail.d/zz-scenario.local",
    "[DEFAULT]\nfmd_ban = %(fmd_nginx)s\n",
);

/// What nginx answers to whoever is banned there.
pub(super) const DENIED: u16 = 403;

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
                name: "list-made-anew",
                breaks: Break::Replace {
                    file: "etc/fail2ban/action.d/fmd-nginx.py",
                    find: "def start(self):\n",
                    with: "def start(self):\n        self._denied.forget()\n        self._denied.settle()\n",
                },
                noticed_as: "times while fail2ban",
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
    let bystander = stage.person("bystander").await?.speaking_to(&edge.v4);
    bystander.register("alice").await?;
    bystander.register("bob").await?;
    let by_v4 = attacker.speaking_to(&edge.v4);
    let by_v6 = attacker.over_v6()?.speaking_to(&edge.v6);
    attack(stage, &by_v4, "alice").await?;
    attack(stage, &by_v6, "bob").await.context("over IPv6")?;
    crash(stage, &by_v4).await?;
    wait_for_page(&bystander, 200, PATIENCE)
        .await
        .context("the bystander")?;
    let banned = stage.fail2ban().status(JAIL).await?.banned;
    ensure!(
        banned.len() == 2,
        "more than the attacker is banned: {banned:?}"
    );
    for attacker in [by_v4, by_v6] {
        stage.fail2ban().unban(JAIL, attacker.address()).await?;
        wait_for_page(&attacker, 200, PATIENCE)
            .await
            .context("the attacker, after the unban")?;
    }
    Ok(())
}

async fn attack(stage: &Stage, attacker: &Person, account: &str) -> Result<()> {
    let guesses = vec![login(account, "wrong"); MAXRETRY];
    attacker.send(attacker.requests(guesses)).await?;
    stage
        .fail2ban()
        .wait_banned(JAIL, attacker.address(), PATIENCE)
        .await?;
    wait_for_page(attacker, DENIED, PATIENCE)
        .await
        .context("the attacker, denied by nginx")
}

/// fail2ban is killed and started: it must not begin with a list of nobody.
async fn crash(stage: &Stage, attacker: &Person) -> Result<()> {
    let testbed = stage.testbed();
    let restart = async {
        testbed.control(Service::Fail2ban, Action::Kill).await?;
        testbed.control(Service::Fail2ban, Action::Start).await?;
        let fail2ban = stage.fail2ban();
        fail2ban
            .wait_banned(JAIL, attacker.address(), PATIENCE)
            .await
    };
    let (restarted, knocks) = while_knocking(attacker, restart).await?;
    restarted?;
    let served = knocks
        .iter()
        .filter(|knock| knock.outcome.status() == Some(200))
        .count();
    ensure!(
        served == 0,
        "the attacker was served {served} times while fail2ban was down or starting"
    );
    Ok(())
}

/// Asks for the page until it is answered with this status.
pub(super) async fn wait_for_page(person: &Person, status: u16, within: Duration) -> Result<()> {
    let what = format!("an answer {status} to {}", person.address());
    wait_for(&what, within, async || {
        let outcome = person.ask(Request::new("GET", "/")).await?;
        Ok((outcome.status() == Some(status)).then_some(()))
    })
    .await
}

/// The URLs of a proxy.
pub(super) struct Edge {
    pub(super) v4: String,
    v6: String,
}

/// Runs nginx as a proxy on a client node and has the server trust it.
pub(super) async fn set_up_edge(stage: &Stage) -> Result<Edge> {
    let edge = stage.testbed().client("edge").await?;
    let address = edge.addresses().v4;
    let v6 = edge.addresses().v6(edge.name())?;
    let conf = format!(
        "user root;\nworker_processes 1;\npid /run/edge.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  \
         access_log off;\n  server {{\n    listen {address}:80;\n    listen [{v6}]:80;\n    location / {{\n      \
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
    nginx
        .write("/etc/nginx/fmd-stack/real-ip.conf", trust.as_bytes(), 0o644)
        .await?;
    // Not a reload: the old workers would still take a connection or two.
    stage
        .testbed()
        .control(Service::Nginx, Action::Restart)
        .await?;
    Ok(Edge {
        v4: format!("http://{address}"),
        v6: format!("http://[{v6}]"),
    })
}
