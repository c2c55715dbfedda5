//! `--rendered`: the shipped configuration in the form in which a NixOS machine has it (store paths,
//! links into the store, units, users of other names), and trees that must be refused.

mod support;

use std::fs;
use std::path::Path;

use fmd_stack::testbed::overlay;
use support::nixos::{link, nixos, write};

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
