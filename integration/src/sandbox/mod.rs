//! Unprivileged namespaces: a process tree that is root only within itself.
//!
//! A sandbox is made by three processes, all of them this binary:
//!
//! 1. the *parent* (the suite) starts the *opener* and writes its id maps;
//! 2. the *opener* unshares, opens what only the caller may reach, and starts
//! 3. the *init*, PID 1 of the sandbox, which does the job and then waits.
//!
//! Init ends when its standard input does. The parent holds the other end, so that whatever ends
//! the parent, SIGKILL included, ends init; and the kernel ends the rest: a PID namespace dies with
//! its PID 1, mounts and network namespaces with their last process.

mod idmap;
mod init;
mod mounts;
mod network;
mod opener;
mod protocol;
mod refusal;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

pub use idmap::{check_ids, inner_root};
pub use init::main as init_main;
pub use network::ADD_NODE;
pub use opener::main as opener_main;
pub use protocol::{FIRST_FD, Job, Machine};

use protocol::{Message, Order};

/// The hidden subcommands behind which the opener and init stand.
pub const OPENER: &str = "sandbox-opener";
/// See [`OPENER`].
pub const INIT: &str = "sandbox-init";

/// Setting up takes a tenth of a second; unpacking a root filesystem some seconds.
const SETUP_DEADLINE: Duration = Duration::from_secs(300);

/// A running sandbox. Dropping it ends every process in it.
#[derive(Debug)]
pub struct Sandbox {
    opener: Child,
    /// Held open: its end is what ends the sandbox.
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    init_pid: u32,
}

impl Sandbox {
    /// Makes the namespaces and does the job; returns once init reports it done.
    ///
    /// `opens` are paths that the job needs and that only the caller may be able to reach; init
    /// finds them as descriptors [`FIRST_FD`] and up; `cwd` becomes its working directory.
    ///
    /// # Errors
    /// Namespaces are forbidden here (the error names the setting), no subordinate ids, or the job
    /// failed.
    pub async fn start(job: Job, cwd: &Path, opens: &[PathBuf]) -> Result<Self> {
        let mut opener = tokio::process::Command::new("/proc/self/exe")
            .arg(OPENER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C goes to the suite alone, which then ends its sandboxes in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("starting the sandbox's opener")?;
        let stdin = opener
            .stdin
            .take()
            .context("the opener has no standard input")?;
        let stdout = opener
            .stdout
            .take()
            .context("the opener has no standard output")?;
        let stdout = BufReader::new(stdout).lines();
        let mut sandbox = Self {
            opener,
            stdin: Some(stdin),
            stdout,
            init_pid: 0,
        };
        match timeout(SETUP_DEADLINE, sandbox.set_up(job, cwd, opens)).await {
            Ok(done) => done.map(|()| sandbox),
            Err(_) => bail!(
                "the sandbox was not set up within {} s",
                SETUP_DEADLINE.as_secs()
            ),
        }
    }

    async fn set_up(&mut self, job: Job, cwd: &Path, opens: &[PathBuf]) -> Result<()> {
        match self.next().await? {
            Message::Unshared => {}
            Message::Refused { errno } => return Err(refusal::explain(errno)),
            other => bail!("the opener said {other:?} first"),
        }
        let opener = self.opener.id().context("the opener has ended")?;
        idmap::write(opener)
            .await
            .context("mapping user ids into the sandbox")?;
        let order = Order {
            cwd: cwd.to_owned(),
            opens: opens.to_owned(),
        };
        self.tell(&order).await?;
        self.tell(&job).await?;
        loop {
            match self.next().await? {
                Message::Init { pid } => self.init_pid = pid,
                Message::Done => return Ok(()),
                Message::Failed { error } => bail!("{error}"),
                other => bail!("the sandbox said {other:?} out of turn"),
            }
        }
    }

    async fn tell(&mut self, what: &impl serde::Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(what).context("encoding an order")?;
        line.push(b'\n');
        let stdin = self.stdin.as_mut().context("the sandbox is closed")?;
        stdin
            .write_all(&line)
            .await
            .context("writing to the sandbox")
    }

    async fn next(&mut self) -> Result<Message> {
        let Some(line) = self
            .stdout
            .next_line()
            .await
            .context("reading from the sandbox")?
        else {
            let mut stderr = String::new();
            if let Some(mut pipe) = self.opener.stderr.take() {
                let _ = timeout(Duration::from_secs(1), pipe.read_to_string(&mut stderr)).await;
            }
            bail!(
                "the sandbox ended while it was being set up: {}",
                stderr.trim()
            );
        };
        serde_json::from_str(&line).with_context(|| format!("the sandbox said {line:?}"))
    }

    /// The process id of PID 1 as seen from outside.
    pub fn init_pid(&self) -> u32 {
        self.init_pid
    }

    /// Ends the sandbox and returns when its last process is gone.
    pub async fn stop(&mut self) -> Result<()> {
        drop(self.stdin.take());
        match timeout(Duration::from_secs(10), self.opener.wait()).await {
            Ok(ended) => ended.map(drop).context("waiting for the sandbox to end"),
            Err(_) => self.opener.kill().await.context("killing the sandbox"),
        }
    }
}

/// Whether this kernel and this user can have a sandbox; the error says what forbids it.
pub async fn probe() -> Result<()> {
    check_ids()?;
    run_as_inner_root(&["true"], Path::new("/"), &[]).await
}

/// Runs a command as root of a fresh user and mount namespace, in the folder `cwd`.
///
/// For files that belong to subordinate ids: unpacking, deleting, making a disk from them.
///
/// # Errors
/// The namespaces can't be made, or the command fails; its standard error is quoted.
pub async fn run_as_inner_root(argv: &[&str], cwd: &Path, opens: &[PathBuf]) -> Result<()> {
    let argv = argv.iter().map(|&arg| arg.to_owned()).collect();
    let mut sandbox = Sandbox::start(Job::Command { argv }, cwd, opens).await?;
    sandbox.stop().await
}
