//! Whose a container, a network or a volume is.
//!
//! Everything the testbed makes carries two labels: the process that made it and the run it was made
//! for. A later process sweeps what belongs to a process that is gone, and nothing else.

use std::collections::HashMap;
use std::fs;
use std::sync::OnceLock;

use anyhow::{Context, Result};

/// The process that made something, as [`Owner`] writes it.
pub const OWNER: &str = "fmd-stack.owner";

/// The run something was made for.
pub const RUN: &str = "fmd-stack.run";

/// The id of a machine that has none.
const UNKNOWN: &str = "-";

/// A process, unmistakably: numbers are used again, within a boot and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// An engine may serve several machines (`DOCKER_HOST=tcp://…`); [`UNKNOWN`] if it has no id.
    machine: String,
    boot: String,
    /// PID namespace: the same number means another process in another one.
    namespace: String,
    pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    started: u64,
}

impl Owner {
    /// This process.
    pub fn this() -> Result<&'static Self> {
        static THIS: OnceLock<Owner> = OnceLock::new();
        if THIS.get().is_none() {
            let pid = std::process::id();
            let started = start_time(pid).context("reading this process's start time")?;
            let _ = THIS.set(Self {
                machine: machine(),
                boot: boot()?,
                namespace: namespace()?,
                pid,
                started,
            });
        }
        THIS.get().context("no owner")
    }

    /// As it stands in the label.
    pub fn label(&self) -> String {
        format!(
            "{} {} {} {} {}",
            self.machine, self.boot, self.namespace, self.pid, self.started
        )
    }

    /// Reads a label; `None` for one that this program did not write.
    pub fn parse(label: &str) -> Option<Self> {
        let mut words = label.split(' ');
        let owner = Self {
            machine: words.next()?.to_owned(),
            boot: words.next()?.to_owned(),
            namespace: words.next()?.to_owned(),
            pid: words.next()?.parse().ok()?,
            started: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(owner)
    }

    /// Whether the process is certainly gone, as seen from this process.
    ///
    /// A process of another machine or PID namespace can't be seen from here, so nothing is said of
    /// it.
    pub fn is_gone(&self, here: &Owner) -> bool {
        if self.machine != here.machine {
            return false;
        }
        if self.boot != here.boot {
            return self.machine != UNKNOWN;
        }
        self.namespace == here.namespace && start_time(self.pid) != Some(self.started)
    }

    /// The labels of what this process makes for a run.
    pub fn labels(&self, run: &str) -> HashMap<String, String> {
        HashMap::from([
            (OWNER.to_owned(), self.label()),
            (RUN.to_owned(), run.to_owned()),
        ])
    }
}

fn machine() -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let id = id.trim();
    if id.is_empty() { UNKNOWN } else { id }.to_owned()
}

fn boot() -> Result<String> {
    let id =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").context("reading the boot id")?;
    Ok(id.trim().to_owned())
}

fn namespace() -> Result<String> {
    let link = fs::read_link("/proc/self/ns/pid").context("reading the PID namespace")?;
    Ok(link.to_string_lossy().into_owned())
}

fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything.
    let after_name = stat.rsplit_once(") ")?.1;
    after_name.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_there() {
        let this = Owner::this().unwrap();
        assert!(!this.is_gone(this));
        assert_eq!(Owner::parse(&this.label()).as_ref(), Some(this));
    }

    #[test]
    fn another_process_of_the_same_number_is_not_this_one() {
        let this = Owner::this().unwrap();
        let before = Owner {
            started: this.started + 1,
            ..this.clone()
        };
        assert!(before.is_gone(this));
        let here = Owner {
            machine: "this".to_owned(),
            ..this.clone()
        };
        let before_reboot = Owner {
            boot: "another".to_owned(),
            ..here.clone()
        };
        assert!(before_reboot.is_gone(&here));
    }

    #[test]
    fn what_cannot_be_seen_is_left_alone() {
        let this = Owner::this().unwrap();
        let elsewhere = Owner {
            namespace: "pid:[1]".to_owned(),
            pid: 1,
            ..this.clone()
        };
        assert!(!elsewhere.is_gone(this));
        let on_another_machine = Owner {
            machine: "another".to_owned(),
            boot: "another".to_owned(),
            ..this.clone()
        };
        assert!(!on_another_machine.is_gone(this));
        assert_eq!(Owner::parse("somebody else's label"), None);
    }
}
