//! However a run ends, nothing of it stays in the engine.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::engine::{WITHIN, anonymous, assert_nothing_left, docker, left_by};
use crate::support::kept::{Kept, send};
use crate::support::{after_mounting, run, said, suite};

/// Containers, networks and volumes of a demo.
const STACK: usize = 4;

fn start() -> Kept {
    let kept = Kept::start("containers");
    let made = left_by(kept.pid());
    assert!(made.len() > STACK, "a stack is more than {made:?}");
    kept
}

fn ends_by(signal: Signal) {
    let mut kept = start();
    kept.end(signal);
    wait_until(|| left_by(kept.pid()).is_empty());
    assert_nothing_left(kept.pid());
    wait_until(|| kept.files().is_empty());
    let files = kept.files();
    assert!(files.is_empty(), "files were left behind: {files:?}");
}

/// Waits until something holds, or it is too late for it.
fn wait_until(holds: impl Fn() -> bool) {
    let end = Instant::now() + WITHIN;
    while !holds() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ends a demo while it builds an image, once a step of it is done.
fn ends_while_building(signal: Signal) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("fmd-server");
    fs::copy(env!("CARGO_BIN_EXE_fmd-stack"), &program).unwrap();
    // Its own bytes, so that no image of it is there yet.
    let mut file = fs::File::options().append(true).open(&program).unwrap();
    writeln!(file, "{}", dir.path().display()).unwrap();
    drop(file);
    let mut demo = suite(&["demo", "--testbed", "containers", "--fmd-server"]);
    let mut demo = demo.arg(&program).spawn().unwrap();
    // Before it builds it may have to wait for the janitor of one that was ended before.
    let late = Instant::now() + 4 * WITHIN;
    let mut seen = false;
    while !seen && demo.try_wait().unwrap().is_none() && Instant::now() < late {
        seen = !anonymous().is_empty();
    }
    assert!(seen, "no step of a build was seen");
    send(demo.id(), signal);
    demo.wait().unwrap();
    wait_until(|| anonymous().is_empty());
    assert_nothing_left(demo.id());
}

/// One after the other: steps that are seen have to be of the one that is ended.
pub fn ended_while_building() {
    ends_while_building(Signal::SIGINT);
    ends_while_building(Signal::SIGKILL);
}

pub fn ctrl_c() {
    ends_by(Signal::SIGINT);
}

pub fn sigterm() {
    ends_by(Signal::SIGTERM);
}

pub fn sigkill() {
    ends_by(Signal::SIGKILL);
}

/// The demo panics in the midst of its story: its output is full, and it can't complain of that
/// either.
pub fn panic() {
    let dir = tempfile::tempdir().unwrap();
    // Room for "Starting" and not for "Ready", with the stack up in between.
    let script = r#"
mount -t tmpfs -o size=4k tmpfs "$1"
head -c 3980 /dev/zero >"$1/output"
exec >>"$1/output" 2>/dev/full"#;
    let mut demo = after_mounting(script, dir.path(), &["demo", "--testbed", "containers"]);
    let mut child = demo.spawn().unwrap();
    let most = watch(&mut child);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(101), "no panic: {status}");
    assert!(most > STACK, "the panic came before the stack was up");
    wait_until(|| left_by(child.id()).is_empty());
    assert_nothing_left(child.id());
}

/// Waits for the end of a process and returns the most that it had in the engine.
fn watch(child: &mut std::process::Child) -> usize {
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(left_by(child.id()).len());
    }
    most
}

/// Runs a scenario, and with it the sweep before it.
fn run_a_scenario() {
    let args = ["test", "--testbed", "containers", "--scenario"];
    let output = run(&[&args[..], &["below-threshold"]].concat());
    assert!(output.status.success(), "{}", said(&output));
}

pub fn sweep_spares_the_living() {
    let first = start();
    run_a_scenario();
    let left = left_by(first.pid());
    assert!(
        left.len() > STACK,
        "of a stack in use only {left:?} is left"
    );
}

/// Neither the suite nor its janitor could clean up, so the next run does; and never removes what
/// somebody else has made, even with a label of the same name.
pub fn sweep_after_all_were_killed() {
    let mut killed = start();
    let stranger = Stranger::beside(&killed);
    for janitor in children(killed.pid()) {
        send(janitor, Signal::SIGKILL);
    }
    killed.end(Signal::SIGKILL);
    let left = left_by(killed.pid());
    assert!(left.len() > STACK, "something has cleaned up: {left:?}");
    run_a_scenario();
    assert_nothing_left(killed.pid());
    assert!(stranger.is_there(), "somebody else's container was removed");
}

/// A container of somebody else.
struct Stranger(String);

impl Stranger {
    fn beside(kept: &Kept) -> Self {
        let container = left_by(kept.pid());
        let container = container.iter().find_map(|line| line.rsplit(' ').next());
        let image = docker(&["inspect", "--format", "{{.Image}}", container.unwrap()]);
        let label = ["--label", "fmd-stack.owner=somebody else"];
        let create = [&["create"][..], &label, &[image.trim(), "true"]].concat();
        Self(docker(&create).trim().to_owned())
    }

    fn is_there(&self) -> bool {
        docker(&["ps", "--all", "--quiet", "--no-trunc"]).contains(&self.0)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        docker(&["rm", "--force", &self.0]);
    }
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).unwrap();
    let lists =
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap());
    lists
        .flat_map(|list| {
            let pids = list.split_whitespace().map(|pid| pid.parse().unwrap());
            pids.collect::<Vec<_>>()
        })
        .collect()
}
