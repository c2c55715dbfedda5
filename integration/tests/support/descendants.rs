//! What a run has started, and what of it is left. All namespaces and mounts go with their last
//! process, so processes are what to look for.

use std::fs;
use std::time::{Duration, Instant};

/// A process id and its start time: ids are used again.
pub type Process = (u32, String);

/// Everything that descends from `pid`.
pub fn descendants(pid: u32) -> Vec<Process> {
    let all = processes();
    let mut found = vec![pid];
    let mut index = 0;
    while let Some(&parent) = found.get(index) {
        let children = all.iter().filter(|process| process.1 == parent);
        found.extend(children.map(|process| process.0));
        index += 1;
    }
    let descends = |id: &u32| *id != pid && found.contains(id);
    all.into_iter()
        .filter(|one| descends(&one.0))
        .map(|one| (one.0, one.2))
        .collect()
}

/// Those that still run after this time; returns as soon as none does.
pub fn left_after(family: &[Process], within: Duration) -> Vec<Process> {
    let end = Instant::now() + within;
    loop {
        let runs = |one: &&Process| stat(one.0).is_some_and(|now| now.1 == one.1);
        let left: Vec<_> = family.iter().filter(runs).cloned().collect();
        if left.is_empty() || Instant::now() >= end {
            return left;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
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
