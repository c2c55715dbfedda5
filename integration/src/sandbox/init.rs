//! PID 1 of a sandbox: does its job, collects orphans, and ends with its standard input.

use std::io::{BufRead, Read};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::sethostname;

use super::opener::say;
use super::protocol::{Job, Machine, Message};
use super::{mounts, network};

/// Runs init.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Message::Failed {
                error: format!("{error:#}"),
            });
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("asking to die with the opener")?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("reading the job")?;
    match serde_json::from_str(&line).context("understanding the job")? {
        Job::Command { argv } => command(&argv)?,
        Job::Machine(machine) => become_machine(&machine)?,
    }
    collect_orphans()?;
    say(&Message::Done);
    wait_for_the_end()
}

fn command(argv: &[String]) -> Result<()> {
    let (program, args) = argv.split_first().context("an empty command")?;
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {program}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`{}`: {}: {}",
        argv.join(" "),
        output.status,
        stderr.trim()
    );
    Ok(())
}

fn become_machine(machine: &Machine) -> Result<()> {
    mounts::set_up(machine).context("mounting the root filesystem")?;
    sethostname(&machine.host_name).context("setting the host name")?;
    network::set_up(machine.server.as_ref()).context("setting up the network")
}

/// Starts a thread that waits for processes whose parents are gone, as PID 1 has to.
fn collect_orphans() -> Result<()> {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block().context("blocking SIGCHLD")?;
    std::thread::spawn(move || {
        while children.wait().is_ok() {
            while ended_child() {}
        }
    });
    Ok(())
}

fn ended_child() -> bool {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => false,
        Ok(_) | Err(Errno::EINTR) => true,
        Err(_) => false,
    }
}

/// Blocks until the suite closes its end of the pipe, by will or by dying.
fn wait_for_the_end() -> Result<()> {
    let mut rest = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut rest)
        .context("waiting for the end")?;
    Ok(())
}
