//! The users and groups that rendered units name. On NixOS they are made without a file in `etc/`.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::testbed::{FileTree, Service, Unit};

/// Where systemd-sysusers finds them.
const FILE: &str = "etc/sysusers.d/fmd-rendered.conf";

/// Where the overlay has the stack's own.
const SHIPPED: &str = "etc/sysusers.d/fmd-server.conf";

/// Has the accounts made that units name and nobody else does.
pub fn add(files: &mut FileTree, units: &[(Service, Unit)]) -> Result<()> {
    let there = files.get(SHIPPED).map(|_| files.text(SHIPPED));
    let lines = lines(units, &there.transpose()?.unwrap_or_default());
    if !lines.is_empty() {
        files.insert(FILE, lines.as_bytes());
    }
    Ok(())
}

fn lines(units: &[(Service, Unit)], there: &str) -> String {
    // A user is a group of the same name as well.
    let made: BTreeSet<&str> = there
        .lines()
        .filter(|line| line.starts_with("u ") || line.starts_with("g "))
        .filter_map(|line| line.split_whitespace().nth(1))
        .chain(["root"])
        .collect();
    let users = units.iter().filter_map(|(_, unit)| unit.user.as_deref());
    let users: BTreeSet<_> = users.filter(|user| !made.contains(user)).collect();
    let groups = units
        .iter()
        .flat_map(|(_, unit)| unit.group.iter().chain(&unit.groups));
    let groups: BTreeSet<_> = groups
        .map(String::as_str)
        .filter(|group| !made.contains(group) && !users.contains(group))
        .collect();
    let groups = groups.iter().map(|group| format!("g {group} -\n"));
    let users = users.iter().map(|user| format!("u {user} -\n"));
    groups.chain(users).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_account_is_made_once() {
        let unit = |user: &str, groups: &[&str]| Unit {
            user: Some(user.to_owned()),
            group: Some(user.to_owned()),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            ..Unit::default()
        };
        let units = [
            (Service::FmdServer, unit("fmd-server", &[])),
            (Service::Nginx, unit("nginx", &["fmd-server", "acme"])),
        ];
        let there = "u fmd-server - \"FMD Server\" /var/lib/fmd-server\nm www-data fmd-server\n";
        assert_eq!(lines(&units, there), "g acme -\nu nginx -\n");
        assert_eq!(lines(&units[..1], there), "");
    }
}
