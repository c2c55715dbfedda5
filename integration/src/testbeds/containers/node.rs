//! A node of the containers testbed: commands run by the suite's agent in it, or by the engine's exec
//! where there is none.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures::StreamExt;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::session::{Ending, Sessions};
use crate::testbed::{Addresses, Command, Node, Output, write_by_command};

/// Where the suite's binary stands on the clients (`containers/fmd-embedded/Containerfile`), and is
/// mounted in the services that have an agent.
pub const SUITE: &str = "/usr/lib/fmd-stack/fmd-stack";

/// The environment of every command, apart from what its container has.
pub const ENVIRONMENT: [&str; 3] = ["LANG=C.UTF-8", "HOME=/root", "TERM=dumb"];

/// The engine is given this long beyond a command's own deadline.
const GRACE: Duration = Duration::from_secs(5);

/// `timeout` ends what it runs by SIGKILL, and itself with it.
const KILLED: i32 = 137;

/// A container in which commands can be run.
#[derive(Debug, Clone)]
pub struct ContainerNode {
    pub(super) docker: Docker,
    pub(super) name: String,
    /// The container's name or id.
    pub(super) container: String,
    pub(super) addresses: Addresses,
    /// Who runs commands; root, without capabilities, can't read what others keep to themselves.
    pub(super) user: User,
    /// Folders of this machine that the container has.
    pub(super) folders: Vec<Folder>,
    /// The run's sessions; `None` where an image is not ours and may not be able to run the agent.
    pub(super) sessions: Option<Sessions>,
}

/// A folder of this machine that a container has too, read-only.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Where the container has it, without a trailing `/`.
    pub target: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Folder {
    /// Where a file of the container is on this machine.
    fn locate(&self, file: &str) -> Option<PathBuf> {
        let rest = file.strip_prefix(&self.target)?.strip_prefix('/')?;
        Some(self.path.join(rest))
    }
}

/// Who runs commands in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum User {
    /// Root, with the container's capabilities.
    Root,
    /// The user that the container's own program has.
    Own,
}

impl User {
    /// As the engine takes it; `None` is the container's own.
    pub fn name(self) -> Option<String> {
        (self == Self::Root).then(|| "0".to_owned())
    }
}

impl ContainerNode {
    /// Runs a command by the engine's exec.
    async fn by_engine(&self, command: &Command) -> Result<Ending> {
        // The engine can't end what it has started: `timeout` does, inside.
        let limit = command.deadline.as_secs_f64().to_string();
        let prefix = ["timeout", "--signal=KILL", &limit].map(str::to_owned);
        let argv = prefix.into_iter().chain(command.argv.iter().cloned());
        let started = Instant::now();
        let (status, stdout, stderr) = self.exec(argv.collect(), &command.stdin).await?;
        if status == KILLED && started.elapsed() >= command.deadline {
            return Ok(Ending::Late);
        }
        Ok(Ending::Ended {
            status,
            stdout,
            stderr,
        })
    }

    /// An exec; both its input and its output pass through here.
    async fn exec(&self, argv: Vec<String>, stdin: &[u8]) -> Result<(i32, Vec<u8>, Vec<u8>)> {
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            user: self.user.name(),
            env: Some(ENVIRONMENT.map(str::to_owned).to_vec()),
            cmd: Some(argv),
            ..Default::default()
        };
        let exec = self.docker.create_exec(&self.container, config).await?;
        let StartExecResults::Attached {
            mut output,
            mut input,
        } = self.docker.start_exec(&exec.id, None).await?
        else {
            bail!("the engine did not attach");
        };
        let feed = async {
            // A command may end without reading its input.
            let _ = input.write_all(stdin).await;
            let _ = input.shutdown().await;
        };
        let read = async {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            while let Some(chunk) = output.next().await {
                match chunk.context("reading its output")? {
                    LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                    chunk => stdout.extend_from_slice(&chunk.into_bytes()),
                }
            }
            anyhow::Ok((stdout, stderr))
        };
        let ((), output) = tokio::join!(feed, read);
        let (stdout, stderr) = output?;
        let ended = self
            .docker
            .inspect_exec(&exec.id)
            .await
            .context("asking for its exit status")?;
        let status = ended.exit_code.context("it has no exit status")?;
        Ok((i32::try_from(status).unwrap_or(-1), stdout, stderr))
    }
}

#[async_trait]
impl Node for ContainerNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn addresses(&self) -> Addresses {
        self.addresses
    }

    fn suite(&self) -> &str {
        SUITE
    }

    fn shell(&self) -> String {
        format!("docker exec -it -u 0 {} bash", self.container)
    }

    async fn run(&self, command: Command) -> Result<Output> {
        let line = command.line();
        let place = || format!("running `{line}` on {}", self.name);
        let run = async {
            match &self.sessions {
                Some(sessions) => {
                    sessions
                        .run(&self.docker, &self.container, self.user, &command)
                        .await
                }
                None => self.by_engine(&command).await,
            }
        };
        let ending = match timeout(command.deadline + GRACE, run).await {
            Ok(ending) => ending.with_context(place)?,
            Err(_) => Ending::Late,
        };
        let (status, stdout, stderr) = match ending {
            Ending::Ended {
                status,
                stdout,
                stderr,
            } => (status, stdout, stderr),
            // As the engine's exec has it.
            Ending::ContainerEnded => (KILLED, Vec::new(), b"its container ended".to_vec()),
            Ending::NotTaken(why) => bail!("{}: {why}", place()),
            Ending::Late => bail!(
                "`{line}` on {} did not end within {:?}",
                self.name,
                command.deadline
            ),
        };
        Ok(Output {
            command: line,
            status,
            stdout,
            stderr,
        })
    }

    /// What the container has from this machine is written there, as its operator would: the
    /// container itself may not.
    async fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let Some(place) = self.folders.iter().find_map(|folder| folder.locate(path)) else {
            return write_by_command(self, path, bytes, mode).await;
        };
        let parent = place.parent().context("a file without a folder")?;
        let mut file = NamedTempFile::new_in(parent).with_context(|| format!("writing {path}"))?;
        file.write_all(bytes)
            .with_context(|| format!("writing {path}"))?;
        file.as_file()
            .set_permissions(Permissions::from_mode(mode))
            .with_context(|| format!("writing {path}"))?;
        file.persist(&place)
            .map(drop)
            .with_context(|| format!("writing {}", place.display()))
    }
}
