//! The program itself: its command line, its errors, its end.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use support::{Program, Request, Response, program};

fn run(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs `serve` with a configuration it must refuse; what it says on stderr.
fn refused(yaml: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yml");
    std::fs::write(&file, yaml).unwrap();
    let (file, log) = (file.display().to_string(), dir.path().join("log"));
    let log = log.display().to_string();
    let output = run(&["serve", "--config", &file, "--syslog", &log]);
    assert_eq!(output.status.code(), Some(1));
    text(&output.stderr)
}

#[test]
fn the_version_names_the_embedded_build() {
    let version = text(&run(&["--version"]).stdout);
    assert!(
        version.contains("fmd-embedded") && version.contains("not upstream's"),
        "{version}"
    );
    let version = text(&run(&["version"]).stdout);
    assert!(version.starts_with("0.15.0 (fmd-embedded "), "{version}");
}

#[test]
fn a_command_line_without_sense_exits_with_2() {
    for args in [&[][..], &["sevre"], &["serve", "--db-dri", "x"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn settings_it_cannot_use_are_named_and_exit_with_1() {
    let error = refused("MaxSavedLoc: many\n");
    assert!(
        error.contains("config.yml: MaxSavedLoc: \\\"many\\\""),
        "{error}"
    );
    assert!(refused("ServerCrt: /x.pem\n").contains("nginx terminates TLS here"));
    assert!(refused("UnixSocketPath: /nowhere/x.sock\n").contains("UnixSocketPath"));
    assert!(refused("UnixSocketPath: /etc/passwd\n").contains("is no socket"));
    assert!(refused("DatabaseDir: /proc/nowhere\n").contains("/proc/nowhere"));
    let output = run(&["serve", "--config", "/nowhere.yml"]);
    assert!(text(&output.stderr).contains("/nowhere.yml"));
}

#[test]
fn it_says_at_start_what_it_is_and_that_syslog_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Program::serve(dir, "MaxSavedLocs: 1\n");
    serving.terminate();
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    let stderr = serving.stderr();
    assert!(stderr.contains("build=\"fmd-embedded "), "{stderr}");
    assert!(stderr.contains("unknown key, ignoring it"), "{stderr}");
    assert!(stderr.contains("key=MaxSavedLocs"), "{stderr}");
    assert!(
        !stderr.contains('\x1b'),
        "colour despite NO_COLOR: {stderr}"
    );
    assert!(stderr.contains("INF received signal, stopping server signal=terminated"));
}

#[test]
fn the_socket_has_its_mode_and_is_gone_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("fmd.sock");
    let mut serving = Program::serve(dir, "UnixSocketChmod: 0660\n");
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    serving.terminate();
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_socket_left_by_a_killed_server_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let left = std::os::unix::net::UnixListener::bind(dir.path().join("fmd.sock")).unwrap();
    drop(left);
    let serving = Program::serve(dir, "");
    let version = serving.send(&Request::new("GET", "/version")).unwrap();
    assert_eq!(version.text(), "0.15.0");
}

#[test]
fn a_client_of_the_unix_socket_is_logged_as_an_at_sign() {
    let dir = tempfile::tempdir().unwrap();
    let serving = Program::serve(dir, "");
    let register = Request::new("PUT", "/device").body(r#"{"RequestedUsername":"a"}"#);
    serving.send(&register).unwrap();
    let wrong = Request::new("PUT", "/requestAccess").body(r#"{"IDT":"a","Data":"no"}"#);
    assert_eq!(serving.send(&wrong).unwrap().status, 403);
    let expected = "WRN failed login attempt remoteIp=@ userid=a";
    assert!(serving.stderr().contains(expected), "{}", serving.stderr());
}

#[test]
fn sigterm_lets_open_requests_finish_and_takes_no_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Program::serve(dir, "");
    let request = Request::new("PUT", "/device").body(r#"{"RequestedUsername":"late"}"#);
    let bytes = request.bytes();
    let (first, last) = bytes.split_at(bytes.len() - 5);
    let mut open = serving.connect().unwrap();
    open.write_all(first).unwrap();
    // The server has the request's head once it answers what came after it.
    serving.send(&Request::new("GET", "/version")).unwrap();
    serving.terminate();
    let deadline = std::time::Instant::now() + support::DEADLINE;
    while serving.connect().is_ok() {
        assert!(
            std::time::Instant::now() < deadline,
            "still accepts connections"
        );
        std::thread::yield_now();
    }
    open.write_all(last).unwrap();
    assert_eq!(Response::read(&mut open).status, 200);
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
}

#[test]
fn json_on_stderr_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yml");
    std::fs::write(&file, "ServerKey: /x\n").unwrap();
    let file = file.display().to_string();
    let output = run(&[
        "serve",
        "--config",
        &file,
        "--log-json",
        "--syslog",
        "/nowhere",
    ]);
    let line: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(line["level"], "fatal");
    assert!(text(&output.stdout).starts_with("Failed to connect to syslog: /nowhere: "));
}

#[test]
fn times_are_local_and_variables_override_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let output = program()
        .args([
            "serve",
            "--log-json",
            "--syslog",
            "/nowhere",
            "--config",
            "/nowhere.yml",
        ])
        .env("TZ", "Europe/Berlin")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let line: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let time = line["time"].as_str().unwrap();
    assert!(
        time.ends_with("+01:00") || time.ends_with("+02:00"),
        "{time}"
    );
    let output = program()
        .args(["serve", "--syslog", "/nowhere"])
        .env("FMD_PORTINSECURE", "http")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let stderr = text(&output.stderr);
    assert!(stderr.contains("FMD_PORTINSECURE=\\\"http\\\""), "{stderr}");
}
