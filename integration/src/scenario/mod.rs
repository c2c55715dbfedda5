//! What a scenario is, and how one is run.

mod run;
mod stage;

use futures::future::LocalBoxFuture;

use anyhow::Result;

pub use run::{Verdict, run, run_with_fault};
pub use stage::Stage;

use crate::testbed::{Capability, Fault, Testbed};

/// One claim about the stack, proven against any testbed.
pub struct Scenario {
    /// Kebab-case name.
    pub name: &'static str,
    /// The claim, in one sentence that a reader of the report understands.
    pub proves: &'static str,
    /// Files an operator would add (`*.local`, path without leading `/`) before the stack starts.
    pub settings: &'static [(&'static str, &'static str)],
    /// What the testbed must be able to do beyond the common ground.
    pub needs: &'static [Capability],
    /// How many client nodes it uses at the most.
    pub clients: usize,
    /// The scenario itself.
    pub run: for<'a> fn(&'a Stage) -> LocalBoxFuture<'a, Result<()>>,
    /// Seeded faults, each of which must make it fail.
    pub faults: &'static [Fault],
}

inventory::collect!(Scenario);

/// The name of a scenario that waits more than it works: it is started before the others, which then
/// fill its time.
pub struct MostlyWaits(pub &'static str);

inventory::collect!(MostlyWaits);

/// All scenarios, by name.
pub fn all() -> Vec<&'static Scenario> {
    let mut all: Vec<_> = inventory::iter::<Scenario>.into_iter().collect();
    all.sort_by_key(|scenario| scenario.name);
    all
}

/// The scenario of this name; the error lists the names nearest to it.
pub fn find(name: &str) -> Result<&'static Scenario> {
    let all = all();
    if let Some(found) = all.iter().find(|scenario| scenario.name == name) {
        return Ok(found);
    }
    let mut near: Vec<_> = all
        .iter()
        .map(|scenario| (strsim::jaro_winkler(name, scenario.name), scenario.name))
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<_> = near.into_iter().take(3).map(|(_, name)| name).collect();
    anyhow::bail!(
        "no scenario is called {name:?}; the nearest are {}. `fmd-stack test --list` shows all.",
        near.join(", ")
    )
}

impl Scenario {
    /// Whether it waits more than it works.
    pub fn mostly_waits(&self) -> bool {
        inventory::iter::<MostlyWaits>
            .into_iter()
            .any(|waits| waits.0 == self.name)
    }

    /// Every capability this scenario needs: settings have to be there before the stack starts.
    pub fn all_needs(&self) -> Vec<Capability> {
        let mut needs = self.needs.to_vec();
        if !self.settings.is_empty() && !needs.contains(&Capability::Faults) {
            needs.push(Capability::Faults);
        }
        needs
    }

    /// The capabilities this scenario needs and the testbed lacks.
    pub fn lacks(&self, testbed: &dyn Testbed) -> Vec<Capability> {
        self.all_needs()
            .into_iter()
            .filter(|need| !testbed.can(*need))
            .collect()
    }
}
