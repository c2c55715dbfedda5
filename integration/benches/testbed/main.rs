//! How long a testbed takes to start, to ban and to tell the whole story, and how much memory it
//! needs.
//!
//! ```text
//! cargo bench --bench testbed -- [--testbed NAME] [--runs N] [--first] [-- OPTIONS OF demo]
//! ```
//!
//! Runs `fmd-stack demo --json` as a user does: first `N` times for the clock alone, then
//! three times for memory, since looking at memory costs time (on an engine that starts nothing else
//! meanwhile), and ends some by a signal. Exits with 1 when a demo fails or leaves something. The
//! figures are kept in docs/explanation/figures.md.

mod ending;
mod memory;

use std::ffi::OsString;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fmd_stack::testbeds::Kind;
use memory::Memory;
use serde_json::Value;

const MEMORY_RUNS: usize = 3;

/// Distance between two looks at the memory.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Parser)]
struct Options {
    /// The testbed to measure
    #[arg(long, value_enum, default_value = "namespaces")]
    testbed: Kind,
    /// How many demos to time
    #[arg(long, default_value_t = 11)]
    runs: usize,
    /// Also time a demo with an empty cache (needs Debian's archive)
    #[arg(long)]
    first: bool,
    /// What `cargo bench` itself adds
    #[arg(long, hide = true)]
    bench: bool,
    /// Passed on to `demo`
    #[arg(last = true)]
    demo: Vec<OsString>,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "testbed {}, {cores} cores, load average before: {}",
        options.testbed,
        load.split(' ').take(3).collect::<Vec<_>>().join(" ")
    );
    println!("\n{:38}  median     min     max   runs", "");
    if options.first {
        let cache = tempfile::tempdir().context("making an empty cache")?;
        let story = tell(options, |demo| {
            demo.env("FMD_STACK_CACHE", cache.path());
        })?;
        // The cache's files belong to ids of its own: the suite has to delete them.
        let clean = demo_binary()
            .arg("clean")
            .env("FMD_STACK_CACHE", cache.path())
            .status()
            .context("running clean")?;
        ensure!(clean.success(), "clean: {clean}");
        row("first demo, empty cache", "s", vec![story.wall]);
    }
    tell(options, |_| ())?;
    let stories = (0..options.runs.max(1))
        .map(|_| tell(options, |_| ()))
        .collect::<Result<Vec<_>>>()?;
    let column = |pick: fn(&Story) -> f64| stories.iter().map(pick).collect::<Vec<_>>();
    row("start to ready", "s", column(|story| story.start));
    row(
        "last failure to refused connection",
        "s",
        column(|story| story.refusal),
    );
    row(
        "demo, from command to prompt",
        "s",
        column(|story| story.wall),
    );
    memory(options)?;
    for (name, signal) in ending::SIGNALS {
        let ends = (0..MEMORY_RUNS).map(|_| ending::measure(options, signal));
        row(name, "s", ends.collect::<Result<_>>()?);
    }
    Ok(())
}

/// What one demo took, in seconds.
struct Story {
    start: f64,
    refusal: f64,
    wall: f64,
}

fn demo_binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fmd-stack"))
}

/// Starts a demo that ends in JSON.
fn start(options: &Options, change: impl Fn(&mut Command)) -> Result<Child> {
    let mut demo = demo_binary();
    demo.args(["demo", "--json", "--testbed", &options.testbed.to_string()])
        .args(&options.demo)
        .stdout(Stdio::piped());
    change(&mut demo);
    demo.spawn().context("starting the demo")
}

fn tell(options: &Options, change: impl Fn(&mut Command)) -> Result<Story> {
    let began = Instant::now();
    let output = start(options, change)?
        .wait_with_output()
        .context("waiting for the demo")?;
    let wall = began.elapsed().as_secs_f64();
    ensure!(
        output.status.success(),
        "the demo failed: {}",
        output.status
    );
    let story: Value = serde_json::from_slice(&output.stdout).context("reading the demo's JSON")?;
    let seconds = |key: &str| {
        story[key]
            .as_f64()
            .with_context(|| format!("no {key} in the JSON"))
    };
    Ok(Story {
        start: seconds("start_to_ready_seconds")?,
        refusal: seconds("last_failure_to_refusal_seconds")?,
        wall,
    })
}

fn memory(options: &Options) -> Result<()> {
    let mut peaks = Vec::new();
    for _ in 0..MEMORY_RUNS {
        let before = memory::shims();
        let mut demo = start(options, |_| ())?;
        let mut peak = Memory::default();
        while demo.try_wait().context("waiting for the demo")?.is_none() {
            // An engine's containers are no children of the demo.
            let shims: Vec<_> = memory::shims().difference(&before).copied().collect();
            peak = peak.larger(Memory::below(shims.into_iter().chain([demo.id()])));
            std::thread::sleep(LOOK);
        }
        ensure!(demo.wait()?.success(), "the demo failed");
        peaks.push(peak);
    }
    if !peaks.iter().all(Memory::has_stack) {
        println!("\nMemory: not measured, the stack's processes were not found.");
        return Ok(());
    }
    row(
        "peak memory of the stack, processes",
        "MB",
        peaks.iter().map(Memory::processes).collect(),
    );
    // Elsewhere they lie on a disk.
    if options.testbed == Kind::Namespaces {
        row(
            "                          its files",
            "MB",
            peaks.iter().map(Memory::files).collect(),
        );
    }
    if let Some(peak) = peaks.last() {
        println!(
            "\nProcesses at the last peak, PSS in MB: {}",
            peak.describe()
        );
    }
    Ok(())
}

fn row(name: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let [first, .., last] = values.as_slice() else {
        println!(
            "{name:38}  {:6.2}  {:>6}  {:>6} {:5}  {unit}",
            values[0], "", "", 1
        );
        return;
    };
    let median = values[values.len() / 2];
    println!(
        "{name:38}  {median:6.2}  {first:6.2}  {last:6.2} {:5}  {unit}",
        values.len()
    );
}
