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
const NAMESPACES: &str = "namespaces";
const CONTAINERS: &str = "containers";

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let mut trials = trials(NAMESPACES, |_| true);
    if has_engine() {
        // Faults are noticed by scenarios, whatever they run on: once is enough.
        let names: Vec<_> = trials.iter().map(|trial| trial.name().to_owned()).collect();
        let is_new = |name: &str| !names.contains(&format!("{NAMESPACES}::{name}"));
        trials.extend(self::trials(CONTAINERS, is_new));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Whether the containers testbed is to be tested: an engine answers, or the caller requires one.
fn has_engine() -> bool {
    let required = std::env::var("FMD_STACK_REQUIRE_TESTBEDS").unwrap_or_default();
    if required.split(',').any(|name| name == CONTAINERS) {
        return true;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let answers = runtime.block_on(fmd_stack::testbeds::containers::check());
    if let Err(why) = &answers {
        eprintln!("Testbed {CONTAINERS} is left out: {why:#}");
    }
    answers.is_ok()
}

/// The tests of one testbed; `with_faults` says of which scenarios the faults are seeded too.
fn trials(testbed: &'static str, with_faults: impl Fn(&str) -> bool) -> Vec<Trial> {
    let list = scenarios(testbed);
    let mut trials = Vec::new();
    for scenario in &list {
        let name = scenario["scenario"].as_str().expect("a name").to_owned();
        let faults = scenario["faults"].as_array().expect("faults");
        for fault in faults.iter().filter(|_| with_faults(&name)) {
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
