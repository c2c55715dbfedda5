//! A demo that stays up until it is ended, or dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::suite;

/// A demo that stays up.
pub struct Kept {
    child: Child,
    /// Held open: a demo that can't write ends otherwise than one that is ended.
    output: BufReader<ChildStdout>,
    /// What it has said so far.
    said: String,
    /// Its own temporary folder.
    temporary: TempDir,
    ended: bool,
}

impl Kept {
    /// Starts one and returns once it says that it stays up.
    pub fn start(testbed: &str) -> Self {
        Self::of(suite(&["demo", "--keep", "--testbed", testbed]))
    }

    fn of(mut command: Command) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let mut child = command
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let said = String::new();
        let ended = false;
        let mut kept = Self {
            child,
            output,
            said,
            temporary,
            ended,
        };
        while !kept.said.contains("Ctrl-C ends it") {
            let read = kept.output.read_line(&mut kept.said);
            let read = read.expect("reading its output");
            assert!(
                read > 0,
                "the demo ended before it stayed up: {}",
                kept.said
            );
        }
        kept
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said until it stayed up.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Ends it and waits until its process is gone.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        send(self.pid(), signal);
        self.ended = true;
        self.child.wait().expect("the demo ends")
    }

    /// The files it has in its temporary folder.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.temporary.path()).expect("its temporary folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Signal::SIGINT);
        }
    }
}

/// Sends a signal to a process.
pub fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("a process id"));
    kill(pid, signal).expect("sending a signal");
}
