//! What the tests share: the suite's own binary, run as a user runs it.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod deployment;

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
