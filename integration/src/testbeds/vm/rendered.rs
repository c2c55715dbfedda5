//! A configuration that the NixOS module rendered, for a machine without a Nix store.

use std::path::Path;

use anyhow::{Result, bail};

use crate::testbed::FileTree;
use crate::testbeds::rendered::{MACHINE, on_debian};

const STORE: &str = "/nix/store/";

/// Settings of a unit that a machine can do without: NixOS generates the programs they name.
const DISPENSABLE: [&str; 7] = [
    "Environment=",
    "ExecReload=",
    "ExecStartPost=",
    "ExecStartPre=",
    "ExecStopPost=",
    "X-Reload-Triggers=",
    "X-Restart-Triggers=",
];

/// Maps the packages' paths to Debian's, below `root`; says what it had to leave out.
///
/// # Errors
/// A file needs something from the store that Debian does not have.
pub fn for_debian(tree: &mut FileTree, root: &Path) -> Result<Vec<String>> {
    let mut left_out = Vec::new();
    let paths: Vec<String> = tree.iter().map(|(path, _)| path.to_owned()).collect();
    for path in paths {
        let Ok(text) = tree.text(&path) else { continue };
        let mut mapped = map_lines(tree, root, &path, &text, &mut left_out)?;
        // NixOS links units to their targets itself.
        if path.starts_with("etc/systemd/system/")
            && path.ends_with(".service")
            && !mapped.contains("[Install]")
        {
            mapped.push_str("\n[Install]\nWantedBy=multi-user.target\n");
        }
        if mapped != text {
            tree.insert(&path, mapped.as_bytes());
        }
    }
    Ok(left_out)
}

fn map_lines(
    tree: &FileTree,
    root: &Path,
    path: &str,
    text: &str,
    left_out: &mut Vec<String>,
) -> Result<String> {
    if !text.contains(STORE) {
        return Ok(text.to_owned());
    }
    let mut mapped = String::new();
    for line in text.lines() {
        // Debian's own search path has all of it.
        if line.replace('"', "").starts_with("Environment=PATH=") {
            continue;
        }
        let mapped_line = match line.trim_start().starts_with(['#', ';']) {
            // Nobody reads it.
            true => Ok(line.to_owned()),
            false => map_line(tree, root, line),
        };
        match mapped_line {
            Ok(line) => mapped.push_str(&line),
            Err(missing) if DISPENSABLE.iter().any(|name| line.starts_with(name)) => {
                left_out.push(format!(
                    "{path}: {} ({missing})",
                    line.split('=').next().unwrap_or(line)
                ));
                continue;
            }
            Err(missing) => bail!("{path} names {missing}, which Debian does not have: `{line}`"),
        }
        mapped.push('\n');
    }
    Ok(mapped)
}

/// The line with every store path replaced, or the path that has no counterpart.
fn map_line(tree: &FileTree, root: &Path, line: &str) -> Result<String, String> {
    let mut mapped = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(STORE) {
        let (before, found) = rest.split_at(start);
        let end = found.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._?=/@".contains(c)));
        let (path, after) = found.split_at(end.unwrap_or(found.len()));
        // A sentence's full stop, or a setting's separator, belongs to no path.
        let debian = counterpart(tree, root, path).ok_or_else(|| path.to_owned())?;
        mapped.push_str(before);
        mapped.push_str(&debian);
        rest = after;
    }
    mapped.push_str(rest);
    Ok(mapped)
}

/// Where Debian has what `path` (`/nix/store/HASH-NAME/REST`) is.
fn counterpart(tree: &FileTree, root: &Path, path: &str) -> Option<String> {
    let item = path.strip_prefix(STORE)?;
    let (item, rest) = item.split_once('/').unwrap_or((item, ""));
    let name = item.split_once('-')?.1;
    match rest.split_once('/') {
        Some(("bin" | "sbin", program)) => find_program(root, program),
        _ if rest.is_empty() => {
            // A file that NixOS also links into /etc.
            let mut same = tree
                .iter()
                .map(|(path, _)| path)
                .filter(|path| path.rsplit('/').next() == Some(name));
            same.next().map(|path| format!("/{path}"))
        }
        _ => on_debian(path, MACHINE),
    }
}

fn find_program(root: &Path, program: &str) -> Option<String> {
    if program == "fmd-server" {
        return Some(MACHINE.fmd_server.to_owned());
    }
    let places = ["usr/sbin", "usr/bin"].map(|folder| format!("{folder}/{program}"));
    places
        .into_iter()
        .find(|path| root.join(path).symlink_metadata().is_ok())
        .map(|path| format!("/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::overlay;

    const UNIT: &str = "[Service]\n\
        Environment=\"PATH=/nix/store/aaaa-coreutils-9.5/bin:/nix/store/bbbb-nftables-1.1/bin\"\n\
        ExecStartPre=/nix/store/cccc-unit-script-nginx-pre-start/bin/nginx-pre-start\n\
        ExecStart=/nix/store/dddd-nginx-1.28/bin/nginx -c /nix/store/eeee-nginx.conf\n";

    fn tree() -> FileTree {
        let mut tree = FileTree::default();
        tree.insert(
            "etc/nginx/nginx.conf",
            b"# /nix/store/ffff-nginx-1.28/share/doc\ninclude /nix/store/ffff-nginx-1.28/conf/mime.types;\ninclude /nix/store/ffff-nginx-1.28/conf/uwsgi_params;\n",
        );
        tree.insert("etc/systemd/system/nginx.service", UNIT.as_bytes());
        tree
    }

    fn debian() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("usr/sbin")).unwrap();
        std::fs::write(root.path().join("usr/sbin/nginx"), b"").unwrap();
        root
    }

    #[test]
    fn packages_become_debians() {
        let (root, mut tree) = (debian(), tree());
        let left_out = for_debian(&mut tree, root.path()).unwrap();
        let unit = tree.text("etc/systemd/system/nginx.service").unwrap();
        assert!(!unit.contains("PATH="), "{unit}");
        assert!(
            unit.contains("ExecStart=/usr/sbin/nginx -c /etc/nginx/nginx.conf"),
            "{unit}"
        );
        assert!(unit.contains("WantedBy=multi-user.target"), "{unit}");
        assert_eq!(left_out.len(), 1, "{left_out:?}");
        assert!(left_out[0].contains("ExecStartPre"));
        assert_eq!(
            tree.text("etc/nginx/nginx.conf").unwrap(),
            "# /nix/store/ffff-nginx-1.28/share/doc\ninclude /etc/nginx/mime.types;\ninclude /etc/nginx/uwsgi_params;\n"
        );
    }

    #[test]
    fn what_debian_lacks_is_an_error() {
        let (root, mut tree) = (debian(), tree());
        tree.insert(
            "etc/fail2ban/jail.d/x.conf",
            b"action = /nix/store/abcd-tool-1/bin/unheard-of\n",
        );
        let error = for_debian(&mut tree, root.path()).unwrap_err().to_string();
        assert!(
            error.contains("etc/fail2ban/jail.d/x.conf names /nix/store/abcd-tool-1"),
            "{error}"
        );
    }

    #[test]
    fn the_shipped_tree_stays_as_it_is() {
        let mut tree = overlay();
        assert!(for_debian(&mut tree, Path::new("/")).unwrap().is_empty());
        assert_eq!(tree, overlay());
    }
}
