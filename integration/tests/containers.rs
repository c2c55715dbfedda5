//! The containers testbed in bad surroundings, and what it leaves behind: nothing.
//!
//! Where no container engine answers, only the tests that need none run, unless
//! `FMD_STACK_REQUIRE_TESTBEDS` names `containers`: then the others fail.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{run, said, suite};

type Check = fn() -> Result<(), Failed>;

const WITHOUT_ENGINE: [(&str, Check); 6] = [
    ("no_engine", no_engine),
    ("no_permission", no_permission),
    ("engine_too_old", engine_too_old),
    ("something_else_on_the_socket", something_else_on_the_socket),
    ("neither_testbed", neither_testbed),
    ("compose_file_missing", compose_file_missing),
];

const WITH_ENGINE: [(&str, Check); 10] = [
    ("compose_unknown_key", compose_unknown_key),
    ("compose_broken_yaml", compose_broken_yaml),
    ("port_taken", port_taken),
    ("no_image_and_no_registry", no_image_and_no_registry),
    ("full_disk", full_disk),
    ("service_that_dies", service_that_dies),
    ("ctrl_c", || ended_by(Signal::SIGINT)),
    ("sigterm", || ended_by(Signal::SIGTERM)),
    ("sigkill", || ended_by(Signal::SIGKILL)),
    ("sweep_spares_the_living", sweep_spares_the_living),
];

fn main() {
    let mut arguments = Arguments::from_args();
    // Stacks of four containers each: more at once would only wait for each other.
    arguments.test_threads.get_or_insert(2);
    let trial = |(name, check): (&'static str, Check)| Trial::test(name, check);
    let mut trials: Vec<_> = WITHOUT_ENGINE.into_iter().map(trial).collect();
    let required = std::env::var("FMD_STACK_REQUIRE_TESTBEDS").unwrap_or_default();
    if docker(&["version"]).is_ok() || required.split(',').any(|name| name == "containers") {
        trials.extend(WITH_ENGINE.into_iter().map(trial));
    } else {
        eprintln!("No container engine answers: what needs one is left out.");
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn check(holds: bool, said: impl Into<String>) -> Result<(), Failed> {
    if holds {
        Ok(())
    } else {
        Err(said.into().into())
    }
}

fn unusable(output: &Output, words: &[&str]) -> Result<(), Failed> {
    let text = said(output);
    check(
        output.status.code() == Some(2),
        format!("exit status 2 expected: {text}"),
    )?;
    words
        .iter()
        .try_for_each(|word| check(text.contains(word), format!("{word:?} is not in: {text}")))
}

/// `demo` on this testbed, with more arguments.
fn demo(args: &[&str]) -> Command {
    let mut command = suite(&["demo", "--testbed", "containers"]);
    command.args(args);
    command
}

fn no_engine() -> Result<(), Failed> {
    let output = demo(&[])
        .env("DOCKER_HOST", "unix:///no/such/engine.sock")
        .output()?;
    unusable(
        &output,
        &[
            "no container engine",
            "/no/such/engine.sock",
            "DOCKER_HOST",
            "--testbed namespaces",
        ],
    )
}

fn no_permission() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("engine.sock");
    let _engine = UnixListener::bind(&socket)?;
    let host = format!("unix://{}", socket.display());
    // Neither root's rights nor an owner's: an ordinary user before somebody else's socket.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    if !nix::unistd::getuid().is_root() {
        command = Command::new("env");
        fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o000))?;
    } else {
        fs::set_permissions(
            dir.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o660))?;
    }
    let copy = dir.path().join("fmd-stack");
    fs::copy(env!("CARGO_BIN_EXE_fmd-stack"), &copy)?;
    command
        .arg(copy)
        .args(["demo", "--testbed", "containers"])
        .env("DOCKER_HOST", host);
    unusable(
        &command.output()?,
        &["no permission", "engine.sock", "group"],
    )
}

/// An engine that answers every request with this.
fn engine_that_says(answer: &'static str) -> Result<(tempfile::TempDir, String), Failed> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("engine.sock");
    let engine = UnixListener::bind(&socket)?;
    std::thread::spawn(move || {
        for mut stream in engine.incoming().flatten() {
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok_and(|length| length > 0) {
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}",
                    answer.len()
                );
            }
        }
    });
    Ok((dir, format!("unix://{}", socket.display())))
}

fn engine_too_old() -> Result<(), Failed> {
    let (_dir, host) = engine_that_says(r#"{"Version":"19.03.15","ApiVersion":"1.40"}"#)?;
    let output = demo(&[]).env("DOCKER_HOST", host).output()?;
    unusable(&output, &["too old", "19.03.15", "20.10"])
}

fn something_else_on_the_socket() -> Result<(), Failed> {
    let (_dir, host) = engine_that_says("I make coffee")?;
    unusable(
        &demo(&[]).env("DOCKER_HOST", host).output()?,
        &["no container engine answers"],
    )
}

fn neither_testbed() -> Result<(), Failed> {
    let script = r#"echo 0 >/proc/sys/user/max_user_namespaces; exec "$@""#;
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount-proc",
        "--pid",
        "--fork",
        "sh",
        "-uc",
        script,
        "sh",
    ]);
    command
        .args([env!("CARGO_BIN_EXE_fmd-stack"), "demo"])
        .env("DOCKER_HOST", "unix:///no/such/engine.sock");
    unusable(
        &command.output()?,
        &[
            "neither testbed",
            "max_user_namespaces",
            "no container engine",
        ],
    )
}

fn compose_file_missing() -> Result<(), Failed> {
    let (_dir, host) = engine_that_says(r#"{"Version":"24.0","ApiVersion":"1.43"}"#)?;
    let output = demo(&["--compose", "/no/such/compose.yaml"])
        .env("DOCKER_HOST", host)
        .output()?;
    check(output.status.code() == Some(2), said(&output))
}

/// The shipped compose file, changed.
fn compose(find: &str, with: &str) -> Result<(tempfile::TempDir, String), Failed> {
    let shipped = include_str!("../../containers/compose.yaml");
    check(
        shipped.contains(find),
        format!("{find:?} is not in the compose file"),
    )?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("compose.yaml");
    fs::write(&path, shipped.replacen(find, with, 1))?;
    let path = path.to_string_lossy().into_owned();
    Ok((dir, path))
}

fn compose_unknown_key() -> Result<(), Failed> {
    let (_dir, path) = compose(
        "  nginx:\n    <<: *service\n",
        "  nginx:\n    <<: *service\n    privileged: true\n",
    )?;
    let line = 1 + include_str!("../../containers/compose.yaml")
        .lines()
        .position(|line| line == "  nginx:")
        .ok_or("no service nginx")?;
    // The parser names the line on which the mapping with the unknown key begins, or the key's own.
    let output = run(&["demo", "--testbed", "containers", "--compose", &path]);
    unusable(
        &output,
        &[
            "unknown field `privileged`",
            &format!("{path}:{}", line + 2),
        ],
    )
}

fn compose_broken_yaml() -> Result<(), Failed> {
    let (_dir, path) = compose("services:\n", "services: [\n")?;
    unusable(
        &run(&["demo", "--testbed", "containers", "--compose", &path]),
        &[&format!("{path}:")],
    )
}

fn port_taken() -> Result<(), Failed> {
    let taken = TcpListener::bind("0.0.0.0:0")?;
    let port = taken.local_addr()?.port().to_string();
    let output = demo(&[]).env("FMD_HTTP_PORT", &port).output()?;
    unusable(&output, &[&port, "The port is taken", "FMD_HTTP_PORT"])
}

fn no_image_and_no_registry() -> Result<(), Failed> {
    // .invalid never resolves (RFC 2606).
    let (_dir, path) = compose("registry.gitlab.com/", "registry.invalid/")?;
    let output = run(&[
        "demo",
        "--testbed",
        "containers",
        "--fmd-server",
        "upstream",
        "--compose",
        &path,
    ]);
    unusable(&output, &["registry.invalid", "is not here", "docker load"])
}

fn full_disk() -> Result<(), Failed> {
    // A temporary folder without room, in a mount namespace of its own.
    let dir = tempfile::tempdir()?;
    let script = r#"mount -t tmpfs -o size=4k,nr_inodes=8 tmpfs "$1"; shift; exec "$@""#;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-euc", script, "sh"])
        .arg(dir.path());
    command
        .args([
            env!("CARGO_BIN_EXE_fmd-stack"),
            "demo",
            "--testbed",
            "containers",
        ])
        .env("TMPDIR", dir.path());
    unusable(
        &command.output()?,
        &["No space left on device", "fmd-stack-run-"],
    )
}

fn service_that_dies() -> Result<(), Failed> {
    let (_dir, path) = compose("user: \"33:65532\"", "user: \"12345:65532\"")?;
    let output = run(&["demo", "--testbed", "containers", "--compose", &path]);
    unusable(
        &output,
        &[
            "nginx ended while starting",
            "last lines",
            "ermission denied",
        ],
    )
}

/// A demo that stays up, and the names of its containers.
struct Kept {
    child: Child,
    run: String,
}

impl Kept {
    fn start() -> Result<Self, Failed> {
        let mut child = demo(&["--keep"]).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut run = None;
        for line in output.lines() {
            let line = line?;
            if let Some(name) = line
                .split_whitespace()
                .find(|word| word.starts_with("fmd-stack-demo-"))
            {
                run = name.split('-').nth(3).map(str::to_owned);
            }
            if line.contains("Ctrl-C ends it") {
                let run = run.ok_or("the demo names no container")?;
                return Ok(Self { child, run });
            }
        }
        Err("the demo ended before it stayed up".into())
    }

    fn left(&self) -> Result<Vec<String>, Failed> {
        let filter = format!("label=fmd-stack.run=demo-{}", self.run);
        let mut left = Vec::new();
        for list in [&["ps", "-a"][..], &["network", "ls"], &["volume", "ls"]] {
            let mut args = list.to_vec();
            args.extend(["-q", "--filter", &filter]);
            left.extend(docker(&args)?.split_whitespace().map(str::to_owned));
        }
        Ok(left)
    }

    fn end(mut self, signal: Signal) -> Result<(), Failed> {
        check(
            self.left()?.len() >= 4,
            "a stack has at least four containers",
        )?;
        kill(Pid::from_raw(self.child.id().try_into()?), signal)?;
        self.child.wait()?;
        let end = Instant::now() + Duration::from_secs(WITHIN_SECONDS);
        while !self.left()?.is_empty() {
            check(
                Instant::now() < end,
                format!("left behind after {signal}: {:?}", self.left()?),
            )?;
        }
        Ok(())
    }
}

/// The goal is 3 s on an idle machine (`docs/reference/testbed-containers.md`, benchmark); a test that
/// runs beside others only makes sure that nothing stays.
const WITHIN_SECONDS: u64 = 20;

fn ended_by(signal: Signal) -> Result<(), Failed> {
    Kept::start()?.end(signal)
}

fn sweep_spares_the_living() -> Result<(), Failed> {
    let first = Kept::start()?;
    let second = Kept::start()?;
    second.end(Signal::SIGKILL)?;
    let listed = run(&[
        "test",
        "--testbed",
        "containers",
        "--scenario",
        "below-threshold",
    ]);
    check(listed.status.success(), said(&listed))?;
    check(
        first.left()?.len() >= 4,
        "another run removed a stack that was in use",
    )?;
    first.end(Signal::SIGINT)
}

fn docker(args: &[&str]) -> Result<String, Failed> {
    let output = Command::new("docker").args(args).output()?;
    check(output.status.success(), said(&output))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
