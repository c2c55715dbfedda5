//! The machine as a node: commands go over one ssh connection from a node of the segment.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use tokio::process::Command as Process;
use tokio::time::{interval, timeout};

use super::agent::Agent;
use crate::testbed::{Addresses, Command, Node, Output};
use crate::testbeds::group::Group;
use crate::testbeds::quote;
use crate::testbeds::segment::NamespaceNode;

/// In the sandbox, on its tmpfs: gone with it.
const CONFIG: &str = "/run/fmd-stack/ssh/config";

/// Makes the key of the run and ssh's configuration. Argument: the machine's address.
///
/// Nobody but this run reaches the segment, so the host key is taken as it comes.
const PREPARE: &str = r#"
mkdir -p /run/fmd-stack/ssh
cd /run/fmd-stack/ssh
ssh-keygen -q -t ed25519 -N '' -C fmd-stack -f key
cat >config <<CONFIG
Host server
    HostName $1
    User root
    IdentityFile /run/fmd-stack/ssh/key
    IdentitiesOnly yes
    BatchMode yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ControlPath /run/fmd-stack/ssh/control
    ConnectTimeout 20
    ServerAliveInterval 30
    KexAlgorithms curve25519-sha256
    Ciphers chacha20-poly1305@openssh.com
CONFIG
cat key.pub
"#;

/// A key exchange takes a second under emulation.
const CONNECT: Duration = Duration::from_secs(60);

/// Told to end, ssh has no business beyond closing its socket.
const CLOSE: Duration = Duration::from_secs(3);

/// The machine, as the suite works on it.
#[derive(Debug, Clone)]
pub struct MachineNode {
    /// Where ssh runs.
    pub(super) control: NamespaceNode,
    /// The machine's addresses.
    pub(super) addresses: Addresses,
    /// The suite's binary in the machine.
    pub(super) suite: &'static str,
}

/// An open connection, over which all commands go. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    master: Group,
    control: NamespaceNode,
}

impl MachineNode {
    /// Makes the run's key and returns its public part.
    pub async fn make_key(&self) -> Result<String> {
        let address = self.addresses.v4.to_string();
        let output = self
            .control
            .run(Command::shell(PREPARE, &[&address]))
            .await?
            .ok();
        Ok(output.context("making a key")?.text())
    }

    /// Has the agent let the key in, and connects.
    pub async fn connect(&self, agent: &mut Agent, key: &str) -> Result<Connection> {
        agent.let_in(key).await?;
        let enter = self.control.enter();
        let mut ssh = Process::new(&enter[0]);
        ssh.args(&enter[1..])
            .args(["ssh", "-F", CONFIG, "-M", "-N", "server"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut master = Group::spawn(&mut ssh).context("starting ssh")?;
        let mut ticks = interval(Duration::from_millis(50));
        let connected = timeout(CONNECT, async {
            loop {
                ticks.tick().await;
                let check = Command::new(["ssh", "-F", CONFIG, "-O", "check", "server"]);
                if self.control.run(check).await?.success() {
                    return Ok(());
                }
                if let Some(status) = master.try_wait().context("waiting for ssh")? {
                    bail!("ssh ended with {status}: {}", errors(&mut master).await);
                }
            }
        });
        connected.await.context("ssh does not connect")??;
        Ok(Connection {
            master,
            control: self.control.clone(),
        })
    }
}

async fn errors(master: &mut Group) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = master.stderr() {
        let _ = tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut text).await;
    }
    text.trim().to_owned()
}

impl Connection {
    /// Closes the connection; one whose far end is gone is dropped.
    pub async fn close(mut self) -> Result<()> {
        let exit = Command::new(["ssh", "-F", CONFIG, "-O", "exit", "server"]);
        self.control.run(exit).await.context("closing ssh")?;
        match timeout(CLOSE, self.master.wait()).await {
            Ok(ended) => ended.map(drop).context("waiting for ssh to end"),
            // Dropping it kills it.
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Node for MachineNode {
    fn name(&self) -> &str {
        "server"
    }

    fn addresses(&self) -> Addresses {
        self.addresses
    }

    fn suite(&self) -> &str {
        self.suite
    }

    fn shell(&self) -> String {
        format!(
            "{} ssh -F {CONFIG} -t server",
            self.control.enter().join(" ")
        )
    }

    async fn run(&self, command: Command) -> Result<Output> {
        let line = command.line();
        // The far end's shell splits what ssh joined: quoted, each argument stays one.
        let quoted = quote::line(&command.argv);
        let argv = ["ssh", "-F", CONFIG, "server", "--", &quoted]
            .map(str::to_owned)
            .to_vec();
        let ssh = Command { argv, ..command };
        let output = self
            .control
            .run(ssh)
            .await
            .with_context(|| format!("running `{line}` on the machine"))?;
        Ok(Output {
            command: line,
            ..output
        })
    }
}
