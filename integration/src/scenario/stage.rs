//! The stage on which a scenario plays: a running stack and what a scenario commonly does to it.

use std::sync::Mutex;

use anyhow::Result;

use crate::stack::{Fail2ban, Firewall, Journal, Person};
use crate::testbed::{Service, Testbed};

/// A running stack, and notes of what was seen on it.
pub struct Stage {
    testbed: Box<dyn Testbed>,
    notes: Mutex<Vec<String>>,
}

impl Stage {
    /// A stage on a testbed that has just started.
    pub fn new(testbed: Box<dyn Testbed>) -> Self {
        Self {
            testbed,
            notes: Mutex::new(Vec::new()),
        }
    }

    /// The testbed.
    pub fn testbed(&self) -> &dyn Testbed {
        self.testbed.as_ref()
    }

    /// A person at a client node of this name, made at first use.
    pub async fn person(&self, name: &str) -> Result<Person> {
        Person::at(self.testbed(), name).await
    }

    /// fail2ban, through `fail2ban-client`.
    pub fn fail2ban(&self) -> Fail2ban {
        Fail2ban::on(self.testbed.service_node(Service::Fail2ban))
    }

    /// The firewall that guards nginx.
    pub fn firewall(&self) -> Firewall {
        Firewall::on(self.testbed.service_node(Service::Fail2ban))
    }

    /// The journal fail2ban reads.
    pub fn journal(&self) -> Journal {
        Journal::on(self.testbed.service_node(Service::Journal))
    }

    /// Keeps a measured fact for the report, such as `refused 0.12 s after the last failure`.
    pub fn note(&self, fact: impl Into<String>) {
        if let Ok(mut notes) = self.notes.lock() {
            notes.push(fact.into());
        }
    }

    /// The facts noted so far.
    pub fn notes(&self) -> Vec<String> {
        self.notes
            .lock()
            .map(|notes| notes.clone())
            .unwrap_or_default()
    }
}
