//! However a run ends, no process, mount, namespace or file of it stays.

mod support;

use std::time::Duration;

use nix::sys::signal::Signal;
use support::descendants::{descendants, left_after};
use support::kept::Kept;

const WITHIN: Duration = Duration::from_secs(3);

fn start() -> Kept {
    Kept::start("namespaces")
}

fn end_by(mut kept: Kept, signal: Signal) {
    let family = descendants(kept.pid());
    assert!(
        family.len() > 6,
        "a stack has more processes than {family:?}"
    );
    kept.end(signal);
    let left = left_after(&family, WITHIN);
    assert!(
        left.is_empty(),
        "still running {WITHIN:?} after the end: {left:?}"
    );
    let files = kept.files();
    assert!(files.is_empty(), "files were left behind: {files:?}");
}

#[test]
fn ctrl_c() {
    end_by(start(), Signal::SIGINT);
}

#[test]
fn sigterm() {
    end_by(start(), Signal::SIGTERM);
}

#[test]
fn sigkill() {
    end_by(start(), Signal::SIGKILL);
}

#[test]
fn two_runs_at_once() {
    let first = start();
    let second = start();
    end_by(second, Signal::SIGTERM);
    // The first is untouched by the second's end.
    assert!(
        descendants(first.pid()).len() > 6,
        "the first stack has lost processes"
    );
    end_by(first, Signal::SIGINT);
}
