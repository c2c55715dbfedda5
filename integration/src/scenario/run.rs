//! Running one scenario on a testbed of its own, with or without a seeded fault.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::timeout;

use super::{Scenario, Stage};
use crate::testbed::{Capability, Fault, Spec, Start};

/// The longest that a step of a scenario may take: start, play, clean-up. Each has limits of its own on
/// what it waits for; this one turns what hangs all the same (an engine that never answers) into an
/// error.
const STEP: Duration = Duration::from_secs(600);

/// What came of a scenario.
#[derive(Debug)]
pub struct Verdict {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The fault that was seeded, if any.
    pub fault: Option<&'static str>,
    /// The claim it proves.
    pub proves: &'static str,
    /// The testbed it ran on and the FMD Server that ran there; empty if it did not start.
    pub ran_on: String,
    /// Time from start to the end of the clean-up.
    pub duration: Duration,
    /// What was measured on the way.
    pub notes: Vec<String>,
    /// `Err` when the claim does not hold or could not be tried; with a fault: when it was not
    /// noticed.
    pub result: Result<()>,
}

impl Verdict {
    /// The scenario's name, and the fault's behind a slash.
    pub fn name(&self) -> String {
        match self.fault {
            None => self.scenario.to_owned(),
            Some(fault) => format!("{}/{fault}", self.scenario),
        }
    }
}

/// Runs a scenario on a fresh testbed and cleans up after it.
pub async fn run(scenario: &'static Scenario, start: &dyn Start) -> Verdict {
    verdict(scenario, start, None).await
}

/// Runs a scenario with a seeded fault; the verdict is good when the scenario fails in the words
/// that the fault announces.
pub async fn run_with_fault(
    scenario: &'static Scenario,
    start: &dyn Start,
    fault: &'static Fault,
) -> Verdict {
    let mut verdict = verdict(scenario, start, Some(fault)).await;
    verdict.notes.clear();
    verdict.result = match verdict.result {
        Ok(()) => Err(anyhow::anyhow!(
            "the scenario still holds with this fault: it proves nothing"
        )),
        Err(error) => {
            let text = format!("{error:#}");
            let noticed = text.contains(fault.noticed_as);
            let mistaken = || {
                anyhow::anyhow!(
                    "failed, but not in the words {:?}: {text}",
                    fault.noticed_as
                )
            };
            verdict.notes.push(format!(
                "noticed: {}",
                text.lines().next().unwrap_or_default()
            ));
            noticed.then_some(()).ok_or_else(mistaken)
        }
    };
    verdict
}

async fn verdict(
    scenario: &'static Scenario,
    start: &dyn Start,
    fault: Option<&'static Fault>,
) -> Verdict {
    let started = Instant::now();
    let mut ran_on = String::new();
    let mut notes = Vec::new();
    let result = play(scenario, start, fault, &mut ran_on, &mut notes).await;
    Verdict {
        scenario: scenario.name,
        fault: fault.map(|fault| fault.name),
        proves: scenario.proves,
        ran_on,
        duration: started.elapsed(),
        notes,
        result,
    }
}

async fn play(
    scenario: &'static Scenario,
    start: &dyn Start,
    fault: Option<&Fault>,
    ran_on: &mut String,
    notes: &mut Vec<String>,
) -> Result<()> {
    let spec = prepare(scenario, start, fault)?;
    let testbed = limit(start.start(spec))
        .await
        .context("the testbed did not start")?;
    *ran_on = format!("{}, {}", testbed.name(), testbed.fmd_server());
    let stage = Stage::new(testbed);
    let lacks = scenario.lacks(stage.testbed());
    let result = if lacks.is_empty() {
        limit((scenario.run)(&stage)).await
    } else {
        let lacks: Vec<_> = lacks.into_iter().map(Capability::describe).collect();
        Err(anyhow::anyhow!(
            "testbed {} lacks {}",
            stage.testbed().name(),
            lacks.join(" and ")
        ))
    };
    *notes = stage.notes();
    let stopped = limit(stage.testbed().stop()).await.context("cleaning up");
    result.and(stopped)
}

async fn limit<T>(step: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(STEP, step)
        .await
        .with_context(|| format!("it hangs: given up after {} s", STEP.as_secs()))?
}

fn prepare(scenario: &Scenario, start: &dyn Start, fault: Option<&Fault>) -> Result<Spec> {
    let mut spec = start.spec(scenario.name)?;
    for (path, content) in scenario.settings {
        spec.files.insert(path, content.as_bytes());
    }
    if let Some(fault) = fault {
        fault
            .breaks
            .apply(&mut spec)
            .with_context(|| format!("seeding the fault {}", fault.name))?;
    }
    Ok(spec)
}
