//! The testbeds, and the choice between them.

pub mod containers;
mod group;
pub mod namespaces;
mod program;
mod quote;
mod rendered;
mod segment;
pub mod ssh;
pub mod vm;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;

use crate::rootfs;
use crate::sandbox;
use crate::testbed::{Capability, FmdServer, Spec, Start, Testbed};
pub use ssh::Deployment;

/// A kind of testbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Kind {
    /// Unprivileged namespaces on this machine.
    Namespaces,
    /// A virtual machine with Debian and systemd, emulated where it must be.
    Vm,
    /// The bundle of `containers/compose.yaml` on a container engine.
    Containers,
    /// A deployment that exists, and machines to attack it from, reached by ssh.
    Ssh,
}

impl Kind {
    /// What this kind of testbed can do beyond the common ground.
    pub fn capabilities(self) -> &'static [Capability] {
        match self {
            Kind::Namespaces => namespaces::CAPABILITIES,
            Kind::Vm => vm::CAPABILITIES,
            Kind::Containers => containers::CAPABILITIES,
            Kind::Ssh => ssh::CAPABILITIES,
        }
    }
}

impl Kind {
    /// Namespaces, or containers where those can't be had or only they can do what is asked for.
    ///
    /// # Errors
    /// Neither works here; both reasons are given.
    pub async fn that_works(fmd_server: &FmdServer, compose: Option<&Path>) -> Result<Self> {
        let refused = match (fmd_server, compose) {
            (FmdServer::Image, _) => anyhow::anyhow!("--fmd-server upstream is an image"),
            (_, Some(_)) => anyhow::anyhow!("--compose is for containers"),
            _ => match sandbox::probe().await {
                Ok(()) => return Ok(Kind::Namespaces),
                Err(refused) => refused,
            },
        };
        let engine = containers::check().await;
        engine.with_context(|| {
            format!("neither testbed works here. Namespaces: {refused:#}. Containers")
        })?;
        eprintln!("Testbed containers instead of namespaces: {refused:#}");
        Ok(Kind::Containers)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Namespaces => "namespaces",
            Kind::Vm => "vm",
            Kind::Containers => "containers",
            Kind::Ssh => "ssh",
        })
    }
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
    /// Another compose file than the shipped one (containers testbed only).
    pub compose: Option<PathBuf>,
    /// The machines of the ssh testbed; without any for the others.
    pub deployment: Arc<Deployment>,
}

impl Choice {
    /// The shipped stack on a testbed that needs nothing further.
    pub fn new(kind: Kind, fmd_server: FmdServer) -> Self {
        let deployment = Arc::new(Deployment::new(Default::default()));
        Self {
            kind,
            fmd_server,
            rendered: None,
            compose: None,
            deployment,
        }
    }

    /// The stack to start for a scenario of this name, before settings and faults.
    pub fn spec(&self, label: &str) -> Result<Spec> {
        let mut spec = Spec::shipped(label, self.fmd_server.clone())?;
        if let Some(dir) = &self.rendered {
            let rendered = match self.kind {
                Kind::Vm => rendered::for_machine(dir)?,
                _ => rendered::read(dir)?,
            };
            spec.shipped = rendered.files.clone();
            spec.files = rendered.files;
            spec.units = rendered.units;
        }
        Ok(spec)
    }

    /// What the testbed lacks for a scenario with these needs, in words; nothing if it fits.
    pub fn lacks(&self, needs: &[Capability], clients: usize) -> Vec<String> {
        let missing = needs.iter().filter(|need| !self.can(**need));
        let mut lacks: Vec<_> = missing.map(|need| need.describe().to_owned()).collect();
        let given = self.deployment.clients();
        if self.kind == Kind::Ssh && clients > given && given > 0 {
            lacks.push(format!("{clients} clients, not {given}"));
        }
        lacks
    }

    fn can(&self, capability: Capability) -> bool {
        let known = match (self.kind, capability) {
            (Kind::Ssh, Capability::ServiceControl) => self.deployment.controls_services(),
            _ => None,
        };
        known.unwrap_or_else(|| self.kind.capabilities().contains(&capability))
    }

    /// Learns what only the machines of a deployment can tell; nothing elsewhere.
    pub async fn connect(&self) -> Result<()> {
        match self.kind {
            Kind::Ssh => self.prepare().await,
            _ => Ok(()),
        }
    }

    /// How many scenarios run at once: as many as are wanted, else what keeps this machine busy. A
    /// deployment takes one after the other.
    pub async fn at_once(&self, wanted: Option<NonZeroUsize>) -> Result<usize> {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Ok(match (self.kind, wanted.map(NonZeroUsize::get)) {
            (Kind::Ssh, _) => 1,
            (_, Some(wanted)) => wanted,
            (Kind::Vm, None) => cores.get(),
            // They wait more than they work.
            (Kind::Namespaces, None) => cores.get() * 2,
            (Kind::Containers, None) => containers::at_once(cores.get() * 2).await?,
        })
    }

    /// Makes what every start needs (a root filesystem, images) and checks the surroundings, so that
    /// the first scenario doesn't pay for it and an error is told once.
    pub async fn prepare(&self) -> Result<()> {
        ensure!(
            self.rendered.is_none() || matches!(self.kind, Kind::Namespaces | Kind::Vm),
            "--rendered does not go with --testbed {}: namespaces and vm take another configuration",
            self.kind
        );
        ensure!(
            self.compose.is_none() || self.kind == Kind::Containers,
            "--compose does not go with --testbed {}: a compose file is for --testbed containers",
            self.kind
        );
        match self.kind {
            Kind::Namespaces => {
                namespaces::check(&self.fmd_server)?;
                rootfs::ensure(&rootfs::STACK).await?;
                self.try_rendered().await
            }
            Kind::Vm => {
                vm::check().await?;
                self.tell_filled()?;
                vm::prepare(&self.fmd_server, &self.spec("prepare")?.shipped).await
            }
            Kind::Containers => {
                containers::prepare(&self.fmd_server, self.compose.as_deref()).await
            }
            Kind::Ssh => ssh::prepare(&self.deployment, &self.fmd_server).await,
        }
    }

    /// Starts a rendered configuration once: what can't start is no scenario's failure.
    async fn try_rendered(&self) -> Result<()> {
        let Some(dir) = &self.rendered else {
            return Ok(());
        };
        self.tell_filled()?;
        let testbed = self.start(self.spec("rendered")?).await;
        let testbed = testbed.with_context(|| format!("--rendered {}", dir.display()))?;
        testbed.stop().await
    }

    /// Says what a rendered configuration leaves out.
    fn tell_filled(&self) -> Result<()> {
        let Some(dir) = &self.rendered else {
            return Ok(());
        };
        let rendered = match self.kind {
            Kind::Vm => rendered::for_machine(dir)?,
            _ => rendered::read(dir)?,
        };
        for path in rendered.filled {
            eprintln!("not in {}: {path}, taken as it is shipped", dir.display());
        }
        Ok(())
    }

    /// Starts the testbed and returns once the stack is ready.
    pub async fn start(&self, spec: Spec) -> Result<Box<dyn Testbed>> {
        match self.kind {
            Kind::Namespaces => Ok(Box::new(namespaces::Namespaces::start(spec).await?)),
            Kind::Vm => Ok(Box::new(vm::Vm::start(spec).await?)),
            Kind::Containers => Ok(Box::new(
                containers::Containers::start(spec, self.compose.as_deref()).await?,
            )),
            Kind::Ssh => Ok(Box::new(ssh::Ssh::start(&self.deployment, &spec).await?)),
        }
    }
}

#[async_trait]
impl Start for Choice {
    fn spec(&self, label: &str) -> Result<Spec> {
        self.spec(label)
    }

    async fn start(&self, spec: Spec) -> Result<Box<dyn Testbed>> {
        self.start(spec).await
    }
}
