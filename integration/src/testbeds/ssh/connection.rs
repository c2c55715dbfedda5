//! The connection to one node: the user's own ssh as a child process, one master for all commands.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command as Process};
use tokio::time::timeout;

use crate::testbed::{Command, Output, last_lines};
use crate::testbeds::quote;

const GUARD: &str = include_str!("guard.sh");
const UNDO: &str = include_str!("undo.sh");

/// Becomes root where that needs no password, then runs the words.
const AS_ROOT: &str = r#"if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n -- "$@"; fi"#;

/// Runs the words where programs are found. ssh keeps 255 for itself, and fail2ban-client ends with
/// it too: that becomes 254.
const RUN: &str = r#"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/run/current-system/sw/bin LC_ALL=C
export PATH LC_ALL
"$@"
status=$?
[ "$status" = 255 ] && status=254
exit "$status"
"#;

/// A slow line takes seconds for a key exchange; the user is not asked for anything.
const CONNECT: Duration = Duration::from_secs(40);

/// How long a node may take to put things back once the connection is closed.
const PUT_BACK: Duration = Duration::from_secs(60);

/// Failures reach a ban within 1.2 s, then it can be undone.
const SERVER_SETTLES: &str = "2";

/// How to reach a node: a destination and the options for it.
#[derive(Debug, Clone)]
pub struct Line {
    /// What ssh takes as its destination.
    pub destination: String,
    /// The user's own `-o` options.
    pub options: Vec<String>,
    /// The socket of the master connection, in a folder that only this user can enter.
    pub control: PathBuf,
    /// Whether commands run as root, by `sudo -n` if the user is not.
    pub root: bool,
}

impl Line {
    /// ssh with everything a run wants of it. Ours come first, since ssh takes the first value.
    fn ssh(&self, master: &str) -> Process {
        let mut ssh = Process::new("ssh");
        let control = format!("ControlPath={}", self.control.display());
        let fixed = [
            "BatchMode=yes",
            &control,
            master,
            "ControlPersist=no",
            "RemoteCommand=none",
            "RequestTTY=no",
            "PermitLocalCommand=no",
            "ClearAllForwardings=yes",
            "ForwardAgent=no",
            "ForwardX11=no",
        ];
        for option in fixed {
            ssh.args(["-o", option]);
        }
        for option in &self.options {
            ssh.args(["-o", option]);
        }
        // After the user's: what nobody sets means these.
        for option in [
            "ConnectTimeout=20",
            "ServerAliveInterval=15",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C goes to the suite alone, which then puts things back over the connection.
            .process_group(0);
        ssh
    }

    /// The command line for the far end's shell.
    fn remote<S: AsRef<str>>(&self, argv: &[S]) -> String {
        let mut words = vec!["exec"];
        if self.root {
            words.extend(["sh", "-c", AS_ROOT, "sh"]);
        }
        words.extend(["sh", "-c", RUN, "sh"]);
        words.extend(argv.iter().map(AsRef::as_ref));
        quote::line(words)
    }

    /// Connects, and puts a guard on the node.
    pub async fn connect(&self) -> Result<Guard> {
        match timeout(CONNECT, self.set_guard()).await {
            Ok(guard) => guard,
            Err(_) => Err(anyhow::anyhow!(
                "no connection within {} s",
                CONNECT.as_secs()
            )),
        }
        .with_context(|| format!("ssh {}", self.destination))
    }

    async fn set_guard(&self) -> Result<Guard> {
        let settles = if self.root { SERVER_SETTLES } else { "0" };
        let argv = ["sh", "-c", GUARD, "sh", UNDO, settles];
        let mut master = self
            .ssh("ControlMaster=yes")
            .args([&self.destination, "--", &self.remote(&argv)])
            // Only until the guard owns it.
            .kill_on_drop(true)
            .spawn()
            .context("starting ssh: is the OpenSSH client installed?")?;
        let stdout = master.stdout.take().context("ssh has no standard output")?;
        let mut folder = String::new();
        let mut stdout = BufReader::new(stdout);
        stdout
            .read_line(&mut folder)
            .await
            .context("reading from ssh")?;
        let folder = folder.trim_end().to_owned();
        if !folder.starts_with('/') {
            let status = master.wait().await.context("waiting for ssh")?;
            bail!("{}", why(&mut master, status, self.root).await);
        }
        Ok(Guard {
            destination: self.destination.clone(),
            folder,
            master,
        })
    }

    /// Runs a command. Dropping the future ends ssh here; what it started there ends with the guard.
    pub async fn run(&self, command: Command) -> Result<Output> {
        let line = command.line();
        let place = || format!("running `{line}` on {}", self.destination);
        let mut process = self
            .ssh("ControlMaster=no")
            .args([&self.destination, "--", &self.remote(&command.argv)])
            .kill_on_drop(true)
            .spawn()
            .with_context(place)?;
        let stdin = process.stdin.take();
        let ended = timeout(command.deadline, async {
            let feed = async {
                if let Some(mut stdin) = stdin {
                    // A command may end without reading its input.
                    let _ = stdin.write_all(&command.stdin).await;
                }
            };
            let ((), output) = tokio::join!(feed, process.wait_with_output());
            output
        });
        let Ok(output) = ended.await else {
            bail!(
                "`{line}` on {} did not end within {:?}",
                self.destination,
                command.deadline
            );
        };
        let output = output.with_context(place)?;
        let status = output.status.code();
        ensure!(
            status != Some(255),
            "the connection to {} failed while `{line}` ran: {}",
            self.destination,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let status =
            status.with_context(|| format!("ssh was ended by a signal while {}", place()))?;
        Ok(Output {
            command: line,
            status,
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }

    /// The command line by which a person looks inside the node.
    pub fn shell(&self) -> String {
        let mut words = vec!["ssh"];
        for option in &self.options {
            words.extend(["-o", option]);
        }
        words.push(&self.destination);
        quote::line(words)
    }
}

/// What ssh, or the guard, said about its end.
async fn why(master: &mut Child, status: std::process::ExitStatus, root: bool) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = master.stderr.take() {
        let _ = stderr.read_to_string(&mut text).await;
    }
    let text = last_lines(&text, 6);
    let hint = if root && text.contains("sudo") {
        ". The server's user has to be root, or may `sudo` everything without a password"
    } else if text.contains("Host key verification failed") {
        ". Connect once by hand to accept its key"
    } else {
        ""
    };
    format!("{text} ({status}){hint}")
}

/// The master connection, and at its other end the guard that puts things back when it closes.
#[derive(Debug)]
pub struct Guard {
    destination: String,
    /// The run's folder on the node.
    pub folder: String,
    master: Child,
}

impl Guard {
    /// Tells the guard that the run is over, without waiting for it.
    pub fn close(&mut self) {
        drop(self.master.stdin.take());
    }

    /// Waits until the node has put things back. Blocks: it is what a Drop does, after Ctrl-C too.
    fn wait(&mut self) -> Result<()> {
        let end = Instant::now() + PUT_BACK;
        let status = loop {
            match self.master.try_wait().context("waiting for ssh")? {
                Some(status) => break status,
                None if Instant::now() >= end => bail!("not within {} s", PUT_BACK.as_secs()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        ensure!(status.success(), "{}", self.said());
        Ok(())
    }

    fn said(&mut self) -> String {
        use std::io::Read;
        let Some(stderr) = self.master.stderr.take() else {
            return String::new();
        };
        let Ok(fd) = stderr.into_owned_fd() else {
            return String::new();
        };
        let mut text = Vec::new();
        // What is there already: ssh has ended, so nothing more comes.
        let _ = std::fs::File::from(fd).read_to_end(&mut text);
        String::from_utf8_lossy(&text).trim().to_owned()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.close();
        if let Err(error) = self.wait() {
            eprintln!(
                "fmd-stack: {} was not put back as it was: {error:#}. What is left to do stands in {} there.",
                self.destination, self.folder
            );
        }
    }
}

/// A folder for the sockets of this run's connections.
pub fn control_folder() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("fmd-ssh")
        .tempdir()
        .context("making a folder for ssh's sockets")
}

/// The socket of connection number `number`.
pub fn control(folder: &Path, number: usize) -> PathBuf {
    folder.join(number.to_string())
}
