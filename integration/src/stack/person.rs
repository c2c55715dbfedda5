//! Somebody at a client node: an owner, an attacker, a bystander.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::doors::INVITATION;
use crate::client::{
    Attempt, Dripped, OpenPort, Outcome, Plan, Raw, Received, Removal, Request, Requests,
};
use crate::testbed::{Addresses, Command, Node, Outsider, Testbed, Way};

/// How long nginx takes to give a login back (etc/nginx/fmd-stack/http.conf: one in two seconds).
pub const LOGIN_BACK: Duration = Duration::from_secs(2);

/// Bans of a client are lifted before its accounts are removed; after Ctrl-C at the same time.
const REMOVED_WITHIN: Duration = Duration::from_secs(25);

/// How long a login lasts, in seconds: longer than any scenario, the one that tries every port of a
/// silent machine included.
const SESSION: u32 = 3600;

/// What follows the names of this run's accounts, on a deployment that has other people's.
static MARK: OnceLock<String> = OnceLock::new();

/// Gives every account of this process a name that nobody has: `alice` becomes `alicetest` and
/// `mark`, letters and digits.
pub fn mark_accounts(mark: &str) {
    // A second mark would leave accounts under the first: the first one stands.
    let _ = MARK.set(format!("test{mark}"));
}

/// The name under which an account of a scenario is known to FMD Server.
pub fn on_server(account: &str) -> String {
    format!("{account}{}", MARK.get().map_or("", String::as_str))
}

/// A client node and the URL under which it reaches FMD Server.
#[derive(Clone)]
pub struct Person {
    node: Arc<dyn Node>,
    url: String,
    address: IpAddr,
    url_v6: Option<String>,
    server: Addresses,
    registration_token: String,
}

/// An account that a person is logged in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The access token, which later requests carry as `IDT`.
    pub token: String,
}

impl Person {
    /// A person at the client node of this name, speaking IPv4.
    pub async fn at(testbed: &dyn Testbed, name: &str) -> Result<Self> {
        let node = testbed.client(name).await?;
        Ok(Self {
            url_v6: testbed.url_v6().ok(),
            ..Self::speaking(testbed, node, testbed.url())
        })
    }

    fn speaking(testbed: &dyn Testbed, node: Arc<dyn Node>, url: String) -> Self {
        Self {
            address: IpAddr::V4(node.addresses().v4),
            node,
            url,
            url_v6: None,
            server: testbed.server().addresses(),
            registration_token: testbed
                .registration_token()
                .unwrap_or_else(|| INVITATION.to_owned()),
        }
    }

    /// A person outside the stack's networks, who comes to a published port.
    pub async fn outside(testbed: &dyn Testbed, name: &str, way: Way) -> Result<Self> {
        let Outsider { node, url } = testbed.outsider(name, way).await?;
        Ok(Self::speaking(testbed, node, url))
    }

    /// The same person speaking IPv6.
    pub fn over_v6(&self) -> Result<Self> {
        let v6 = self.node.addresses().v6(self.node.name())?;
        let url = self
            .url_v6
            .clone()
            .context("the server has no IPv6 address")?;
        Ok(Self {
            address: IpAddr::V6(v6),
            url,
            ..self.clone()
        })
    }

    /// The same person speaking to another URL, such as an edge in front of the server.
    pub fn speaking_to(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// The node the person is at.
    pub fn node(&self) -> &dyn Node {
        self.node.as_ref()
    }

    /// The address that nginx should see.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The URL of FMD Server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Requests to FMD Server, to be sent with [`Person::send`].
    pub fn requests(&self, requests: Vec<Request>) -> Requests {
        let mut plan = Requests::new(&self.url, requests);
        plan.server = self.server_address();
        plan
    }

    /// The server's address in the family that the person speaks.
    fn server_address(&self) -> Option<IpAddr> {
        match self.address {
            IpAddr::V4(_) => Some(IpAddr::V4(self.server.v4)),
            IpAddr::V6(_) => self.server.v6.map(IpAddr::V6),
        }
    }

    /// Sends requests and returns every attempt.
    pub async fn send(&self, requests: Requests) -> Result<Vec<Attempt>> {
        let lines = self
            .carry_out(&Plan::Requests(requests), Duration::from_secs(120))
            .await?;
        lines.iter().map(|line| parse(line)).collect()
    }

    /// Sends one request and returns its outcome.
    pub async fn ask(&self, request: Request) -> Result<Outcome> {
        let attempts = self.send(self.requests(vec![request])).await?;
        let last = attempts
            .into_iter()
            .last()
            .context("the client sent nothing")?;
        Ok(last.outcome)
    }

    /// Tries every TCP port of an address and returns the open ones.
    pub async fn scan(&self, address: IpAddr) -> Result<Vec<u16>> {
        let plan = Plan::Scan {
            address,
            from: 1,
            to: u16::MAX,
        };
        let lines = self.carry_out(&plan, Duration::from_secs(600)).await?;
        lines
            .iter()
            .map(|line| parse::<OpenPort>(line).map(|open| open.port))
            .collect()
    }

    /// Takes up to `count` HTTP requests on a port of the person's node.
    pub async fn listen(&self, port: u16, count: usize, within: Duration) -> Result<Vec<Received>> {
        let within_ms = crate::client::millis(within);
        let plan = Plan::Listen {
            port,
            count,
            within_ms,
        };
        let lines = self
            .carry_out(&plan, within + Duration::from_secs(10))
            .await?;
        lines.iter().map(|line| parse(line)).collect()
    }

    /// Feeds bytes to connections and says what became of each.
    pub async fn drip(&self, raw: Raw) -> Result<Vec<Dripped>> {
        let deadline = Duration::from_millis(raw.for_ms) + Duration::from_secs(10);
        let lines = self.carry_out(&Plan::Raw(raw), deadline).await?;
        lines.iter().map(|line| parse(line)).collect()
    }

    /// Carries out a plan on the node; passwords travel through standard input.
    pub async fn carry_out(&self, plan: &Plan, deadline: Duration) -> Result<Vec<String>> {
        let plan = serde_json::to_vec(plan).context("encoding a plan")?;
        let command = Command::new([self.node.suite(), "client"])
            .stdin(plan)
            .deadline(deadline);
        let text = self.node.run(command).await?.ok()?.text();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Registers an account whose password is [`password_of`] its name.
    ///
    /// On a deployment that stays the account is removed at the end.
    pub async fn register(&self, account: &str) -> Result<()> {
        if !self.node.outlives_the_run() {
            return self.sign_up(account).await;
        }
        // Before it is there: whatever happens from here on, it does not stay.
        self.remove_at_end(account, None).await?;
        self.sign_up(account).await?;
        // An attack may lock the account for ten minutes; a token from before still opens it.
        let session = self.log_in(account).await?;
        self.remove_at_end(account, Some(session.token)).await?;
        // That login was the suite's own: nginx has given it back before the scenario goes on.
        tokio::time::sleep(LOGIN_BACK).await;
        Ok(())
    }

    async fn remove_at_end(&self, account: &str, token: Option<String>) -> Result<()> {
        let removal = Removal {
            url: self.url.clone(),
            server: self.server_address(),
            account: on_server(account),
            password: password_of(account),
            token,
            within_ms: crate::client::millis(REMOVED_WITHIN),
        };
        let plan = serde_json::to_vec(&Plan::Remove(removal)).context("encoding a plan")?;
        let command = Command::new([self.node.suite(), "client"]).stdin(plan);
        self.node
            .at_end(&format!("account {}", on_server(account)), command)
            .await
    }

    async fn sign_up(&self, account: &str) -> Result<()> {
        let body = json!({
            "Salt": "c2FsdA",
            "HashedPassword": password_of(account),
            "PubKey": "public key",
            "PrivKey": "private key",
            "RequestedUsername": on_server(account),
            "RegistrationToken": self.registration_token,
        });
        match self
            .ask(Request::new("PUT", "/api/v1/device").json(&body))
            .await?
        {
            Outcome::Answered { status: 200, .. } => Ok(()),
            other => bail!("registering account {account}: {other}"),
        }
    }

    /// Logs in with the right password.
    pub async fn log_in(&self, account: &str) -> Result<Session> {
        let outcome = self.ask(login(account, &password_of(account))).await?;
        let Outcome::Answered { status: 200, body } = &outcome else {
            bail!(
                "logging in to {account} with the right password from {}: {outcome}",
                self.address
            );
        };
        let body: Value = serde_json::from_str(body).context("reading the access token")?;
        let token = body["Data"]
            .as_str()
            .context("no access token in the answer")?
            .to_owned();
        Ok(Session { token })
    }

    /// Guesses a password once, wrongly; the server must answer 403.
    pub async fn guess_wrong(&self, account: &str) -> Result<()> {
        let outcome = self.ask(login(account, "wrong")).await?;
        ensure!(
            outcome.status() == Some(403),
            "a wrong password for {account}: {outcome}, not 403"
        );
        Ok(())
    }
}

fn parse<T: serde::de::DeserializeOwned>(line: &str) -> Result<T> {
    serde_json::from_str(line).with_context(|| format!("the client answered {line:?}"))
}

/// The password hash of an account that the suite registered.
pub fn password_of(account: &str) -> String {
    format!("hash of the right password of {account}")
}

/// A login. Upstream's clients send an Argon2 hash; the server compares it as any text.
pub fn login(account: &str, password: &str) -> Request {
    let body =
        json!({ "IDT": on_server(account), "Data": password, "SessionDurationSeconds": SESSION });
    Request::new("PUT", "/api/v1/requestAccess").json(&body)
}
