//! Wrong usage and unfit surroundings: exit status 2 and an error that names cause and way out.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::{assert_unusable, run, said, suite};

#[test]
fn unknown_scenario_lists_the_near_ones() {
    let output = run(&["test", "--scenario", "brute-fource"]);
    assert_unusable(&output, &["brute-fource", "brute-force", "--list"]);
}

#[test]
fn unknown_fault() {
    let output = run(&["test", "--scenario", "unban", "--fault", "no-such-fault"]);
    assert_unusable(&output, &["no such fault"]);
}

#[test]
fn unknown_testbed() {
    assert_unusable(&run(&["demo", "--testbed", "namespace"]), &["namespaces"]);
}

#[test]
fn compose_file_for_another_testbed() {
    for testbed in ["namespaces", "vm"] {
        let output = run(&["demo", "--testbed", testbed, "--compose", "compose.yaml"]);
        assert_unusable(&output, &["--compose", testbed, "--testbed containers"]);
    }
}

#[test]
fn fmd_server_that_is_missing() {
    let output = run(&[
        "demo",
        "--testbed",
        "namespaces",
        "--fmd-server",
        "/no/such/program",
    ]);
    assert_unusable(&output, &["/no/such/program", "no such program"]);
}

#[test]
fn fmd_server_that_is_no_program() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let output = run(&["test", "--testbed", "namespaces", "--fmd-server", path]);
    assert_unusable(&output, &[path, "not an executable file"]);
}

#[test]
fn a_service_that_dies_at_start_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("fmd-server");
    fs::write(
        &program,
        "#!/bin/sh\necho 'the database is on fire' >&2\nexit 1\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = program.to_str().unwrap();
    let output = run(&["demo", "--testbed", "namespaces", "--fmd-server", path]);
    assert_unusable(
        &output,
        &["fmd-server ended while starting", "the database is on fire"],
    );
}

#[test]
fn rendered_folder_without_etc() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let output = run(&[
        "test",
        "--testbed",
        "namespaces",
        "--rendered",
        path,
        "--scenario",
        "unban",
    ]);
    let text = said(&output);
    assert!(
        !output.status.success() && text.contains("no folder etc/"),
        "{text}"
    );
}

#[test]
fn no_place_for_the_cache() {
    let mut command = suite(&["demo", "--testbed", "namespaces"]);
    command
        .env_remove("HOME")
        .env_remove("XDG_CACHE_HOME")
        .env_remove("FMD_STACK_CACHE");
    assert_unusable(
        &command.output().unwrap(),
        &["XDG_CACHE_HOME", "FMD_STACK_CACHE"],
    );
}

#[test]
fn no_mmdebstrap_and_no_installing() {
    let cache = tempfile::tempdir().unwrap();
    // In a mount namespace of its own, where mmdebstrap is no program.
    let hide = r#"p=$(command -v mmdebstrap) && mount --bind /dev/null "$p"; exec "$@""#;
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-uc",
        hide,
        "sh",
    ]);
    command.args([
        env!("CARGO_BIN_EXE_fmd-stack"),
        "demo",
        "--testbed",
        "namespaces",
    ]);
    command
        .env("FMD_STACK_CACHE", cache.path())
        .env("FMD_STACK_NO_INSTALL", "1");
    let output = command.output().unwrap();
    assert_unusable(
        &output,
        &["mmdebstrap", "FMD_STACK_NO_INSTALL", "sudo apt-get install"],
    );
    assert_only_locks(cache.path());
}

#[test]
fn a_disk_that_is_full_while_bootstrapping() {
    let cache = tempfile::tempdir().unwrap();
    // No file may grow beyond 5 MB: what a full disk does, without filling one.
    let script = r#"ulimit -f 10240; exec "$@""#;
    let mut command = Command::new("sh");
    command.args(["-uc", script, "sh", env!("CARGO_BIN_EXE_fmd-stack")]);
    command
        .args(["demo", "--testbed", "namespaces"])
        .env("FMD_STACK_CACHE", cache.path());
    let output = command.output().unwrap();
    assert_unusable(&output, &["mmdebstrap failed", "600 MB"]);
    assert_only_locks(cache.path());
}

#[test]
fn user_namespaces_forbidden() {
    let mut command = support::without_user_namespaces(&["demo", "--testbed", "namespaces"]);
    let words = [
        "/proc/sys/user/max_user_namespaces is 0",
        "sysctl -w user.max_user_namespaces",
    ];
    assert_unusable(&command.output().unwrap(), &words);
}

#[track_caller]
fn assert_only_locks(cache: &Path) {
    let names = fs::read_dir(cache)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names
        .filter(|name| !name.to_string_lossy().ends_with(".lock"))
        .collect();
    assert!(left.is_empty(), "left in the cache: {left:?}");
}
