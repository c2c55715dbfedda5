//! `fmd-stack test`: scenarios, each on a testbed of its own.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use futures::StreamExt;

use super::Where;
use crate::report;
use crate::scenario::{self, Scenario, Verdict};
use crate::testbeds::Choice;

/// Options of `test`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    place: Where,
    /// List the scenarios and what each proves
    #[arg(long)]
    list: bool,
    /// Run only this scenario (may be given several times)
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// Scenarios to run at once
    #[arg(long, value_name = "N", default_value_t = default_jobs())]
    jobs: usize,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a JSON report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs the command; `Ok(false)` when a scenario failed.
pub async fn run(options: Options) -> Result<bool> {
    let chosen = choose(&options.scenarios)?;
    if options.list {
        print!("{}", report::list(&chosen));
        return Ok(true);
    }
    let choice = options.place.choice();
    // A scenario named by hand runs, and fails, even where the testbed can't do what it needs.
    let named = !options.scenarios.is_empty();
    let (fit, unfit): (Vec<_>, Vec<_>) = chosen
        .into_iter()
        .partition(|scenario| named || choice.can_all(scenario.needs));
    for scenario in unfit {
        let needs: Vec<_> = scenario.needs.iter().map(|need| need.describe()).collect();
        eprintln!(
            "not for {}: {} (needs {})",
            choice.kind,
            scenario.name,
            needs.join(", ")
        );
    }
    choice.prepare().await?;
    let mut verdicts = play(fit, &choice, options.jobs.max(1)).await;
    verdicts.sort_by_key(|verdict| verdict.scenario);
    print!("{}", report::table(&verdicts));
    if let Some(path) = &options.junit {
        report::write_junit(path, &verdicts)?;
    }
    if let Some(path) = &options.json {
        report::write_json(path, &verdicts)?;
    }
    Ok(verdicts.iter().all(|verdict| verdict.result.is_ok()))
}

fn choose(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(scenario::all());
    }
    names.iter().map(|name| scenario::find(name)).collect()
}

async fn play(scenarios: Vec<&'static Scenario>, choice: &Choice, jobs: usize) -> Vec<Verdict> {
    futures::stream::iter(scenarios)
        .map(|scenario| scenario::run(scenario, choice, None))
        .buffer_unordered(jobs)
        .inspect(|verdict| eprintln!("{}", report::line(verdict)))
        .collect()
        .await
}
