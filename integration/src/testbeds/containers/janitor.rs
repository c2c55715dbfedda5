//! A process that cleans up when this one can't any more.
//!
//! Whatever ends the suite, Ctrl-C, SIGTERM, a panic, SIGKILL, closes the pipe on which the janitor
//! waits; it then removes everything its parent made. A signal handler could not do that after
//! SIGKILL, and testcontainers' watchdog knows neither networks nor volumes and waits 10 s for each
//! container.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, ExitCode, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

use super::build;
use super::engine;
use super::owner::Owner;
use super::project;
use super::sweep::{self, Mark};

/// The word by which the suite's binary becomes a janitor; the owner's label follows.
pub const JANITOR: &str = "janitor";

/// A request that was under way is carried out within this time.
const LOOK_FOR: Duration = Duration::from_secs(1);

/// A step of a build that was under way is finished within this time.
const LOOK_FOR_IMAGES: Duration = Duration::from_secs(5);

/// In place of a run's name, while images are built.
pub const IMAGES: &str = "images";

/// Distance between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The way to the janitor of this process; it stays open for as long as the process lives.
static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// Starts the janitor of this process unless there is one.
pub fn hire() -> Result<()> {
    static HIRING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = HIRING.lock();
    if PIPE.get().is_some() {
        return Ok(());
    }
    let program = std::env::current_exe().context("finding the suite's own binary")?;
    let mut child = Command::new(program)
        .args([JANITOR, &Owner::this()?.label()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // A group of its own: Ctrl-C at a terminal reaches whole groups.
        .process_group(0)
        .spawn()
        .context("starting the janitor")?;
    let pipe = child
        .stdin
        .take()
        .context("the janitor has no standard input")?;
    let _ = PIPE.set(Mutex::new(pipe));
    Ok(())
}

/// What the janitor is told, a word and the name of a run in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Something is about to be made for the run.
    Begun,
    /// All of the run has been removed.
    Ended,
    /// The run is over and the janitor is to remove it.
    Abandoned,
}

const WORDS: [(&str, Word); 3] = [
    ("begun", Word::Begun),
    ("ended", Word::Ended),
    ("abandoned", Word::Abandoned),
];

/// Tells the janitor that a run begins.
pub fn begin(run: &str) {
    tell(Word::Begun, run);
}

/// Tells the janitor that nothing of a run is left.
pub fn end(run: &str) {
    tell(Word::Ended, run);
}

/// Has the janitor remove a run, without waiting for it.
pub fn abandon(run: &str) {
    tell(Word::Abandoned, run);
}

fn tell(word: Word, run: &str) {
    let text = WORDS.iter().find(|known| known.1 == word);
    if let (Some(Ok(mut pipe)), Some((text, _))) = (PIPE.get().map(Mutex::lock), text) {
        // A janitor that is gone is what the sweep at the next start is for.
        let _ = writeln!(pipe, "{text} {run}");
    }
}

/// The janitor's own life: runs to remove, and at the end all that is left.
pub fn main(owner: &str) -> ExitCode {
    match clean(owner) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &anyhow::Error) {
    eprintln!("fmd-stack: cleaning up: {error:#}");
}

/// What is meant for the suite must not end its janitor.
fn block_signals() -> Result<()> {
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().context("blocking signals")
}

/// Removes runs as it is told, and when the suite has ended what it has not ended itself. False when
/// something could not be removed: that is told, and the rest goes on.
fn clean(owner: &str) -> Result<bool> {
    block_signals()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let mut open = BTreeSet::new();
    let mut well = true;
    // A pipe that can't be read any more is one that has been closed.
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Some((word, run)) = parse(&line) else {
            continue;
        };
        match word {
            Word::Begun => drop(open.insert(run.to_owned())),
            Word::Ended => drop(open.remove(run)),
            Word::Abandoned => match runtime.block_on(remove(run)) {
                Ok(()) => drop(open.remove(run)),
                Err(error) => {
                    complain(&error);
                    well = false;
                }
            },
        }
    }
    // Where every run has ended by itself nothing is under way that is worth a wait.
    let was_building = open.remove(IMAGES);
    let mut last = Vec::new();
    if !open.is_empty() {
        last.push(runtime.block_on(last_pass(owner)));
    }
    if was_building {
        last.push(runtime.block_on(last_images()));
    }
    for error in last.into_iter().filter_map(Result::err) {
        complain(&error);
        well = false;
    }
    if let Some(owner) = Owner::parse(owner) {
        project::remove_all(&owner);
    }
    Ok(well)
}

fn parse(line: &str) -> Option<(Word, &str)> {
    let (text, run) = line.split_once(' ')?;
    let (_, word) = WORDS.iter().find(|known| known.0 == text)?;
    Some((*word, run))
}

async fn remove(run: &str) -> Result<()> {
    sweep::remove(&engine::connect().await?, &Mark::run(run)).await?;
    project::remove(run);
    Ok(())
}

/// Looks for a while: the engine may still have been making something when the suite ended.
async fn last_pass(owner: &str) -> Result<()> {
    let docker = engine::connect().await?;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let end = Instant::now() + LOOK_FOR;
    while Instant::now() < end {
        ticks.tick().await;
        sweep::remove(&docker, &Mark::owner(owner)).await?;
    }
    Ok(())
}

/// The same for images: an engine that has lost who asked for a build finishes its step. Another
/// process that builds meanwhile removes what it finds, so nothing waits for it here.
async fn last_images() -> Result<()> {
    let docker = engine::connect().await?;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let end = Instant::now() + LOOK_FOR_IMAGES;
    let mut lock = None;
    while Instant::now() < end {
        ticks.tick().await;
        lock = lock.or_else(build::lock_if_free);
        if lock.is_some() {
            build::remove_anonymous(&docker).await?;
        }
    }
    Ok(())
}
