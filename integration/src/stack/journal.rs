//! The journal fail2ban reads, through `journalctl`.

use std::sync::Arc;

use anyhow::Result;

use crate::testbed::{Command, Node};

/// `journalctl` on the node where journald runs.
pub struct Journal(Arc<dyn Node>);

impl Journal {
    /// The journal of this node.
    pub fn on(node: Arc<dyn Node>) -> Self {
        Self(node)
    }

    /// The messages under a syslog identifier, oldest first.
    pub async fn messages(&self, identifier: &str) -> Result<Vec<String>> {
        self.lines(identifier, "cat").await
    }

    /// The same with time and host, as `journalctl` shows them.
    pub async fn entries(&self, identifier: &str) -> Result<Vec<String>> {
        self.lines(identifier, "short-iso-precise").await
    }

    async fn lines(&self, identifier: &str, format: &str) -> Result<Vec<String>> {
        let argv = [
            "journalctl",
            "--no-pager",
            "--quiet",
            "--identifier",
            identifier,
            "--output",
            format,
        ];
        let text = self.0.run(Command::new(argv)).await?.ok()?.text();
        Ok(text.lines().map(str::to_owned).collect())
    }
}
