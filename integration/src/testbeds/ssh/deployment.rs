//! The deployment as the whole run has it: connected once, used by one scenario after the other.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connection::{Guard, Line, control, control_folder};
use super::node::SshNode;
use super::options::{Destination, Options, host_and_port};
use super::services::Manager;
use super::{addresses, machine, safety};
use crate::client::{Attempt, Outcome, Plan, Request, Requests};
use crate::testbed::{Addresses, Command, Node};

/// The jail without which nothing can be proven.
const JAIL: &str = "fmd-server";

/// nginx gives back a login or registration in two seconds and holds five of both
/// (etc/nginx/fmd-stack): after this a client has all of them again. nginx tells nobody how many
/// are left, so there is nothing to look at while waiting.
const LIMITS_RECOVER: Duration = Duration::from_secs(10);

/// Ends what the jails of the stack have counted so far, and reads it again. fail2ban knows no
/// other way to forget failures; bans, of others too, come back from its database.
const FORGET: &str = r#"
for jail in $(fail2ban-client status | sed -n 's/.*Jail list://p' | tr -d ','); do
  case $jail in fmd-server*) fail2ban-client reload --restart "$jail" ;; esac
done
"#;

/// Everything that is connected.
#[derive(Debug)]
pub struct Connected {
    pub server: SshNode,
    pub clients: Vec<SshNode>,
    pub url: Option<String>,
    pub registration_token: Option<String>,
    pub manager: Option<Manager>,
    /// What FMD Server says of its version.
    pub version: String,
    /// Ports of the server on which something listens that is not of the stack.
    pub ports_beside: Vec<u16>,
    connected: Instant,
    /// When the last scenario ended.
    last: StdMutex<Option<Instant>>,
    guards: Vec<Guard>,
    _sockets: TempDir,
}

impl Drop for Connected {
    fn drop(&mut self) {
        // All at once: a client is served again, and can remove its accounts, once the server has
        // taken back its ban.
        self.guards.iter_mut().for_each(Guard::close);
    }
}

/// A deployment to prove, connected at first use.
#[derive(Debug)]
pub struct Deployment {
    options: Options,
    connected: Mutex<Option<Arc<Connected>>>,
    /// Held by the scenario that is on.
    pub turn: Arc<Mutex<()>>,
}

impl Deployment {
    /// A deployment that these options describe.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            connected: Mutex::default(),
            turn: Arc::default(),
        }
    }

    /// How many clients were given.
    pub fn clients(&self) -> usize {
        self.options.clients.len()
    }

    /// Whether the server's services can be controlled; unknown before it is connected.
    pub fn controls_services(&self) -> Option<bool> {
        let connected = self.connected.try_lock().ok()?;
        connected
            .as_ref()
            .map(|connected| connected.manager.is_some())
    }

    /// The connections, made and checked at the first call.
    ///
    /// # Errors
    /// A machine can't be reached, is not what it should be, or would be banned by mistake.
    pub async fn connected(&self) -> Result<Arc<Connected>> {
        let mut connected = self.connected.lock().await;
        if let Some(connected) = connected.as_ref() {
            return Ok(connected.clone());
        }
        let made = Arc::new(connect(&self.options).await?);
        *connected = Some(made.clone());
        Ok(made)
    }
}

async fn connect(options: &Options) -> Result<Connected> {
    let (server, clients) = options.nodes()?;
    let port = match &options.url {
        Some(url) => host_and_port(url)?.1,
        None => 80,
    };
    let registration_token = options.registration_token()?;
    let sockets = control_folder()?;
    let mut guards = Vec::new();
    let mut server_node = open(server, options, sockets.path(), 0, &mut guards).await?;
    let mut client_nodes = Vec::new();
    for (index, client) in clients.iter().enumerate() {
        let node = open(client, options, sockets.path(), index + 1, &mut guards).await?;
        machine::copy_suite(&node).await?;
        client_nodes.push(node);
    }
    let first = another_machine(&server_node, &client_nodes, options.yes).await?;
    server_node.addresses = addresses::of_server(&server_node, server, first, port).await?;
    for (node, given) in client_nodes.iter_mut().zip(clients) {
        node.addresses = addresses::of_client(node, given, &server_node.addresses).await?;
    }
    let mut connected = Connected {
        manager: Manager::of(&server_node).await?,
        ports_beside: machine::ports_beside(&server_node).await?,
        server: server_node,
        clients: client_nodes,
        url: options.url.clone(),
        registration_token,
        version: String::new(),
        connected: Instant::now(),
        last: StdMutex::default(),
        guards,
        _sockets: sockets,
    };
    connected.check(options.yes).await?;
    connected.version = connected.ask_version().await?;
    connected.note_what_is_always_undone().await?;
    for client in &connected.clients {
        let all = client.addresses.all();
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        eprintln!("client {}: {}", client.line.destination, all.join(", "));
    }
    Ok(connected)
}

/// The first client that is not the server under another name.
async fn another_machine<'a>(
    server: &SshNode,
    clients: &'a [SshNode],
    yes: bool,
) -> Result<&'a SshNode> {
    let here = addresses::global(server).await?;
    let mut others = Vec::new();
    for client in clients {
        if addresses::global(client).await? != here {
            others.push(client);
        } else if !yes {
            bail!(
                "banning client {} would ban the server itself, the same machine. Give another \
                 client; with --yes it is done",
                client.line.destination
            );
        }
    }
    others
        .first()
        .copied()
        .context("every client is the server itself: nobody is left to be banned")
}

/// Connects to one machine.
async fn open(
    given: &Destination,
    options: &Options,
    sockets: &Path,
    number: usize,
    guards: &mut Vec<Guard>,
) -> Result<SshNode> {
    let line = Line {
        destination: given.ssh.clone(),
        options: options.ssh_options.clone(),
        control: control(sockets, number),
        root: number == 0,
    };
    let guard = line.connect().await?;
    let folder = guard.folder.clone();
    guards.push(guard);
    let node = SshNode {
        name: given.ssh.clone(),
        suite: format!("{folder}/fmd-stack"),
        folder,
        line,
        addresses: Addresses {
            v4: std::net::Ipv4Addr::UNSPECIFIED,
            v6: None,
        },
        tasks: StdMutex::default(),
    };
    // Nothing has been changed yet.
    node.mark_clean(true).await?;
    Ok(node)
}

impl Connected {
    async fn check(&self, yes: bool) -> Result<()> {
        let own = safety::own_addresses(&self.server).await?;
        for client in &self.clients {
            let hit = safety::would_ban(&client.addresses, &own, &self.server.addresses);
            if let (Some(whom), false) = (hit, yes) {
                bail!(
                    "banning client {} would ban {whom}. Give another client; with --yes it is done",
                    client.line.destination
                );
            }
        }
        safety::apart(&self.clients)?;
        let status = self
            .server
            .run(Command::new(["fail2ban-client", "status", JAIL]))
            .await?;
        let status = status.ok().with_context(|| {
            format!(
                "{} has no jail {JAIL} that runs",
                self.server.line.destination
            )
        });
        status?;
        for client in &self.clients {
            safety::not_ignored(&self.server, JAIL, client).await?;
        }
        Ok(())
    }

    /// The base URL by IPv4, or the one that the user gave.
    pub fn base_url(&self) -> String {
        self.url
            .clone()
            .unwrap_or_else(|| format!("http://{}", self.server.addresses.v4))
    }

    async fn ask_version(&self) -> Result<String> {
        let client = self.clients.first().context("no client")?;
        let url = self.base_url();
        let mut plan = Requests::new(&url, vec![Request::new("GET", "/api/v1/version")]);
        plan.server = Some(IpAddr::V4(self.server.addresses.v4));
        let plan = serde_json::to_vec(&Plan::Requests(plan))?;
        let command = Command::new([client.suite(), "client"]).stdin(plan);
        let text = client.run(command).await?.ok()?.text();
        let attempt: Attempt =
            serde_json::from_str(text.trim()).context("reading the client's answer")?;
        match attempt.outcome {
            Outcome::Answered { status: 200, body } => Ok(body.trim().trim_matches('"').to_owned()),
            other => bail!(
                "{url}/api/v1/version from {}: {other}, not 200",
                client.line.destination
            ),
        }
    }

    /// Bans of the clients are lifted after every scenario, and failures forgotten.
    async fn note_what_is_always_undone(&self) -> Result<()> {
        self.server
            .last("failures counted", Command::shell(FORGET, &[]))
            .await?;
        self.server.always("bans", self.unban()).await
    }

    fn unban(&self) -> Command {
        let mut argv = vec!["fail2ban-client".to_owned(), "unban".to_owned()];
        for client in &self.clients {
            argv.extend(client.addresses.all().iter().map(ToString::to_string));
            // A ban of a /64 may be listed as its prefix or as its first address.
            for net in safety::bans(&client.addresses)
                .iter()
                .filter(|net| net.prefix_len() == 64)
            {
                argv.extend([net.to_string(), net.network().to_string()]);
            }
        }
        Command::new(argv)
    }

    /// Makes the deployment ready for a scenario: no ban, no failure and no used-up limit of the
    /// clients is left of what came before.
    pub async fn begin(&self) -> Result<()> {
        for node in std::iter::once(&self.server).chain(&self.clients) {
            node.mark_clean(false).await?;
        }
        let last = self.last.lock().ok().and_then(|last| *last);
        if last.is_none() {
            // What an earlier run left, or whoever tried the clients by hand.
            self.server.undo().await?;
            self.forget().await?;
        }
        let last = last.unwrap_or(self.connected);
        tokio::time::sleep_until(last + LIMITS_RECOVER).await;
        Ok(())
    }

    /// Puts back what a scenario changed; every node is tried, the first error is told.
    pub async fn end(&self) -> Result<()> {
        let mut result = self.undo().await;
        for node in std::iter::once(&self.server).chain(&self.clients) {
            if result.is_ok() {
                result = node.mark_clean(true).await;
            }
        }
        if let Ok(mut last) = self.last.lock() {
            *last = Some(Instant::now());
        }
        result
    }

    async fn undo(&self) -> Result<()> {
        let mut result = Ok(());
        for client in &self.clients {
            result = result.and(client.still().await);
        }
        // The server first: a banned client can't remove its accounts.
        result = result.and(self.server.undo().await);
        for client in &self.clients {
            result = result.and(client.undo().await);
        }
        // The last: a jail that starts reads the newest entry of its journal a second time. By now
        // that is the removal of an account and no failure.
        result.and(self.forget().await)
    }

    async fn forget(&self) -> Result<()> {
        let forget = Command::shell(FORGET, &[]);
        self.server
            .run(forget)
            .await?
            .ok()
            .context("having fail2ban forget failures")?;
        // A jail that starts restores bans, one that was lifted this moment as well.
        self.server
            .run(self.unban())
            .await?
            .ok()
            .context("lifting bans")?;
        Ok(())
    }
}
