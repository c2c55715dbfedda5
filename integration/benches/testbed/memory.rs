//! The memory of a process tree.
//!
//! PSS counts a page that several processes share once in all, so that the sum over the tree is what
//! it takes from the machine. Files of a run lie in memory too (a tmpfs) and are counted apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::sys::statvfs::statvfs;

const MB: f64 = 1_000_000.0;

/// What a process tree uses at one moment.
#[derive(Default)]
pub struct Memory {
    /// Bytes by the name of the program.
    programs: BTreeMap<String, u64>,
    /// Bytes written to the layer over the root filesystem.
    files: u64,
}

impl Memory {
    /// What all descendants of these processes use, themselves left out.
    pub fn below(parents: impl IntoIterator<Item = u32>) -> Self {
        let mut memory = Self::default();
        for child in parents.into_iter().flat_map(descendants) {
            // A process may end between two looks.
            let Some(pss) = pss(child) else { continue };
            let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            if name.trim() == "nginx" {
                memory.files = files(child).unwrap_or(memory.files);
            }
            *memory.programs.entry(name.trim().to_owned()).or_default() += pss;
        }
        memory
    }

    /// The one of both with the larger sum.
    pub fn larger(self, other: Self) -> Self {
        if other.processes() + other.files() > self.processes() + self.files() {
            other
        } else {
            self
        }
    }

    /// Whether the stack's processes, or the machine they run in, were among those seen.
    pub fn has_stack(&self) -> bool {
        self.programs
            .keys()
            .any(|name| name == "nginx" || name.starts_with("qemu"))
    }

    /// PSS of all processes, MB.
    pub fn processes(&self) -> f64 {
        self.programs.values().sum::<u64>() as f64 / MB
    }

    /// Files of the run, MB.
    pub fn files(&self) -> f64 {
        self.files as f64 / MB
    }

    /// Every program with its share, the largest first.
    pub fn describe(&self) -> String {
        let mut all: Vec<_> = self.programs.iter().collect();
        all.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
        let each = all
            .into_iter()
            .map(|(name, bytes)| format!("{name} {:.1}", *bytes as f64 / MB));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// The processes below which an engine runs its containers, docker's or Podman's.
pub fn shims() -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            // The kernel cuts names at 15 characters.
            matches!(name.trim(), "containerd-shim" | "conmon")
        })
        .collect()
}

fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    for task in tasks.flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
        {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}

fn pss(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// What is used of the file system that a process sees as its root: an overlay answers for its
/// upper layer.
fn files(pid: u32) -> Option<u64> {
    let root = statvfs(format!("/proc/{pid}/root/").as_str()).ok()?;
    Some((root.blocks() - root.blocks_free()) * root.fragment_size())
}
