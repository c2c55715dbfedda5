//! How long it takes until nothing is left of a demo that is ended.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fmd_stack::testbeds::Kind;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Options, demo_binary};

/// The ways to end a demo, as the rows are called.
pub const SIGNALS: [(&str, Signal); 2] = [
    ("Ctrl-C to nothing left", Signal::SIGINT),
    ("SIGKILL to nothing left", Signal::SIGKILL),
];

/// What takes longer than this is left for good.
const WITHIN: Duration = Duration::from_secs(60);

/// Starts a demo that stays up, ends it, and returns the seconds until nothing of it is there.
pub fn measure(options: &Options, signal: Signal) -> Result<f64> {
    let temporary = tempfile::tempdir().context("making a temporary folder")?;
    let mut demo = demo_binary()
        .args(["demo", "--keep", "--testbed", &options.testbed.to_string()])
        .args(&options.demo)
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the demo")?;
    let output = BufReader::new(demo.stdout.take().context("no output")?);
    let mut lines = output.lines();
    let up = lines.any(|line| line.is_ok_and(|line| line.contains("Ctrl-C ends it")));
    ensure!(up, "the demo did not stay up");
    let processes = descendants(demo.id());
    let began = Instant::now();
    kill(Pid::from_raw(demo.id().try_into()?), signal).context("ending the demo")?;
    demo.wait().context("waiting for the demo")?;
    loop {
        let gone = processes.iter().all(|pid| !is_there(*pid))
            && fs::read_dir(temporary.path())?.next().is_none()
            && (options.testbed != Kind::Containers || in_engine(demo.id())? == 0);
        let took = began.elapsed();
        if gone {
            return Ok(took.as_secs_f64());
        }
        if took > WITHIN {
            bail!("{signal}: something of the demo is still there after {took:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The process with all that it has started.
fn descendants(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        all.extend(children.flat_map(descendants));
    }
    all
}

fn is_there(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

/// How many containers, networks and volumes a process has in the engine.
fn in_engine(pid: u32) -> Result<usize> {
    let mut count = 0;
    for list in [&["ps", "--all"][..], &["network", "ls"], &["volume", "ls"]] {
        let filter = ["--filter", "label=fmd-stack.owner", "--format"];
        let format = "{{.Label \"fmd-stack.owner\"}}";
        let output = Command::new("docker")
            .args(list)
            .args(filter)
            .arg(format)
            .output();
        let output = output.context("looking into the engine with the program `docker`")?;
        ensure!(
            output.status.success(),
            "docker {list:?}: {}",
            output.status
        );
        let text = String::from_utf8_lossy(&output.stdout);
        // The label ends in the process's number and its start time.
        let made_by = |line: &&str| line.rsplit(' ').nth(1) == Some(&pid.to_string());
        count += text.lines().filter(made_by).count();
    }
    Ok(count)
}
