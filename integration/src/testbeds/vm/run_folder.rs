//! A running machine's folder for its sockets, named after the process it belongs to.

use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

const PREFIX: &str = "fmd-stack-vm-";

/// Makes one; it goes when it is dropped.
pub fn make() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir()
        .context("making a temporary folder")
}

/// Deletes what processes left that were ended by SIGKILL. Somebody else's can't be deleted and stay.
pub fn sweep() {
    sweep_in(&std::env::temp_dir());
}

fn sweep_in(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(owner).is_some_and(is_gone) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The process a folder of this name belongs to.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_any_more_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let living = format!("{PREFIX}{}-abc", std::process::id());
        // Beyond the kernel's largest process id.
        let dead = format!("{PREFIX}4194305-abc");
        let other = "fmd-stack-1-abc".to_owned();
        for name in [&living, &dead, &other] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        sweep_in(folder.path());
        let stays = |name: &str| folder.path().join(name).exists();
        assert_eq!(
            (stays(&living), stays(&dead), stays(&other)),
            (true, false, true)
        );
    }
}
