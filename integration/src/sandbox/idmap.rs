//! Which ids of the host a sandbox uses.
//!
//! The sandbox's services run under users of their own, so a whole range is mapped. An ordinary
//! user's range comes from `/etc/subuid` through `newuidmap`; inner root is the user.
//!
//! Root's sandboxes do *not* use the host's ids: a process that is root by number may write sysctls
//! and sysfs without any capability. They get a range nobody owns.

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{Uid, User, getgid, getuid};
use tokio::process::Command;

/// How many ids a Debian system needs: all up to `nobody` (65534).
const COUNT: u32 = 65536;

/// First id of the range for root's sandboxes: above what systemd hands to containers, see
/// "UIDs and GIDs" at systemd.io (1879048192…2147352575 is unused).
const ROOTS_RANGE: u32 = 1_879_048_192;

/// The host's id of the sandbox's root.
pub fn inner_root() -> (u32, u32) {
    if getuid().is_root() {
        (ROOTS_RANGE, ROOTS_RANGE)
    } else {
        (getuid().as_raw(), getgid().as_raw())
    }
}

/// Checks that a range of ids can be mapped.
///
/// # Errors
/// Says what is missing and the one line that adds it.
pub fn check_ids() -> Result<()> {
    if getuid().is_root() {
        return Ok(());
    }
    range("/etc/subuid")?;
    range("/etc/subgid")?;
    Ok(())
}

/// Writes the id maps of the process `pid`, which has just unshared its user namespace.
pub async fn write(pid: u32) -> Result<()> {
    if getuid().is_root() {
        let map = format!("0 {ROOTS_RANGE} {COUNT}\n");
        for kind in ["uid_map", "gid_map"] {
            let path = format!("/proc/{pid}/{kind}");
            tokio::fs::write(&path, &map)
                .await
                .with_context(|| format!("writing {path}"))?;
        }
        return Ok(());
    }
    newidmap("newuidmap", pid, getuid().as_raw(), range("/etc/subuid")?).await?;
    newidmap("newgidmap", pid, getgid().as_raw(), range("/etc/subgid")?).await
}

async fn newidmap(program: &str, pid: u32, own: u32, start: u32) -> Result<()> {
    let rest = COUNT - 1;
    let numbers = [pid, 0, own, 1, 1, start, rest].map(|number| number.to_string());
    let output = Command::new(program)
        .args(&numbers)
        .output()
        .await
        .with_context(|| {
            format!("running {program} (Debian's package uidmap: `sudo apt-get install uidmap`)")
        })?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        numbers.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Start of the first range of at least [`COUNT`]` - 1` ids that `file` gives to this user.
fn range(file: &str) -> Result<u32> {
    let uid = getuid();
    let name = User::from_uid(uid)
        .ok()
        .flatten()
        .map(|user| user.name)
        .unwrap_or_default();
    let text = std::fs::read_to_string(file).unwrap_or_default();
    match text.lines().find_map(|line| owned_range(line, &name, uid)) {
        Some(start) => Ok(start),
        None => bail!(
            "{file} gives user {name} no range of {COUNT} ids, which the sandbox's services need. \
             Add one with `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}`."
        ),
    }
}

/// Reads `name:start:count`.
fn owned_range(line: &str, name: &str, uid: Uid) -> Option<u32> {
    let mut fields = line.trim().split(':');
    let owner = fields.next()?;
    let start: u32 = fields.next()?.parse().ok()?;
    let count: u32 = fields.next()?.parse().ok()?;
    let mine = owner == name || owner == uid.to_string();
    (mine && count >= COUNT - 1).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges_of_this_user_only() {
        let uid = Uid::from_raw(1001);
        assert_eq!(owned_range("ada:100000:65536", "ada", uid), Some(100_000));
        assert_eq!(owned_range("1001:200000:65536", "ada", uid), Some(200_000));
        assert_eq!(owned_range("bob:100000:65536", "ada", uid), None);
        assert_eq!(owned_range("ada:100000:1000", "ada", uid), None);
        assert_eq!(owned_range("ada:x", "ada", uid), None);
    }
}
