//! The containers testbed in bad surroundings and what it leaves behind (nothing), and the bundle
//! under Compose itself.
//!
//! Where no container engine answers, only the tests that need none run, unless
//! `FMD_STACK_REQUIRE_TESTBEDS` names `containers`: then the others fail. The same goes for Compose
//! and the name `compose`.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod bundle;
mod certificates;
mod engine;
mod leftovers;
mod project;
mod surroundings;

use libtest_mimic::{Arguments, Trial};

type Check = fn();

const WITHOUT_ENGINE: [(&str, Check); 8] = [
    ("no_engine", surroundings::no_engine),
    ("no_permission", surroundings::no_permission),
    ("engine_too_old", surroundings::engine_too_old),
    (
        "something_else_on_the_socket",
        surroundings::something_else_on_the_socket,
    ),
    ("neither_testbed", surroundings::neither_testbed),
    ("compose_file_missing", surroundings::compose_file_missing),
    ("compose_unknown_key", surroundings::compose_unknown_key),
    ("compose_broken_yaml", surroundings::compose_broken_yaml),
];

const WITH_ENGINE: [(&str, Check); 12] = [
    ("port_taken", surroundings::port_taken),
    (
        "no_image_and_no_registry",
        surroundings::no_image_and_no_registry,
    ),
    ("full_disk", surroundings::full_disk),
    ("service_that_dies", surroundings::service_that_dies),
    ("ctrl_c", leftovers::ctrl_c),
    ("sigterm", leftovers::sigterm),
    ("sigkill", leftovers::sigkill),
    ("panic", leftovers::panic),
    ("ended_while_building", leftovers::ended_while_building),
    (
        "sweep_spares_the_living",
        leftovers::sweep_spares_the_living,
    ),
    (
        "sweep_after_all_were_killed",
        leftovers::sweep_after_all_were_killed,
    ),
    ("certificates", certificates::unusable_ones_are_refused),
];

const WITH_COMPOSE: [(&str, Check); 2] = [
    ("compose_up", bundle::compose_up),
    ("host_journal_variant", bundle::host_journal_variant),
];

fn main() {
    let mut arguments = Arguments::from_args();
    // Stacks of four containers each: more at once would only wait for each other.
    arguments.test_threads.get_or_insert(2);
    let mut checks = WITHOUT_ENGINE.to_vec();
    let has_engine = engine::is_to_be_tested();
    if has_engine {
        checks.extend(WITH_ENGINE);
    }
    if bundle::is_to_be_tested(has_engine) {
        checks.extend(WITH_COMPOSE);
    }
    let trials = checks.into_iter().map(|(name, check)| {
        Trial::test(name, move || {
            check();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
