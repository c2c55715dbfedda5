//! Every scenario on every testbed of this machine, and every seeded fault: a test each, found from
//! the suite's own list.
//!
//! A testbed that can't run here is left out with a line saying why, unless
//! `FMD_STACK_REQUIRE_TESTBEDS` (such as `namespaces,containers`) names it: then its tests fail.

mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// Runs wait for packets more than they compute: a fault's proof is often that nothing happens for
/// fifteen seconds.
const AT_ONCE: usize = 6;

/// Testbeds that start a stack on this machine within seconds.
const TESTBEDS: [&str; 1] = ["namespaces"];

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let trials = TESTBEDS
        .iter()
        .flat_map(|testbed| trials(testbed))
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// The tests of one testbed.
fn trials(testbed: &'static str) -> Vec<Trial> {
    let list = scenarios(testbed);
    let mut trials = Vec::new();
    for scenario in &list {
        let name = scenario["scenario"].as_str().expect("a name").to_owned();
        for fault in scenario["faults"].as_array().expect("faults") {
            let (name, fault) = (name.clone(), fault.as_str().expect("a name").to_owned());
            let title = format!("{testbed}::{name}::notices::{fault}");
            trials.push(Trial::test(title, move || {
                hold(testbed, &name, Some(&fault))
            }));
        }
        trials.push(Trial::test(format!("{testbed}::{name}"), move || {
            hold(testbed, &name, None)
        }));
    }
    trials
}

/// The scenarios that this testbed can play.
fn scenarios(testbed: &str) -> Vec<Value> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().to_str().expect("UTF-8");
    let output = support::run(&["test", "--list", "--testbed", testbed, "--json", path]);
    assert!(output.status.success(), "{}", support::said(&output));
    let list = std::fs::read(path).expect("the list is written");
    serde_json::from_slice(&list).expect("the list is JSON")
}

fn hold(testbed: &str, scenario: &str, fault: Option<&str>) -> Result<(), Failed> {
    let mut args = vec!["test", "--testbed", testbed, "--scenario", scenario];
    args.extend(fault.iter().flat_map(|fault| ["--fault", fault]));
    let output = support::run(&args);
    if output.status.success() {
        Ok(())
    } else {
        Err(support::said(&output).into())
    }
}
