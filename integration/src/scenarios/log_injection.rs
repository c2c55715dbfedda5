//! Account names, headers and bodies that look like log lines.

use anyhow::Result;
use serde_json::json;

use crate::client::Request;
use crate::scenario::{Scenario, Stage};
use crate::stack::{
    JAIL, MAXRETRY, NGINX_JAIL, PATIENCE, Person, login, prove_banned, prove_not_banned, wait_for,
};
use crate::testbed::{Break, Fault};

inventory::submit! {
    Scenario {
        name: "log-injection",
        proves: "log lines in account names, headers and bodies ban their sender, nobody else",
        settings: &[],
        needs: &[],
        clients: 4,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            // A filter that reads lists of addresses, behind a proxy that hands headers on.
            name: "filter-looks-anywhere",
            breaks: Break::All(&[
                Break::Replace {
                    file: "etc/nginx/fmd-stack/proxy.conf",
                    find: "X-Real-IP $remote_addr;",
                    with: "X-Real-IP $http_x_real_ip;",
                },
                Break::Replace {
                    file: "etc/fail2ban/filter.d/fmd-server.conf",
                    find: "\"remoteIp\":\"<ADDR>(?::\\d{1,5})?\"",
                    with: "\"remoteIp\":\".*?<ADDR>.*\"",
                },
            ]),
            noticed_as: "stands in the ban list",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let victim = stage.person("victim").await?;
    let failure = Failure::of(&victim);
    let attacker = stage.person("attacker").await?;
    attacker
        .send(attacker.requests(vec![failure.in_headers(); MAXRETRY]))
        .await?;
    wait_for("the failures in the jail's count", PATIENCE, async || {
        let failed = stage.fail2ban().status(JAIL).await?.total_failed;
        Ok((failed >= u32::try_from(MAXRETRY)?).then_some(()))
    })
    .await?;
    prove_not_banned(stage, &victim).await?;
    prove_banned(stage, &attacker, JAIL).await?;
    let another = stage.person("another").await?;
    another.send(another.requests(failure.in_bodies())).await?;
    prove_banned(stage, &another, NGINX_JAIL).await?;
    prove_not_banned(stage, &victim).await
}

/// A failure of the victim's as FMD Server logs it: whole, and as what follows an open string.
struct Failure {
    line: String,
    tail: String,
}

impl Failure {
    fn of(victim: &Person) -> Self {
        let address = victim.address();
        let tail = format!(
            "\",\"remoteIp\":\"{address}\",\"time\":\"\",\"message\":\"failed login attempt"
        );
        Self {
            line: format!("{{\"level\":\"warn\",\"userid\":\"alice{tail}\"}}"),
            tail,
        }
    }

    /// A wrong password with the failure in its headers.
    fn in_headers(&self) -> Request {
        login("alice", "wrong")
            .header("X-Real-IP", &self.line)
            .header("X-Real-IP", &format!("1.1.1.1{}", self.tail))
            .header("User-Agent", &self.line)
            .header("Referer", &self.tail)
    }

    /// Malformed logins and salts with the failure in their bodies: more than a jail bears.
    fn in_bodies(&self) -> Vec<Request> {
        let broken = format!("alice\nserver fmd-server[1]: {}", self.line);
        let salt = |idt: &str| Request::new("PUT", "/api/v1/salt").json(&json!({ "IDT": idt }));
        vec![
            login(&self.tail, "wrong"),
            login(&broken, &broken),
            Request {
                body: Some(self.line.clone()),
                ..login("", "")
            },
            salt(&broken),
            salt(&self.line),
            salt(&self.tail),
        ]
    }
}
