//! Surroundings and compose files with which nothing can be tried: an error each, exit status 2.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::engine::assert_nothing_left;
use crate::support::{after_mounting, assert_unusable, suite, without_user_namespaces};

const NO_ENGINE: &str = "unix:///no/such/engine.sock";

/// `demo` on this testbed, with more arguments.
fn demo(args: &[&str]) -> Command {
    let mut command = suite(&["demo", "--testbed", "containers"]);
    command.args(args);
    command
}

/// The output of a run, of which nothing may be left in the engine.
#[track_caller]
fn without_a_trace(mut command: Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_nothing_left(pid);
    output
}

pub fn no_engine() {
    let output = demo(&[]).env("DOCKER_HOST", NO_ENGINE).output().unwrap();
    let words = [
        "no container engine",
        "/no/such/engine.sock",
        "DOCKER_HOST",
        "--testbed namespaces",
    ];
    assert_unusable(&output, &words);
}

pub fn no_permission() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let _engine = UnixListener::bind(&socket).unwrap();
    let mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    // Neither root's rights nor an owner's: an ordinary user before somebody else's socket.
    let mut command = if nix::unistd::getuid().is_root() {
        mode(dir.path(), 0o755);
        mode(&socket, 0o660);
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command
    } else {
        mode(&socket, 0o000);
        Command::new("env")
    };
    let copy = dir.path().join("fmd-stack");
    fs::copy(env!("CARGO_BIN_EXE_fmd-stack"), &copy).unwrap();
    command
        .arg(copy)
        .args(["demo", "--testbed", "containers"])
        .env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let words = ["no permission", "engine.sock", "group"];
    assert_unusable(&command.output().unwrap(), &words);
}

/// An engine that answers every request with this.
fn engine_that_says(answer: &'static str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let engine = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in engine.incoming().flatten() {
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok_and(|length| length > 0) {
                let length = answer.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                let _ = stream.write_all(format!("{head}{answer}").as_bytes());
            }
        }
    });
    (dir, format!("unix://{}", socket.display()))
}

pub fn engine_too_old() {
    let (_dir, host) = engine_that_says(r#"{"Version":"19.03.15","ApiVersion":"1.40"}"#);
    let output = demo(&[]).env("DOCKER_HOST", host).output().unwrap();
    assert_unusable(&output, &["too old", "19.03.15", "20.10"]);
}

pub fn something_else_on_the_socket() {
    let (_dir, host) = engine_that_says("I make coffee");
    let output = demo(&[]).env("DOCKER_HOST", host).output().unwrap();
    assert_unusable(&output, &["no container engine answers"]);
}

pub fn neither_testbed() {
    let mut command = without_user_namespaces(&["demo"]);
    let output = command.env("DOCKER_HOST", NO_ENGINE).output().unwrap();
    let words = [
        "neither testbed",
        "max_user_namespaces",
        "no container engine",
    ];
    assert_unusable(&output, &words);
}

/// `demo` with a compose file, where an error in it must be told before an engine is needed.
#[track_caller]
fn assert_refused(path: &str, words: &[&str]) {
    for args in [&["demo"][..], &["demo", "--testbed", "containers"]] {
        let mut command = suite(args);
        command.args(["--compose", path]);
        let output = command.env("DOCKER_HOST", NO_ENGINE).output().unwrap();
        if args.len() > 1 {
            assert_unusable(&output, words);
        } else {
            // Without --testbed the file stands for containers.
            assert_unusable(&output, &["--compose", "no container engine"]);
        }
    }
}

pub fn compose_file_missing() {
    let path = "/no/such/compose.yaml";
    assert_refused(path, &["reading the compose file", path, "No such file"]);
}

/// The shipped compose file, changed in one place; `line` is the changed line's number.
struct Changed {
    _dir: TempDir,
    path: String,
    line: usize,
}

fn compose(find: &str, with: &str) -> Changed {
    let shipped = include_str!("../../../containers/compose.yaml");
    let at = shipped.find(find);
    let at = at.unwrap_or_else(|| panic!("{find:?} is not in the compose file"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("compose.yaml");
    fs::write(&path, shipped.replacen(find, with, 1)).unwrap();
    Changed {
        path: path.to_string_lossy().into_owned(),
        line: shipped[..at].lines().count() + 1,
        _dir: dir,
    }
}

pub fn compose_unknown_key() {
    let merged = "    <<: *service\n    # localhost: built here";
    let changed = compose(merged, &format!("    privileged: true\n{merged}"));
    let Changed { path, line, .. } = &changed;
    let place = format!("{path}:{line}:");
    assert_refused(path, &["unknown field `privileged`", &place]);
}

pub fn compose_broken_yaml() {
    // No token of YAML begins with a tab.
    let changed = compose("    user: \"33:65532\"", "\tuser: \"33:65532\"");
    let Changed { path, line, .. } = &changed;
    assert_refused(path, &[&format!("{path}:{line}:")]);
}

pub fn port_taken() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = demo(&[]);
    command.env("FMD_HTTP_PORT", &port);
    let words = [&port, "The port is taken", "FMD_HTTP_PORT"];
    assert_unusable(&without_a_trace(command), &words);
}

pub fn no_image_and_no_registry() {
    // .invalid never resolves (RFC 2606).
    let changed = compose("registry.gitlab.com/", "registry.invalid/");
    let args = ["--fmd-server", "upstream", "--compose", &changed.path];
    let words = ["registry.invalid", "is not here", "docker load"];
    assert_unusable(&without_a_trace(demo(&args)), &words);
}

pub fn full_disk() {
    // A temporary folder without room.
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=4k,nr_inodes=8 tmpfs "$1""#;
    let mut command = after_mounting(script, dir.path(), &["demo", "--testbed", "containers"]);
    command.env("TMPDIR", dir.path());
    let words = ["No space left on device", "fmd-stack-run-"];
    assert_unusable(&without_a_trace(command), &words);
}

pub fn service_that_dies() {
    let changed = compose("user: \"33:65532\"", "user: \"12345:65532\"");
    let output = without_a_trace(demo(&["--compose", &changed.path]));
    let words = [
        "nginx ended while starting",
        "last lines",
        "ermission denied",
    ];
    assert_unusable(&output, &words);
}
