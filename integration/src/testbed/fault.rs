//! Seeded faults: what must make a scenario fail.

use anyhow::Result;

use super::{FileTree, Spec};

/// A fault and the words by which its scenario must notice it.
///
/// A scenario that fails for another reason than the fault has proven nothing, so the failure's
/// text has to contain `noticed_as`.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Kebab-case name, unique within its scenario.
    pub name: &'static str,
    /// What is broken.
    pub breaks: Break,
    /// Part of the error with which the scenario fails.
    pub noticed_as: &'static str,
}

/// The ways to break a stack.
#[derive(Debug, Clone, Copy)]
pub enum Break {
    /// Replaces text in a file of the overlay; an error when the text isn't there, so that a fault
    /// can't fade when the file changes.
    Replace {
        file: &'static str,
        find: &'static str,
        with: &'static str,
    },
    /// Adds or overwrites a file.
    Write {
        file: &'static str,
        content: &'static str,
    },
    /// Several at once.
    All(&'static [Break]),
    /// fail2ban runs without CAP_NET_ADMIN.
    NoNetAdmin,
}

impl Break {
    /// Breaks the stack that is about to start.
    pub fn apply(&self, spec: &mut Spec) -> Result<()> {
        match self {
            Break::Replace { file, find, with } => spec.files.replace(file, find, with),
            Break::Write { file, content } => {
                spec.files.insert(file, content.as_bytes());
                Ok(())
            }
            Break::All(breaks) => breaks.iter().try_for_each(|one| one.apply(spec)),
            Break::NoNetAdmin => {
                spec.fail2ban_net_admin = false;
                Ok(())
            }
        }
    }
}

impl FileTree {
    /// Replaces every occurrence of `find` in a text file.
    pub fn replace(&mut self, path: &str, find: &str, with: &str) -> Result<()> {
        let text = self.text(path)?;
        anyhow::ensure!(
            text.contains(find),
            "{path} does not contain {find:?}: the fault is out of date"
        );
        self.insert(path, text.replace(find, with).as_bytes());
        Ok(())
    }
}
