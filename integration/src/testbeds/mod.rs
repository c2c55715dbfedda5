//! The testbeds, and the choice between them.

pub mod namespaces;

use std::path::PathBuf;

use anyhow::Result;

use crate::testbed::{FileTree, FmdServer, Spec, Testbed};

/// A kind of testbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Kind {
    /// Unprivileged namespaces on this machine.
    Namespaces,
}

impl Kind {
    /// All kinds that start a stack by themselves on this machine.
    pub const LOCAL: &[Kind] = &[Kind::Namespaces];
}

/// Which testbed is to start, and with what.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The kind of testbed.
    pub kind: Kind,
    /// Which FMD Server runs on it.
    pub fmd_server: FmdServer,
    /// A rendered configuration tree instead of the overlay.
    pub rendered: Option<PathBuf>,
}

impl Choice {
    /// The stack to start for a scenario of this name, before settings and faults.
    pub fn spec(&self, label: &str) -> Result<Spec> {
        let mut spec = Spec::shipped(label, self.fmd_server.clone())?;
        if let Some(dir) = &self.rendered {
            spec.files = FileTree::from_dir(dir)?;
        }
        Ok(spec)
    }

    /// Starts the testbed and returns once the stack is ready.
    pub async fn start(&self, spec: Spec) -> Result<Box<dyn Testbed>> {
        match self.kind {
            Kind::Namespaces => Ok(Box::new(namespaces::Namespaces::start(spec).await?)),
        }
    }
}
