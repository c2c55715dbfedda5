//! However a run ends, no process, mount, namespace or file of it stays.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::kept::Kept;

fn start() -> Kept {
    Kept::start("namespaces")
}

fn end_by(mut kept: Kept, signal: Signal) {
    let family = family(kept.pid());
    assert!(
        family.len() > 6,
        "a stack has more processes than {family:?}"
    );
    kept.end(signal);
    assert_gone(&family);
    let files = kept.files();
    assert!(files.is_empty(), "files were left behind: {files:?}");
}

#[test]
fn ctrl_c() {
    end_by(start(), Signal::SIGINT);
}

#[test]
fn sigterm() {
    end_by(start(), Signal::SIGTERM);
}

#[test]
fn sigkill() {
    end_by(start(), Signal::SIGKILL);
}

#[test]
fn two_runs_at_once() {
    let first = start();
    let second = start();
    end_by(second, Signal::SIGTERM);
    // The first is untouched by the second's end.
    assert!(
        family(first.pid()).len() > 6,
        "the first stack has lost processes"
    );
    end_by(first, Signal::SIGINT);
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
