//! Reports for people.

use crate::scenario::{Scenario, Verdict};

/// One line for a scenario that has just ended.
pub fn line(verdict: &Verdict) -> String {
    let seconds = verdict.duration.as_secs_f64();
    let (word, name) = (word(verdict), verdict.name());
    match &verdict.result {
        Ok(()) => format!("{word:7} {name} ({seconds:.1} s)"),
        Err(error) => format!("{word:7} {name} ({seconds:.1} s): {error:#}"),
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match (&verdict.result, verdict.fault) {
        (Ok(()), None) => "held",
        (Ok(()), Some(_)) => "noticed",
        (Err(_), _) => "FAILED",
    }
}

/// The scenarios and what each proves; `faults`: with the faults of each.
pub fn list(scenarios: &[&'static Scenario], faults: bool) -> String {
    let width = scenarios
        .iter()
        .map(|scenario| scenario.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for one in scenarios {
        text += &format!("{:width$}  {}\n", one.name, one.proves);
        for fault in one.faults.iter().filter(|_| faults) {
            text += &format!("{:width$}  · {}\n", "", fault.name);
        }
    }
    text
}

/// A row per scenario: name, verdict, duration, claim; then failures and a closing line.
pub fn table(verdicts: &[Verdict]) -> String {
    let width = verdicts
        .iter()
        .map(|verdict| verdict.name().len())
        .max()
        .unwrap_or(8)
        .max(8);
    let mut text = format!(
        "\n{:width$}  verdict  time     what it proves\n",
        "scenario"
    );
    for verdict in verdicts {
        let word = word(verdict);
        let seconds = verdict.duration.as_secs_f64();
        text += &format!(
            "{:width$}  {word:7}  {seconds:5.1} s  {}\n",
            verdict.name(),
            verdict.proves
        );
        for note in &verdict.notes {
            text += &format!("{:width$}                    · {note}\n", "");
        }
    }
    for verdict in verdicts {
        if let Err(error) = &verdict.result {
            text += &format!("\n{} failed: {error:#}\n", verdict.name());
        }
    }
    let failed = verdicts
        .iter()
        .filter(|verdict| verdict.result.is_err())
        .count();
    if let Some(ran_on) = verdicts
        .iter()
        .map(|v| &v.ran_on)
        .find(|ran_on| !ran_on.is_empty())
    {
        text += &format!("\nRan on: {ran_on}\n");
    }
    text += &format!("{} passed, {failed} failed\n", verdicts.len() - failed);
    text
}
