//! A process and all that it starts, such as one that enters a sandbox.

use std::io;
use std::process::{ExitStatus, Output, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};

/// A process group, killed as a whole when it is dropped: `nsenter`'s own end would leave what it
/// has started in the sandbox behind.
#[derive(Debug)]
pub struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    /// Starts a command as the leader of a group of its own.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let leader = id.map(Pid::from_raw);
        Ok(Self { child, leader })
    }

    /// Runs a command to its end with this input and collects what it writes; dropped before, all of
    /// the group is killed.
    pub async fn run(command: &mut Command, input: &[u8]) -> io::Result<Output> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut group = Self::spawn(command)?;
        let stdin = group.child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command may end without reading its input.
                let _ = stdin.write_all(input).await;
            }
        };
        let ((), output) = tokio::join!(feed, group.output());
        output
    }

    /// The leader's standard error, once.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// The leader's exit status, if it has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let ended = self.child.try_wait()?;
        if ended.is_some() {
            self.leader = None;
        }
        Ok(ended)
    }

    /// Waits for the leader and collects what it writes.
    async fn output(mut self) -> io::Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut out, mut err) = (self.child.stdout.take(), self.child.stderr.take());
        let read_out = async {
            match &mut out {
                Some(pipe) => pipe.read_to_end(&mut stdout).await.map(drop),
                None => Ok(()),
            }
        };
        let read_err = async {
            match &mut err {
                Some(pipe) => pipe.read_to_end(&mut stderr).await.map(drop),
                None => Ok(()),
            }
        };
        let (status, out_read, err_read) = tokio::join!(self.child.wait(), read_out, read_err);
        out_read?;
        err_read?;
        let status = status?;
        // What the command left running on purpose, such as a daemon, goes on.
        self.leader = None;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    /// Waits until the leader has ended by itself.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.leader = None;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Not yet waited for, the leader keeps its number, and so the group its own.
        if let Some(leader) = self.leader {
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

/// An exit status as a shell would give it.
pub fn status_number(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
