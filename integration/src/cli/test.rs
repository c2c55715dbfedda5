//! `fmd-stack test`: scenarios, each on a testbed of its own.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use futures::StreamExt;

use super::Where;
use crate::report;
use crate::scenario::{self, Scenario, Verdict};
use crate::testbed::Fault;
use crate::testbeds::Choice;

/// Options of `test`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    place: Where,
    /// List the scenarios and what each proves; with --faults also their faults
    #[arg(long)]
    list: bool,
    /// Run only this scenario (may be given several times)
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// Seed each scenario's faults, one after the other: every one has to be noticed
    #[arg(long)]
    faults: bool,
    /// Seed only the fault of this name
    #[arg(long, value_name = "NAME")]
    fault: Option<String>,
    /// Scenarios to run at once; without it as many as the testbed likes on this machine
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a JSON report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A scenario to run, with or without a fault.
type Trial = (&'static Scenario, Option<&'static Fault>);

/// Runs the command; `Ok(false)` when a scenario failed or a fault was not noticed.
pub async fn run(options: Options) -> Result<bool> {
    let chosen = choose(&options.scenarios)?;
    let choice = options.place.choice().await?;
    if !options.list {
        choice.connect().await?;
    }
    // A scenario named by hand runs, and fails, even where the testbed can't do what it needs.
    let named = !options.scenarios.is_empty();
    let lacks = |scenario: &Scenario| choice.lacks(&scenario.all_needs(), scenario.clients);
    let (fit, unfit): (Vec<_>, Vec<_>) = chosen
        .into_iter()
        .partition(|scenario| named || lacks(scenario).is_empty());
    if options.list {
        report::out(&report::list(&fit, options.faults));
        if let Some(path) = &options.json {
            report::write_list(path, &fit)?;
        }
    }
    let mut left_out = BTreeMap::<String, Vec<_>>::new();
    for scenario in unfit {
        let needs = lacks(scenario).join(", ");
        left_out.entry(needs).or_default().push(scenario.name);
    }
    for (needs, names) in left_out {
        eprintln!(
            "not for {}: {} (needs {needs})",
            choice.kind,
            names.join(", ")
        );
    }
    if options.list {
        return Ok(true);
    }
    let mut trials = trials(&fit, &options)?;
    trials.sort_by_key(|(scenario, _)| !scenario.mostly_waits());
    choice.prepare().await?;
    let jobs = choice.at_once(options.jobs).await?;
    let mut verdicts = play(trials, &choice, jobs).await;
    verdicts.sort_by(|a, b| (a.scenario, a.fault).cmp(&(b.scenario, b.fault)));
    report::out(&report::table(&verdicts));
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

fn trials(scenarios: &[&'static Scenario], options: &Options) -> Result<Vec<Trial>> {
    if !options.faults && options.fault.is_none() {
        return Ok(scenarios.iter().map(|&scenario| (scenario, None)).collect());
    }
    let wanted = |fault: &Fault| {
        options
            .fault
            .as_deref()
            .is_none_or(|name| name == fault.name)
    };
    let trials: Vec<Trial> = scenarios
        .iter()
        .flat_map(|&scenario| {
            scenario
                .faults
                .iter()
                .map(move |fault| (scenario, Some(fault)))
        })
        .filter(|(_, fault)| fault.is_some_and(wanted))
        .collect();
    ensure!(
        !trials.is_empty(),
        "no such fault among these scenarios; `fmd-stack test --list --faults` names the faults of each"
    );
    Ok(trials)
}

async fn play(trials: Vec<Trial>, choice: &Choice, jobs: usize) -> Vec<Verdict> {
    futures::stream::iter(trials)
        .map(|(scenario, fault)| async move {
            match fault {
                None => scenario::run(scenario, choice).await,
                Some(fault) => scenario::run_with_fault(scenario, choice, fault).await,
            }
        })
        .buffer_unordered(jobs)
        .inspect(|verdict| eprintln!("{}", report::line(verdict)))
        .collect()
        .await
}
