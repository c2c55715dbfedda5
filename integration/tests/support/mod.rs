//! What the tests share: the suite's own binary, run as a user runs it.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod deployment;
pub mod descendants;
pub mod family;
pub mod kept;
pub mod nixos;

use std::process::{Command, Output};

/// The suite's binary with these arguments.
pub fn suite(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fmd-stack"));
    command.args(args);
    command
}

/// Runs the suite to its end.
pub fn run(args: &[&str]) -> Output {
    suite(args).output().expect("the suite's binary starts")
}

/// Standard output and error of a run, for a failing test's message.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// Fails unless a run ended with the status for wrong usage and unfit surroundings, in these words.
#[track_caller]
pub fn assert_unusable(output: &Output, words: &[&str]) {
    assert_eq!(output.status.code(), Some(2), "{}", said(output));
    let stderr = String::from_utf8_lossy(&output.stderr);
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
}

/// The suite's binary where user namespaces are forbidden: by a limit of its own user namespace, so
/// that the machine's is not touched.
pub fn without_user_namespaces(args: &[&str]) -> Command {
    let script = r#"echo 0 >/proc/sys/user/max_user_namespaces; exec "$@""#;
    let flags = [
        "--user",
        "--map-root-user",
        "--mount-proc",
        "--pid",
        "--fork",
    ];
    let mut command = Command::new("unshare");
    command.args(flags).args(["sh", "-uc", script, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_fmd-stack")).args(args);
    command
}

/// The suite's binary in a mount namespace of its own, after a script that may mount. `$1` in it is
/// `path`.
pub fn after_mounting(script: &str, path: &std::path::Path, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    if !nix::unistd::getuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = format!("{script}\nshift\nexec \"$@\"");
    command.args(["--mount", "sh", "-euc", &script, "sh"]);
    command.arg(path);
    command.arg(env!("CARGO_BIN_EXE_fmd-stack")).args(args);
    command
}
