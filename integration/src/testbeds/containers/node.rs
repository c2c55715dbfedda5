//! A node of the containers testbed: commands run through the engine's exec.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

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

use crate::testbed::{Addresses, Command, Node, Output, write_by_command};

/// Where the suite's binary stands on the clients (`containers/fmd-embedded/Containerfile`).
const SUITE: &str = "/usr/lib/fmd-stack/fmd-stack";

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Root, with the container's capabilities.
    Root,
    /// The user that the container's own program has.
    Own,
}

impl ContainerNode {
    /// Runs a command in the container; both its input and its output pass through here.
    async fn exec(&self, argv: Vec<String>, stdin: &[u8]) -> Result<(i32, Vec<u8>, Vec<u8>)> {
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            user: (self.user == User::Root).then(|| "0".to_owned()),
            env: Some(vec![
                "LANG=C.UTF-8".to_owned(),
                "HOME=/root".to_owned(),
                "TERM=dumb".to_owned(),
            ]),
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
        let line = command.argv.join(" ");
        let place = || format!("running `{line}` on {}", self.name);
        // The engine can't end what it has started: `timeout` does, inside.
        let limit = command.deadline.as_secs_f64().to_string();
        let prefix = ["timeout", "--signal=KILL", &limit].map(str::to_owned);
        let argv = prefix
            .into_iter()
            .chain(command.argv.iter().cloned())
            .collect();
        let started = std::time::Instant::now();
        let run = timeout(command.deadline + GRACE, self.exec(argv, &command.stdin));
        let Ok(ended) = run.await else {
            bail!(
                "`{line}` on {} did not end within {:?}",
                self.name,
                command.deadline
            )
        };
        let (status, stdout, stderr) = ended.with_context(place)?;
        if status == KILLED && started.elapsed() >= command.deadline {
            bail!(
                "`{line}` on {} did not end within {:?}",
                self.name,
                command.deadline
            );
        }
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
