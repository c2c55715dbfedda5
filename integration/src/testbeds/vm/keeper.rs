//! A process of this binary that becomes qemu, bound to the suite's life.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

/// The hidden subcommand; its arguments are the suite's process id and a command line.
pub const KEEPER: &str = "vm-keeper";

/// Becomes the command, which the kernel then kills when the suite dies, by SIGKILL too.
pub fn main() -> ExitCode {
    let error = match become_command() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

fn become_command() -> Result<std::convert::Infallible> {
    // The wish survives exec: see prctl(2), PR_SET_PDEATHSIG.
    set_pdeathsig(Signal::SIGKILL).context("asking to die with the suite")?;
    let mut args = std::env::args_os().skip(2);
    let suite = args.next().context("no process id")?;
    // Dead before the wish was made, it would never be granted.
    ensure!(
        suite.to_str() == Some(&getppid().to_string()),
        "the suite is gone"
    );
    let program = args.next().context("no command")?;
    let error = Command::new(&program).args(args).exec();
    Err(error).with_context(|| format!("running {}", program.to_string_lossy()))
}
