//! Configuration as a NixOS module renders it, made fit for the services of a Debian root
//! filesystem.
//!
//! Only what says where packages stand is changed; what nginx, fail2ban and FMD Server are told to
//! do stays as it was rendered.

mod accounts;
mod read;
mod store;
mod unit;

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::testbed::{FileTree, Service, Unit, overlay};
use store::Places;

pub use store::on_debian;

/// The main file of nginx, unless its unit names another.
const NGINX: &str = "etc/nginx/nginx.conf";

/// What a tree may leave out, since it says nothing about bans; taken from the overlay then.
const FILLED: [&str; 3] = [
    "etc/fmd-server/",
    "etc/fmd-stack/",
    "etc/systemd/journald.conf",
];

/// What docs/how-to/debian.md goes on with: programs, and what systemd-sysusers makes users from.
const OF_THE_HOW_TO: [&str; 2] = ["usr/lib/fmd-stack/", "etc/sysusers.d/"];

/// What makes nginx.conf one that every testbed can start by itself (containers/rootfs).
const OWN_PROCESS: &str = "/etc/nginx/main.d/*.conf";

/// Where scenarios put servers of their own.
const SERVERS: &str = "include /etc/nginx/conf.d/*.conf;";

/// Debian's nginx was built to write what it can't hold in memory below /var/lib/nginx, which is its
/// own user's: a unit that starts it as another has to be given the folder.
const TEMPORARY: (&str, &str) = (
    "etc/systemd/system/nginx.service.d/zz-debian.conf",
    "[Service]\nStateDirectory=nginx\n",
);

/// What stands for systemctl.
const SYSTEMCTL: &str = "/usr/lib/fmd-stack/systemctl";

/// Where the namespaces testbed has what other testbeds have elsewhere.
const WITHOUT_SYSTEMD: Places = Places {
    fmd_server: "/usr/bin/fmd-server",
    systemctl: SYSTEMCTL,
};

/// Where a whole Debian has it, set up as the how-to says.
pub const MACHINE: Places = Places {
    fmd_server: "/usr/local/bin/fmd-server",
    systemctl: "/usr/bin/systemctl",
};

/// A folder's configuration, and how its units start the services.
pub struct Rendered {
    /// The files to lay over the root filesystem.
    pub files: FileTree,
    /// The units that were rendered, for those services that have one.
    pub units: Vec<(Service, Unit)>,
    /// Files of the overlay for what the folder leaves out.
    pub filled: Vec<String>,
}

/// Reads a folder that holds an `etc/`.
///
/// # Errors
/// A service has no configuration in it, a file can't be read, or a store path is neither in the
/// folder nor known; the error names file and line.
pub fn read(dir: &Path) -> Result<Rendered> {
    let found = read::tree(dir)?;
    refuse_tokens(dir, &found)?;
    let mut files = store::map(dir, found, WITHOUT_SYSTEMD)?;
    let filled = fill(&mut files, &FILLED);
    let units = unit::all(&mut files)?;
    let main = main_file(&units);
    let text = let_servers_in(dir, &mut files, &main)?;
    files.insert(SYSTEMCTL, systemctl(&main).as_bytes());
    let mut units = units;
    if text.contains(OWN_PROCESS) {
        units.retain(|(service, _)| *service != Service::Nginx);
    } else {
        let groups = vec![socket_group(&units)];
        let found = units
            .iter_mut()
            .find(|(service, _)| *service == Service::Nginx);
        match found {
            Some((_, unit)) => complete(unit, groups, &text),
            None => {
                let mut unit = Unit {
                    argv: vec!["/usr/sbin/nginx".to_owned()],
                    ..Unit::default()
                };
                complete(&mut unit, groups, &text).map(|()| units.push((Service::Nginx, unit)))
            }
        }
        .with_context(|| format!("nginx in {}", dir.display()))?;
    }
    Ok(Rendered {
        files,
        units,
        filled,
    })
}

/// Takes from the overlay what the tree leaves out, and names it.
fn fill(files: &mut FileTree, prefixes: &[&str]) -> Vec<String> {
    let mut filled = Vec::new();
    for prefix in prefixes {
        if files.iter().any(|(path, _)| path.starts_with(prefix)) {
            continue;
        }
        for (path, file) in overlay()
            .iter()
            .filter(|(path, _)| path.starts_with(prefix))
        {
            files.insert(path, &file.bytes);
            filled.push(path.to_owned());
        }
    }
    filled
}

/// The file that nginx's unit gives with `-c`.
fn main_file(units: &[(Service, Unit)]) -> String {
    let unit = units.iter().find(|(service, _)| *service == Service::Nginx);
    let named = unit.and_then(|(_, unit)| {
        let option = unit.argv.iter().position(|arg| arg == "-c")?;
        unit.argv.get(option + 1)
    });
    named
        .map_or(NGINX, |path| path.trim_start_matches('/'))
        .to_owned()
}

/// The group that reaches FMD Server's socket.
fn socket_group(units: &[(Service, Unit)]) -> String {
    let unit = units
        .iter()
        .find(|(service, _)| *service == Service::FmdServer);
    let group = unit.and_then(|(_, unit)| unit.group.clone().or_else(|| unit.user.clone()));
    // The testbed's own way to start it (namespaces/services.rs).
    group.unwrap_or_else(|| "www-data".to_owned())
}

/// Reads a folder for a testbed that is a whole Debian with systemd: its units stay files, and start
/// the services themselves.
///
/// # Errors
/// As [`read`]. Of its units, only what starts a service has to be on Debian.
pub fn for_machine(dir: &Path) -> Result<Rendered> {
    let found = read::machine(dir)?;
    refuse_tokens(dir, &found)?;
    let mut files = store::map(dir, found, MACHINE)?;
    let filled = fill(&mut files, &[&FILLED[..], &OF_THE_HOW_TO].concat());
    let units = unit::all(&mut files.clone())?;
    let_servers_in(dir, &mut files, &main_file(&units))?;
    accounts::add(&mut files, &units)?;
    let nginx = units.iter().find(|(service, _)| *service == Service::Nginx);
    if nginx.is_some_and(|(_, unit)| unit.user.is_some()) {
        files.insert(TEMPORARY.0, TEMPORARY.1.as_bytes());
    }
    Ok(Rendered {
        files,
        units: Vec::new(),
        filled,
    })
}

/// A unit that loads a secret: it is in no tree.
fn refuse_tokens(dir: &Path, found: &FileTree) -> Result<()> {
    let units = found.iter().map(|(path, _)| path);
    for path in units.filter(|path| path.starts_with(unit::FOLDER)) {
        ensure!(
            !found.text(path)?.contains("\nLoadCredential="),
            "--rendered {}: {path} loads a registration token (LoadCredential), which is in no tree; \
             render it without (services.fmd-stack.registrationTokenFile = null)",
            dir.display()
        );
    }
    Ok(())
}

/// Has nginx's main file include the servers of scenarios; returns it as it was.
fn let_servers_in(dir: &Path, files: &mut FileTree, main: &str) -> Result<String> {
    ensure!(
        files.get(main).is_some(),
        "--rendered {}: no {main} in it, nginx's configuration",
        dir.display()
    );
    let text = files.text(main)?;
    files.insert(main, with_servers(&text).as_bytes());
    Ok(text)
}

/// A ban in nginx has its unit reloaded. Without systemd this does what nginx's unit says to do then.
fn systemctl(main: &str) -> String {
    format!(
        r#"#!/bin/sh
set -eu
case "$*" in
    *reload*" nginx.service" | *reload*" nginx")
        # As systemd: nothing to reload where nothing runs.
        pid=$(cat /run/fmd-stack/nginx.pid 2>/dev/null) && kill -0 "$pid" 2>/dev/null || exit 0
        nginx -q -t -c '/{main}'
        kill -HUP "$pid"
        ;;
    *)
        echo "systemctl $*: this testbed has no systemd, and reloads nginx alone" >&2
        exit 1
        ;;
esac
"#
    )
}

/// nginx.conf with the folder in which scenarios put servers, where the snippets of the http level
/// are included.
fn with_servers(text: &str) -> String {
    if text.contains("/etc/nginx/conf.d/") {
        return text.to_owned();
    }
    let snippet = "include /etc/nginx/fmd-stack/http.conf;";
    text.replacen(snippet, &format!("{snippet}\n{SERVERS}"), 1)
}

/// What systemd does for nginx and nginx has to be told without it: its user, the foreground.
fn complete(unit: &mut Unit, groups: Vec<String>, nginx_conf: &str) -> Result<()> {
    let says = |word: &str| {
        let mut lines = nginx_conf.lines().map(str::trim_start);
        lines
            .find_map(|line| line.strip_prefix(word))
            .map(|rest| rest.trim().trim_end_matches(';'))
    };
    let mut global = String::new();
    if says("daemon ").is_none() && !unit.argv.iter().any(|arg| arg.contains("daemon off")) {
        global.push_str("daemon off;");
    }
    if let Some(named) = says("user ") {
        let mut words = named.split_whitespace().map(str::to_owned);
        unit.user = words.next();
        unit.group = words.next();
    } else {
        let user = unit.user.clone();
        let user = user.context("neither nginx.conf nor the unit of nginx names its user")?;
        let group = unit.group.as_deref().unwrap_or(&user);
        global.push_str(&format!("user {user} {group};"));
    }
    unit.groups.extend(groups);
    if !global.is_empty() {
        unit.argv.extend(["-g".to_owned(), global]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_gets_what_systemd_would_do() {
        let unit = Unit {
            argv: vec!["/usr/sbin/nginx".into()],
            user: Some("nginx".into()),
            ..Unit::default()
        };
        let mut told = unit.clone();
        complete(&mut told, vec!["fmd".into()], "events {}").unwrap();
        assert_eq!(told.argv[1..], ["-g", "daemon off;user nginx nginx;"]);
        assert_eq!(told.groups, ["fmd"]);
        let mut told = unit.clone();
        complete(&mut told, Vec::new(), "daemon off;\nuser web www;\n").unwrap();
        assert_eq!(told.argv.len(), 1);
        assert_eq!(
            (told.user.as_deref(), told.group.as_deref()),
            (Some("web"), Some("www"))
        );
        let mut nobody = Unit { user: None, ..unit };
        assert!(complete(&mut nobody, Vec::new(), "events {}").is_err());
    }

    #[test]
    fn servers_of_scenarios_stand_beside_the_rendered_ones() {
        let conf = "http {\n  include /etc/nginx/fmd-stack/http.conf;\n}";
        assert!(with_servers(conf).contains(SERVERS));
        assert_eq!(with_servers(&with_servers(conf)), with_servers(conf));
    }
}
