//! Whether there is memory for a machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::qemu::MEMORY;

/// Where control groups are mounted; version 2 alone tells limits this way.
const GROUPS: &str = "/sys/fs/cgroup";

/// Checks that a machine's memory is free here.
///
/// # Errors
/// It is not; the error says how much there is, and what to do.
pub fn check() -> Result<()> {
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let mut free = available(&text).context("/proc/meminfo has no MemAvailable")?;
    let mut place = "here";
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if let Some(left) = left_in_groups(Path::new(GROUPS), &group)
        && left < free
    {
        (free, place) = (left, "in this process' control group");
    }
    ensure!(
        free >= MEMORY,
        "the vm testbed's machine has {MEMORY} MiB of memory, but only {free} MiB are free {place}: \
         end something, or run fewer scenarios at once (--jobs 1)"
    );
    Ok(())
}

/// What `/proc/meminfo` says is available, in MiB.
fn available(meminfo: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let rest = lines.find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024)
}

/// The least that a limited group above this process leaves, in MiB; `None` without a limit.
fn left_in_groups(root: &Path, own: &str) -> Option<u64> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = root.join(own);
    let groups = own.ancestors().take_while(|group| group.starts_with(root));
    groups.filter_map(left_in).min()
}

fn left_in(group: &Path) -> Option<u64> {
    let number = |file: &str| -> Option<u64> {
        let text = fs::read_to_string(group.join(file)).ok()?;
        text.trim().parse().ok()
    };
    let limit = number("memory.max")?;
    // Files that were read and are not in use count as used, and are given up when memory is short.
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let mut lines = stat.lines();
    let files = lines.find_map(|line| line.strip_prefix("inactive_file "));
    let files = files.and_then(|bytes| bytes.trim().parse().ok());
    let used = number("memory.current")?.saturating_sub(files.unwrap_or(0));
    Some(limit.saturating_sub(used) / (1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_available() {
        let text = "MemTotal:  24683232 kB\nMemAvailable:   2097152 kB\n";
        assert_eq!(available(text), Some(2048));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn the_narrowest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let job = root.path().join("user.slice/job");
        fs::create_dir_all(&job).unwrap();
        assert_eq!(left_in_groups(root.path(), "0::/user.slice/job\n"), None);
        fs::write(root.path().join("user.slice/memory.max"), "1073741824\n").unwrap();
        fs::write(root.path().join("user.slice/memory.current"), "629145600\n").unwrap();
        fs::write(
            root.path().join("user.slice/memory.stat"),
            "inactive_file 104857600\n",
        )
        .unwrap();
        fs::write(job.join("memory.max"), "max\n").unwrap();
        fs::write(job.join("memory.current"), "1\n").unwrap();
        assert_eq!(
            left_in_groups(root.path(), "0::/user.slice/job\n"),
            Some(524)
        );
    }
}
