//! Reports for machines.

use std::path::Path;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::json;

use crate::scenario::{Scenario, Verdict};

/// Writes a JSON array with an object per scenario.
pub fn write_json(path: &Path, verdicts: &[Verdict]) -> Result<()> {
    let all: Vec<_> = verdicts
        .iter()
        .map(|verdict| {
            json!({
                "scenario": verdict.scenario,
                "fault": verdict.fault,
                "proves": verdict.proves,
                "ran_on": verdict.ran_on,
                "held": verdict.result.is_ok(),
                "seconds": verdict.duration.as_secs_f64(),
                "notes": verdict.notes,
                "error": verdict.result.as_ref().err().map(|error| format!("{error:#}")),
            })
        })
        .collect();
    let text = serde_json::to_vec_pretty(&all).context("encoding the report")?;
    std::fs::write(path, text).with_context(|| format!("writing the report {}", path.display()))
}

/// Writes a JSON array with an object per scenario: its claim, needs and seeded faults.
pub fn write_list(path: &Path, scenarios: &[&'static Scenario]) -> Result<()> {
    let all: Vec<_> = scenarios
        .iter()
        .map(|scenario| {
            json!({
                "scenario": scenario.name,
                "proves": scenario.proves,
                "needs": scenario.needs.iter().map(|need| need.describe()).collect::<Vec<_>>(),
                "faults": scenario.faults.iter().map(|fault| fault.name).collect::<Vec<_>>(),
            })
        })
        .collect();
    let text = serde_json::to_vec_pretty(&all).context("encoding the list")?;
    std::fs::write(path, text).with_context(|| format!("writing the list {}", path.display()))
}

/// Writes a JUnit report, as CI systems read it.
pub fn write_junit(path: &Path, verdicts: &[Verdict]) -> Result<()> {
    let mut suite = TestSuite::new("fmd-stack");
    for verdict in verdicts {
        let status = match &verdict.result {
            Ok(()) => TestCaseStatus::success(),
            Err(error) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(format!("{error:#}"));
                status
            }
        };
        let mut case = TestCase::new(verdict.name(), status);
        case.set_classname(verdict.ran_on.clone())
            .set_time(verdict.duration);
        if !verdict.notes.is_empty() {
            case.set_system_out(verdict.notes.join("\n"));
        }
        suite.add_test_case(case);
    }
    let mut report = Report::new("fmd-stack");
    report.add_test_suite(suite);
    let text = report.to_string().context("encoding the JUnit report")?;
    std::fs::write(path, text).with_context(|| format!("writing the report {}", path.display()))
}
