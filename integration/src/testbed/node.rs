//! A node: something with an address that runs commands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// How long a command may take when its caller names no other limit.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// The addresses under which the other nodes of a testbed reach a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The node's IPv4 address.
    pub v4: Ipv4Addr,
    /// The node's global (not link-local) IPv6 address, if the testbed has IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// The IPv6 address, or an error that says which node has none.
    pub fn v6(&self, node: &str) -> Result<Ipv6Addr> {
        self.v6
            .with_context(|| format!("node {node} has no IPv6 address"))
    }

    /// Every address of the node, IPv4 first.
    pub fn all(&self) -> Vec<IpAddr> {
        let mut all = vec![IpAddr::V4(self.v4)];
        all.extend(self.v6.map(IpAddr::V6));
        all
    }
}

/// Characters of a command that an error shows.
const SHOWN: usize = 1000;

/// A command for a node: no shell, an argument list.
#[derive(Debug, Clone)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What the program reads from standard input; secrets go here, not in `argv`.
    pub stdin: Vec<u8>,
    /// After this long the command is killed and counts as failed.
    pub deadline: Duration,
}

impl Command {
    /// A command with empty input and the default deadline.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            stdin: Vec::new(),
            deadline: DEFAULT_DEADLINE,
        }
    }

    /// As it stands in errors: a thousand arguments cut short.
    pub fn line(&self) -> String {
        let line = self.argv.join(" ");
        match line.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{} …", &line[..end]),
            None => line,
        }
    }

    /// A shell script, its arguments available as `$1`, `$2`, …
    pub fn shell(script: &str, args: &[&str]) -> Self {
        let fixed = ["sh", "-euc", script, "sh"];
        Self::new(fixed.iter().chain(args).copied())
    }

    /// The same command with this input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The same command with this deadline.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// What a command left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for error messages.
    pub command: String,
    /// Exit status; 128 + signal number when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Whether the command exited with status 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// The output itself, or an error that quotes status and standard error.
    pub fn ok(self) -> Result<Self> {
        if self.success() {
            return Ok(self);
        }
        let stderr = String::from_utf8_lossy(&self.stderr);
        bail!(
            "`{}` ended with status {}: {}",
            self.command,
            self.status,
            last_lines(&stderr, 12)
        )
    }
}

/// The last `count` lines of a text, for error messages.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Something with an address that runs commands: the server, or a client.
///
/// A testbed only has to say how a command is run; files are read and written with commands.
#[async_trait]
pub trait Node: Send + Sync {
    /// The node's name in this testbed, such as `server` or `attacker`.
    fn name(&self) -> &str;

    /// Where other nodes reach it.
    fn addresses(&self) -> Addresses;

    /// Runs a command as root of the node. An exit status other than 0 is not an error here.
    ///
    /// # Errors
    /// The command could not be started, or did not end before its deadline.
    async fn run(&self, command: Command) -> Result<Output>;

    /// Where the suite's own binary stands on this node.
    fn suite(&self) -> &str;

    /// The command line by which a person looks inside the node.
    fn shell(&self) -> String;

    /// Whether the machine, and what its requests left on the server, is there after the run.
    fn outlives_the_run(&self) -> bool {
        false
    }

    /// Has a command run on this node once the scenario has ended, however it ends; a second one
    /// under the same key takes the place of the first. Nodes that end with their testbed need none.
    async fn at_end(&self, key: &str, command: Command) -> Result<()> {
        let _ = (key, command);
        Ok(())
    }

    /// Reads a file.
    async fn read(&self, path: &str) -> Result<Vec<u8>> {
        let output = self.run(Command::new(["cat", "--", path])).await?.ok()?;
        Ok(output.stdout)
    }

    /// Writes a file whole or not at all, making its folder if needed.
    async fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        write_by_command(self, path, bytes, mode).await
    }
}

/// Writes a file with commands of the node.
pub async fn write_by_command<N>(node: &N, path: &str, bytes: &[u8], mode: u32) -> Result<()>
where
    N: Node + ?Sized,
{
    let script = r#"mkdir -p "$(dirname "$1")"; t=$(mktemp "$1.XXXXXX"); cat >"$t"; chmod "$2" "$t"; mv "$t" "$1""#;
    let mode = format!("{mode:o}");
    let command = Command::shell(script, &[path, &mode]).stdin(bytes);
    node.run(command).await?.ok().map(drop)
}
