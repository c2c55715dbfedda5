//! However a run ends, no process, mount, namespace or file of it stays.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A demo that stays up, and its output.
struct Kept {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Kept {
    /// Starts one and returns once it says that it stays up.
    fn start() -> Self {
        let mut child = support::suite(&["demo", "--keep", "--testbed", "namespaces"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        while !line.contains("Ctrl-C ends it") {
            line.clear();
            let read = output.read_line(&mut line).expect("reading its output");
            assert!(read > 0, "the demo ended before it stayed up");
        }
        Self { child, output }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a process id"))
    }

    fn end_by(mut self, signal: Signal) {
        let family = family(self.child.id());
        assert!(
            family.len() > 6,
            "a stack has more processes than {family:?}"
        );
        let files = temporary_files();
        kill(self.pid(), signal).expect("sending a signal");
        self.child.wait().expect("the demo ends");
        drop(self.output);
        assert_gone(&family);
        assert_eq!(
            temporary_files().len(),
            files.len(),
            "files were left behind"
        );
    }
}

#[test]
fn ctrl_c() {
    Kept::start().end_by(Signal::SIGINT);
}

#[test]
fn sigterm() {
    Kept::start().end_by(Signal::SIGTERM);
}

#[test]
fn sigkill() {
    Kept::start().end_by(Signal::SIGKILL);
}

#[test]
fn two_runs_at_once() {
    let first = Kept::start();
    let second = Kept::start();
    second.end_by(Signal::SIGTERM);
    // The first is untouched by the second's end.
    assert!(
        family(first.child.id()).len() > 6,
        "the first stack has lost processes"
    );
    first.end_by(Signal::SIGINT);
}

/// Process ids of everything that descends from `pid`, with their start times.
fn family(pid: u32) -> Vec<(u32, String)> {
    let all: Vec<(u32, u32, String)> = processes();
    let mut found = vec![pid];
    let mut index = 0;
    while let Some(&parent) = found.get(index) {
        found.extend(
            all.iter()
                .filter(|process| process.1 == parent)
                .map(|process| process.0),
        );
        index += 1;
    }
    all.into_iter()
        .filter(|one| one.0 != pid && found.contains(&one.0))
        .map(|one| (one.0, one.2))
        .collect()
}

/// Process id, parent and start time of every process.
fn processes() -> Vec<(u32, u32, String)> {
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| stat(pid).map(|(parent, start)| (pid, parent, start)))
        .collect()
}

fn stat(pid: u32) -> Option<(u32, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    Some((fields.get(1)?.parse().ok()?, (*fields.get(19)?).to_owned()))
}

/// All namespaces and mounts go with their last process, so processes are what to look for.
fn assert_gone(family: &[(u32, String)]) {
    let end = Instant::now() + Duration::from_secs(3);
    loop {
        let left: Vec<_> = family
            .iter()
            .filter(|(pid, start)| stat(*pid).is_some_and(|now| now.1 == *start))
            .collect();
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < end,
            "still running 3 s after the end: {left:?}"
        );
        std::thread::yield_now();
    }
}

fn temporary_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(std::env::temp_dir()).expect("the temporary folder");
    let names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    names
        .filter(|path| path.to_string_lossy().contains("fmd-stack"))
        .collect()
}
