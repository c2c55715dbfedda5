//! Reading a rendered tree: of a whole machine's `etc/`, what belongs to the stack.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::store;
use crate::testbed::FileTree;

/// Folders that have to be there.
const NEEDED: [&str; 2] = ["etc/nginx", "etc/fail2ban"];

/// What is taken if it is there. The rest of an `etc/` (users, mounts, units) belongs to another
/// machine than the testbed's.
const TAKEN: [&str; 8] = [
    "etc/fmd-server",
    "etc/fmd-stack",
    "etc/systemd/journald.conf",
    "etc/systemd/journald.conf.d",
    "etc/systemd/system/fmd-server.service",
    "etc/systemd/system/nginx.service",
    "etc/systemd/system/fail2ban.service",
    "usr/lib/fmd-stack",
];

/// What is taken beside that for a machine with systemd.
const OF_A_MACHINE: [&str; 5] = [
    "etc/systemd/system/fmd-server.service.d",
    "etc/systemd/system/nginx.service.d",
    "etc/systemd/system/fail2ban.service.d",
    "etc/systemd/system/nftables.service.d",
    "etc/sysusers.d/fmd-server.conf",
];

/// Every file of the stack below `dir`, links followed.
pub fn tree(dir: &Path) -> Result<FileTree> {
    ensure!(
        dir.join("etc").is_dir(),
        "--rendered {}: no folder etc/ in it",
        dir.display()
    );
    let mut tree = FileTree::default();
    for needed in NEEDED {
        ensure!(
            dir.join(needed).symlink_metadata().is_ok(),
            "--rendered {}: no {needed} in it, so that service has no configuration",
            dir.display()
        );
    }
    for path in NEEDED.iter().chain(&TAKEN) {
        add(dir, path, &mut tree)?;
    }
    Ok(tree)
}

/// The same for a machine with systemd: what stands beside the units, and the services' users, too.
pub fn machine(dir: &Path) -> Result<FileTree> {
    let mut tree = tree(dir)?;
    for path in OF_A_MACHINE {
        add(dir, path, &mut tree)?;
    }
    Ok(tree)
}

/// Adds a file, or a folder's files, under its name in the tree; nothing if it isn't there.
pub fn add(dir: &Path, name: &str, tree: &mut FileTree) -> Result<()> {
    let Some(path) = resolve(dir, &dir.join(name))? else {
        return Ok(());
    };
    if !path.is_dir() {
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        tree.insert(name, &bytes);
        return Ok(());
    }
    let entries = fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", path.display()))?;
        let file = entry.file_name();
        let file = file
            .to_str()
            .with_context(|| format!("{} is not UTF-8", entry.path().display()))?;
        add(dir, &format!("{name}/{file}"), tree)?;
    }
    Ok(())
}

/// Where a path's content stands. A link into the store leads to the store of the folder, to the
/// machine's own, or to a package of Debian's, whose file is there without us: `None`.
fn resolve(dir: &Path, path: &Path) -> Result<Option<PathBuf>> {
    let Ok(meta) = path.symlink_metadata() else {
        return Ok(None);
    };
    if !meta.is_symlink() {
        return Ok(Some(path.to_owned()));
    }
    let target = fs::read_link(path).with_context(|| format!("reading {}", path.display()))?;
    let text = target.to_string_lossy();
    if !text.starts_with(store::STORE) {
        ensure!(
            path.exists(),
            "{} is a link to {text}, which is not there",
            path.display()
        );
        return Ok(Some(path.to_owned()));
    }
    let carried = dir.join(text.trim_start_matches('/'));
    if carried.symlink_metadata().is_ok() {
        return resolve(dir, &carried);
    }
    if store::on_debian(&text, super::MACHINE).is_some() {
        return Ok(None);
    }
    if target.exists() {
        return Ok(Some(target));
    }
    bail!(
        "{} is a link to {text}, which is neither in {}/nix/store nor a file that Debian has",
        path.display(),
        dir.display()
    )
}
