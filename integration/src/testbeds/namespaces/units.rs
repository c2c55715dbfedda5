//! Services started as a unit says it, by a testbed without systemd.

use super::services::Daemon;
use crate::testbed::{Folder, Service, Unit};
use crate::testbeds::quote::word;

/// Makes a group and its user unless they are there. Names come from a configuration, so they are
/// quoted by [`word`].
const MAKE_USER: &str = r#"
fmd_group() { getent group "$1" >/dev/null || groupadd --system "$1"; }
fmd_user() {
  fmd_group "$2"
  getent passwd "$1" >/dev/null || useradd --system --no-create-home --gid "$2" "$1"
}
"#;

/// nginx, whatever PID file its configuration names, listens.
const LISTENS: &str = "ss -Hltnp | grep -q '\"nginx\"'";

/// The unit's way to start a service; `stock` is the testbed's own.
pub fn daemon(service: Service, unit: &Unit, stock: Daemon) -> Daemon {
    let mut prepare = MAKE_USER.to_owned();
    let user = unit.user.as_deref().unwrap_or("root");
    let group = unit.group.as_deref().unwrap_or(user);
    prepare += &format!("fmd_user {} {}\n", word(user), word(group));
    for other in &unit.groups {
        let (other, user) = (word(other), word(user));
        prepare += &format!("fmd_group {other}; usermod --append --groups {other} {user}\n");
    }
    for Folder { path, mode } in &unit.folders {
        let (mode, path) = (word(mode), word(path));
        prepare += &format!(
            "install -d -m {mode} -o {} -g {} {path}\n",
            word(user),
            word(group)
        );
    }
    let mut argv = unit.argv.clone();
    match service {
        Service::FmdServer => {
            // Which FMD Server runs is said on the command line, wherever the unit has its own.
            if argv[0].ends_with("/fmd-server") {
                argv[0] = super::FMD_SERVER.to_owned();
            }
            prepare += "rm -f /run/fmd-server/*.sock\n";
            // Debian's nginx user, for a tree that leaves nginx's process to the testbed.
            prepare += &format!("usermod --append --groups {} www-data\n", word(group));
            let become_user = [
                "setpriv".to_owned(),
                format!("--reuid={user}"),
                format!("--regid={group}"),
            ];
            argv.splice(
                0..0,
                become_user
                    .into_iter()
                    .chain(["--init-groups".to_owned(), "--".to_owned()]),
            );
        }
        // Its master is root, as without systemd it has to be for the ports below 1024.
        Service::Nginx => {
            prepare += "rm -f /run/nginx.pid /run/nginx/nginx.pid\n";
            let test: Vec<_> = argv.iter().map(|arg| word(arg)).collect();
            prepare += &format!("{} -q -t\n", test.join(" "));
        }
        Service::Fail2ban | Service::Journal => prepare += &stock.prepare,
    }
    let environment = std::iter::once("/usr/bin/env".to_owned()).chain(unit.environment.clone());
    Daemon {
        prepare,
        ready: match service {
            Service::Nginx => LISTENS,
            _ => stock.ready,
        },
        argv: environment.chain(argv).collect(),
    }
}
