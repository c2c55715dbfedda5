//! `--rendered`: the shipped configuration in the form in which a NixOS machine has it (store paths,
//! links into the store, units, users of other names), and trees that must be refused.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use fmd_stack::testbed::overlay;
use tempfile::TempDir;

const NGINX: &str = "/nix/store/l1k9zb4rmnvp0d1q5zq0x6zlz8vxn0ad-nginx-1.28.0";
const FAIL2BAN: &str = "/nix/store/q2l8yb4rmnvp0d1q5zq0x6zlz8vxn0ad-fail2ban-1.1.0";
const CARRIED: &str = "nix/store/z3m7xb4rmnvp0d1q5zq0x6zlz8vxn0ad-recommended.conf";

/// A tree as NixOS renders it, with the shared snippets, filters, actions and jails in it.
fn nixos() -> TempDir {
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
             SupplementaryGroups=fmd-server\nRuntimeDirectory=nginx\nRuntimeDirectoryMode=0750\n\
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

fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

fn link(dir: &Path, path: &str, target: &str) {
    symlink(target, dir.join(path)).expect("a link");
}

fn run(dir: &Path, more: &[&str]) -> std::process::Output {
    let dir = dir.to_str().expect("UTF-8");
    let args = ["test", "--testbed", "namespaces", "--rendered", dir];
    support::run(&[&args[..], more].concat())
}

fn refused(dir: &Path, words: &[&str]) {
    let output = run(dir, &["--scenario", "brute-force"]);
    let said = support::said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn a_nixos_tree_runs_on_the_real_daemons() {
    let dir = nixos();
    let scenarios = [
        "--scenario",
        "brute-force",
        "--scenario",
        "forged-header",
        "--scenario",
        "doors",
    ];
    let output = run(dir.path(), &scenarios);
    assert!(output.status.success(), "{}", support::said(&output));
}

/// A machine whose nginx.conf is in the store alone, and a tree without what says nothing of bans.
#[test]
fn what_is_absent_is_found_or_taken_as_shipped() {
    let dir = nixos();
    let at = dir.path();
    let conf = "nix/store/y4m7xb4rmnvp0d1q5zq0x6zlz8vxn0ad-nginx.conf";
    fs::create_dir_all(at.join("nix/store")).expect("a folder");
    fs::rename(at.join("etc/nginx/nginx.conf"), at.join(conf)).expect("it was there");
    let unit = "etc/systemd/system/nginx.service";
    let text = fs::read_to_string(at.join(unit)).expect("a unit");
    write(
        at,
        unit,
        &text.replace("/etc/nginx/nginx.conf", &format!("/{conf}")),
    );
    fs::remove_dir_all(at.join("etc/fmd-server")).expect("it was there");
    fs::remove_file(at.join("etc/systemd/system/fmd-server.service")).expect("it was there");
    let output = run(at, &["--scenario", "brute-force"]);
    let said = support::said(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("etc/fmd-server/config.yml, taken as it is shipped"),
        "{said}"
    );
}

/// As services.fmd-stack with `trustedProxies` has it: nginx belongs to another user than fail2ban's,
/// and is reloaded by its unit.
#[test]
fn bans_in_nginx_reload_its_unit() {
    let dir = nixos();
    write(
        dir.path(),
        "etc/fail2ban/jail.local",
        "[DEFAULT]\nfmd_ban = %(fmd_nginx)s\nfmd_nginx_reload =\nfmd_nginx_test = \
         /nix/store/jjjj-systemd-259.3/bin/systemctl try-reload-or-restart nginx.service\n",
    );
    let output = run(dir.path(), &["--scenario", "behind-edge"]);
    assert!(output.status.success(), "{}", support::said(&output));
}

#[test]
fn a_unit_with_a_token_is_refused() {
    let dir = nixos();
    let unit = "etc/systemd/system/fmd-server.service";
    let text = fs::read_to_string(dir.path().join(unit)).expect("a unit");
    let token = "LoadCredential=registration-token:/run/secrets/token\n";
    write(dir.path(), unit, &(text + token));
    refused(
        dir.path(),
        &["loads a registration token", "registrationTokenFile = null"],
    );
}

#[test]
fn a_copy_of_the_shipped_tree_runs_as_it_does() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (path, file) in overlay().iter() {
        write(dir.path(), path, &String::from_utf8_lossy(&file.bytes));
    }
    let output = run(dir.path(), &["--scenario", "brute-force"]);
    assert!(output.status.success(), "{}", support::said(&output));
}

#[test]
fn faults_are_seeded_into_the_rendered_files() {
    let dir = nixos();
    let output = run(dir.path(), &["--scenario", "forged-header", "--faults"]);
    assert!(output.status.success(), "{}", support::said(&output));
}

#[test]
fn a_fault_in_a_file_that_is_not_there_says_so() {
    let dir = nixos();
    let path = "etc/nginx/fmd-stack/proxy.conf";
    fs::remove_file(dir.path().join(path)).expect("it was there");
    write(
        dir.path(),
        "etc/nginx/fmd-stack/server.conf",
        "location / { return 200; }\n",
    );
    let output = run(dir.path(), &["--scenario", "forged-header", "--faults"]);
    let said = support::said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("no file etc/nginx/fmd-stack/proxy.conf in the configuration"),
        "{said}"
    );
}

#[test]
fn an_unknown_store_path_is_refused_with_its_place() {
    let dir = nixos();
    let path = "etc/fail2ban/jail.d/site.local";
    write(
        dir.path(),
        path,
        "[DEFAULT]\nbanaction = /nix/store/dddd-my-firewall-2/bin/ban\n",
    );
    refused(
        dir.path(),
        &[
            "etc/fail2ban/jail.d/site.local, line 2",
            "dddd-my-firewall-2/bin/ban",
        ],
    );
}

#[test]
fn a_dangling_link_is_refused() {
    let dir = nixos();
    link(
        dir.path(),
        "etc/nginx/fmd-stack/extra.conf",
        "/nix/store/eeee-extra/extra.conf",
    );
    refused(
        dir.path(),
        &["etc/nginx/fmd-stack/extra.conf is a link to /nix/store/eeee-extra"],
    );
}

#[test]
fn a_folder_without_a_service_is_refused() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    refused(empty.path(), &["no folder etc/ in it"]);
    let dir = nixos();
    fs::remove_dir_all(dir.path().join("etc/fail2ban")).expect("it was there");
    refused(dir.path(), &["no etc/fail2ban in it"]);
}

#[test]
fn what_the_daemons_refuse_is_quoted() {
    let dir = nixos();
    write(
        dir.path(),
        "etc/nginx/fmd-stack/real-ip.conf",
        "set_real_ip_from nonsense;\n",
    );
    refused(dir.path(), &["starting nginx", "real-ip.conf", "nonsense"]);
    let dir = nixos();
    write(
        dir.path(),
        "etc/fail2ban/jail.d/site.local",
        "[fmd-server]\nmaxretry = 50%\n",
    );
    refused(dir.path(), &["starting fail2ban"]);
}
