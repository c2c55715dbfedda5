//! The shipped configuration in the form in which a NixOS machine has it: store paths, links into the
//! store, units, users of other names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use fmd_stack::testbed::overlay;
use tempfile::TempDir;

const NGINX: &str = "/nix/store/l1k9zb4rmnvp0d1q5zq0x6zlz8vxn0ad-nginx-1.28.0";
const FAIL2BAN: &str = "/nix/store/q2l8yb4rmnvp0d1q5zq0x6zlz8vxn0ad-fail2ban-1.1.0";
const CARRIED: &str = "nix/store/z3m7xb4rmnvp0d1q5zq0x6zlz8vxn0ad-recommended.conf";

/// A tree as NixOS renders it, with the shared snippets, filters, actions and jails in it.
pub fn nixos() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (path, file) in overlay().iter() {
        let ours = [
            "etc/nginx/fmd-stack/",
            "etc/fail2ban/",
            "etc/fmd-server/",
            "etc/fmd-stack/",
        ];
        if ours.iter().any(|folder| path.starts_with(folder)) {
            write(dir.path(), path, &String::from_utf8_lossy(&file.bytes));
        }
    }
    let at = dir.path();
    write(
        at,
        CARRIED,
        "sendfile on;\ntcp_nopush on;\nserver_tokens off;\n",
    );
    write(
        at,
        "etc/nginx/nginx.conf",
        &format!(
            "# {NGINX}/share/doc, which nobody reads\npid /run/nginx/nginx.pid;\nerror_log stderr;\ndaemon off;\n\
             events {{\n}}\nhttp {{\n  include /nix/store/aaaa-mailcap-2.1.54/etc/nginx/mime.types;\n  \
             include {NGINX}/conf/fastcgi.conf;\n  include {NGINX}/conf/uwsgi_params;\n  \
             include /{CARRIED};\n  include /etc/nginx/fmd-stack/http.conf;\n  server {{\n    \
             listen 0.0.0.0:80;\n    listen [::0]:80;\n    server_name fmd.example.org;\n    \
             include /etc/nginx/fmd-stack/server.conf;\n  }}\n}}\n"
        ),
    );
    write(
        at,
        "etc/systemd/system/nginx.service",
        &format!(
            "[Unit]\nX-Restart-Triggers=/nix/store/ffff-X-Restart-Triggers-nginx\n\n[Service]\n\
             Environment=\"PATH=/nix/store/gggg-findutils-4.10.0/bin\"\n\
             ExecReload={NGINX}/bin/nginx -c '/etc/nginx/nginx.conf' -t\n\
             ExecStartPre=/nix/store/hhhh-nginx-pre-start/bin/nginx-pre-start\n\
             ExecStart={NGINX}/bin/nginx -c '/etc/nginx/nginx.conf'\nUser=nginx\nGroup=nginx\n\
             SupplementaryGroups=fmd-server\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nRuntimeDirectory=nginx\nRuntimeDirectoryMode=0750\n\
             LogsDirectory=nginx\nLogsDirectoryMode=0750\nCacheDirectory=nginx\n"
        ),
    );
    write(
        at,
        "etc/systemd/system/fmd-server.service",
        "[Service]\nEnvironment=\"NO_COLOR=1\"\n\
         ExecStart=/nix/store/bbbb-fmd-server-0.15.0/bin/fmd-server serve --config /etc/fmd-server/config.yml\n\
         User=fmd-server\nGroup=fmd-server\nRuntimeDirectory=fmd-server\nRuntimeDirectoryMode=0750\n\
         StateDirectory=fmd-server fmd-server/db\nStateDirectoryMode=0700\n",
    );
    // The packaged unit, and beside it what NixOS adds.
    link(
        at,
        "etc/systemd/system/fail2ban.service",
        &format!("{FAIL2BAN}/lib/systemd/system/fail2ban.service"),
    );
    write(
        at,
        "etc/systemd/system/fail2ban.service.d/overrides.conf",
        "[Service]\nEnvironment=\"PATH=/nix/store/iiii-iptables-1.8.11/bin\"\n",
    );
    // What NixOS links from the package is Debian's own here.
    link(
        at,
        "etc/fail2ban/jail.conf",
        &format!("{FAIL2BAN}/etc/fail2ban/jail.conf"),
    );
    link(
        at,
        "etc/fail2ban/fail2ban.conf",
        &format!("{FAIL2BAN}/etc/fail2ban/fail2ban.conf"),
    );
    let filter = format!("{FAIL2BAN}/etc/fail2ban/filter.d/common.conf");
    link(at, "etc/fail2ban/filter.d/common.conf", &filter);
    // Of another machine, and none of the stack's business.
    write(
        at,
        "etc/passwd",
        "root:x:0:0::/root:/nix/store/cccc-nologin/bin/nologin\n",
    );
    dir
}

/// Writes a file below the folder, its own folders too.
pub fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

/// Makes a link below the folder.
pub fn link(dir: &Path, path: &str, target: &str) {
    symlink(target, dir.join(path)).expect("a link");
}
