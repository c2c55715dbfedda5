//! Store paths in a rendered configuration, and what stands for them on Debian.

use std::path::Path;

use anyhow::{Result, bail};

use super::{read, unit};
use crate::testbed::FileTree;

/// Where Nix keeps packages.
pub const STORE: &str = "/nix/store/";

/// Where texts go that the folder carries in a store of its own: the sandbox may have this machine's
/// store under its real name.
const KEPT: &str = "usr/lib/fmd-stack/store/";

/// What stands elsewhere on each testbed.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// FMD Server.
    pub fmd_server: &'static str,
    /// systemctl, or what stands for it.
    pub systemctl: &'static str,
}

/// Package, path in it, path on Debian. A path that ends in `/` stands for all below it.
const TABLE: &[(&str, &str, &str)] = &[
    ("bash", "bin/", "/usr/bin/"),
    ("coreutils", "bin/", "/usr/bin/"),
    ("fail2ban", "bin/", "/usr/bin/"),
    ("fail2ban", "etc/fail2ban/", "/etc/fail2ban/"),
    // The packaged unit, which NixOS links and adds to.
    ("fail2ban", "lib/systemd/system/", "/lib/systemd/system/"),
    ("gawk", "bin/", "/usr/bin/"),
    ("gnugrep", "bin/", "/usr/bin/"),
    ("gnused", "bin/", "/usr/bin/"),
    ("iproute2", "bin/", "/usr/bin/"),
    ("iptables", "bin/", "/usr/sbin/"),
    ("mailcap", "etc/nginx/mime.types", "/etc/nginx/mime.types"),
    ("nftables", "bin/nft", "/usr/sbin/nft"),
    ("nginx", "bin/nginx", "/usr/sbin/nginx"),
    ("nginx", "conf/", "/etc/nginx/"),
    ("nginx.conf", "", "/etc/nginx/nginx.conf"),
    ("systemd", "bin/", "/usr/bin/"),
];

/// Replaces the store paths in the tree's files. Texts that the folder carries in its own store come
/// along.
///
/// # Errors
/// A store path is neither in the folder, nor in the table, nor on this machine.
pub fn map(dir: &Path, mut found: FileTree, places: Places) -> Result<FileTree> {
    let mut mapped = FileTree::default();
    while !found.is_empty() {
        let mut carried = FileTree::default();
        for (path, file) in found.iter() {
            let Ok(text) = std::str::from_utf8(&file.bytes) else {
                mapped.insert(&kept(path), &file.bytes);
                continue;
            };
            let mut lines = String::with_capacity(text.len());
            for (index, line) in text.split_inclusive('\n').enumerate() {
                let place = format!("{}/{path}, line {}", dir.display(), index + 1);
                // What is commented out is read by nobody, and of a unit a few lines are.
                let unread = line.trim_start().starts_with('#')
                    || (path.starts_with(unit::FOLDER) && !unit::is_read(line));
                match unread {
                    true => lines.push_str(line),
                    false => lines.push_str(&map_line(dir, line, &place, places, &mut carried)?),
                }
            }
            mapped.insert(&kept(path), lines.as_bytes());
        }
        let new: Vec<_> = carried
            .iter()
            .filter(|(path, _)| mapped.get(&kept(path)).is_none())
            .collect();
        let mut next = FileTree::default();
        for (path, file) in new {
            next.insert(path, &file.bytes);
        }
        found = next;
    }
    Ok(mapped)
}

fn map_line(
    dir: &Path,
    line: &str,
    place: &str,
    places: Places,
    carried: &mut FileTree,
) -> Result<String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(STORE) {
        let (before, from) = rest.split_at(start);
        let end = from.find(is_delimiter).unwrap_or(from.len());
        let (path, after) = from.split_at(end);
        text.push_str(before);
        text.push_str(&map_path(dir, path, place, places, carried)?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn is_delimiter(c: char) -> bool {
    c.is_whitespace() || "\"';,()[]{}<>|&:=`*".contains(c)
}

fn map_path(
    dir: &Path,
    path: &str,
    place: &str,
    places: Places,
    carried: &mut FileTree,
) -> Result<String> {
    if dir
        .join(path.trim_start_matches('/'))
        .symlink_metadata()
        .is_ok()
    {
        read::add(dir, path.trim_start_matches('/'), carried)?;
        return Ok(format!("/{}", kept(path.trim_start_matches('/'))));
    }
    if let Some(debian) = on_debian(path, places) {
        return Ok(debian);
    }
    // On NixOS: the sandbox has the store as it is.
    if Path::new(path).exists() {
        return Ok(path.to_owned());
    }
    bail!(
        "{place}: {path} is neither in {}/nix/store nor known to be a file of Debian's",
        dir.display()
    )
}

/// The name under which a file of the tree is laid over the root filesystem.
fn kept(name: &str) -> String {
    match name.strip_prefix(STORE.trim_start_matches('/')) {
        Some(rest) => format!("{KEPT}{rest}"),
        None => name.to_owned(),
    }
}

/// The Debian path for a store path.
pub fn on_debian(path: &str, places: Places) -> Option<String> {
    let path = path.strip_prefix(STORE)?;
    let (object, inner) = path.split_once('/').unwrap_or((path, ""));
    let (_hash, name) = object.split_once('-')?;
    let package = package(name);
    match (package, inner) {
        ("fmd-server", "bin/fmd-server") => return Some(places.fmd_server.to_owned()),
        ("systemd", "bin/systemctl") => return Some(places.systemctl.to_owned()),
        _ => {}
    }
    TABLE.iter().find_map(|(known, from, to)| {
        if *known != package && *known != name {
            return None;
        }
        if from.ends_with('/') {
            // The folder itself may be named without the slash.
            let below = format!("{inner}/");
            return match inner.strip_prefix(from) {
                Some(rest) => Some(format!("{to}{rest}")),
                None if below == *from => Some(to.trim_end_matches('/').to_owned()),
                None => None,
            };
        }
        (inner == *from).then(|| (*to).to_owned())
    })
}

/// The name of a package without version and output: `nftables-1.1.3-bin` is `nftables`.
fn package(name: &str) -> &str {
    let version = name
        .match_indices('-')
        .find(|(at, _)| name[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    version.map_or(name, |(at, _)| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_stand_where_debian_has_them() {
        let places = super::super::WITHOUT_SYSTEMD;
        let on = |path: &str| on_debian(&format!("/nix/store/abc123-{path}"), places);
        assert_eq!(on("nftables-1.1.3/bin/nft").unwrap(), "/usr/sbin/nft");
        assert_eq!(
            on("nginx-1.28.0/conf/fastcgi.conf").unwrap(),
            "/etc/nginx/fastcgi.conf"
        );
        assert_eq!(
            on("fail2ban-1.1.0/etc/fail2ban/action.d").unwrap(),
            "/etc/fail2ban/action.d"
        );
        assert_eq!(on("fail2ban-1.1.0/etc/fail2ban").unwrap(), "/etc/fail2ban");
        assert_eq!(on("nginx.conf").unwrap(), "/etc/nginx/nginx.conf");
        assert_eq!(on("unknown-1.0/bin/x"), None);
        assert_eq!(on("nginx-1.28.0/lib/x.so"), None);
    }

    #[test]
    fn an_unknown_path_is_named_with_its_place() {
        let mut carried = FileTree::default();
        let line = "include /nix/store/abc-mailcap-2.1/etc/nginx/mime.types;";
        let dir = Path::new("/nowhere");
        assert_eq!(
            map_line(dir, line, "x", super::super::MACHINE, &mut carried).unwrap(),
            "include /etc/nginx/mime.types;"
        );
        let error = map_line(
            dir,
            "a /nix/store/abc-what/x;",
            "nginx.conf, line 7",
            super::super::MACHINE,
            &mut carried,
        );
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("nginx.conf, line 7") && error.contains("abc-what/x"),
            "{error}"
        );
    }
}
