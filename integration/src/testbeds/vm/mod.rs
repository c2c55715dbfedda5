//! The testbed `vm`: a virtual machine with Debian and systemd, made by following
//! `docs/how-to/debian.md`, and clients that are network namespaces on its segment.
//!
//! Works as an ordinary user and without KVM. See `docs/reference/testbed-vm.md`.

mod agent;
mod emulator;
mod frozen;
mod host;
mod howto;
mod image;
mod keeper;
mod memory;
mod qemu;
mod qmp;
mod rendered;
mod run_folder;
mod services;
mod ssh;
mod tail;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use tokio::sync::Mutex;

use super::program::fmd_server;
use super::segment::{SERVER_NUMBER, SUITE, Segment, addresses};
use crate::sandbox::{FIRST_FD, Machine};
use crate::testbed::{
    Action, Capability, Command, FileTree, FmdServer, Node, Service, Spec, Testbed,
};
use agent::Agent;
use frozen::Frozen;
use host::Host;
use qemu::{Qemu, Source};
use ssh::{Connection, MachineNode};

pub use host::check;
pub use howto::marked as how_to;
pub use keeper::{KEEPER, main as keeper_main};
pub use wire::{WIRE, main as wire_main};

/// What this testbed can do beyond the common ground.
pub const CAPABILITIES: &[Capability] = &[
    Capability::ServiceControl,
    Capability::Init,
    Capability::Clock,
    Capability::Faults,
];

/// The node from which the suite reaches the machine by ssh: no client has its number.
const CONTROL: (&str, u8) = ("control", 250);

/// Where the how-to puts FMD Server. The suite's binary under this name is the embedded one.
const FMD_SERVER: &str = "/usr/local/bin/fmd-server";

/// A drop-in by which a fault takes a capability away.
const NO_NET_ADMIN: (&str, &str) = (
    "etc/systemd/system/fail2ban.service.d/zz-fault.conf",
    "[Service]\nCapabilityBoundingSet=~CAP_NET_ADMIN\n",
);

/// A running machine and its clients.
pub struct Vm {
    qemu: Mutex<Qemu>,
    agent: Mutex<Agent>,
    connection: Mutex<Option<Connection>>,
    key: String,
    node: MachineNode,
    segment: Segment,
    fmd_server: String,
    _frozen: Frozen,
}

/// Makes the machine, so that the first scenario doesn't pay for it.
pub async fn prepare(fmd: &FmdServer, config: &FileTree) -> Result<()> {
    let config = for_debian(config, true).await?;
    frozen::ensure(&config, &program(fmd)?.0).await.map(drop)
}

/// The configuration as the machine can use it.
async fn for_debian(config: &FileTree, tell: bool) -> Result<FileTree> {
    let host = host::get().await?;
    let mut config = config.clone();
    let left_out = rendered::for_debian(&mut config, &host.rootfs.dir)?;
    for line in left_out.iter().filter(|_| tell) {
        eprintln!("Left out, since it names what only a Nix store has: {line}");
    }
    Ok(config)
}

/// The FMD Server to install, and how reports name it.
fn program(fmd: &FmdServer) -> Result<(PathBuf, String)> {
    let (binary, name) = fmd_server(fmd)?;
    let binary = match binary {
        Some(path) => path,
        None => std::env::current_exe().context("finding the suite's own binary")?,
    };
    Ok((binary, name))
}

impl Vm {
    /// Wakes a machine and brings it to the asked configuration.
    ///
    /// # Errors
    /// qemu or the root filesystem is missing and can't be had, the machine does not boot (its
    /// console's last lines are quoted), or a service does not start with the configuration.
    pub async fn start(mut spec: Spec) -> Result<Self> {
        let host = host::get().await?;
        spec.shipped = for_debian(&spec.shipped, false).await?;
        spec.files = for_debian(&spec.files, false).await?;
        let (binary, name) = program(&spec.fmd_server)?;
        let frozen = frozen::ensure(&spec.shipped, &binary).await?;
        let (segment, qemu) = tokio::join!(
            start_segment(host),
            Qemu::start(host, &frozen.folder, Source::Frozen),
        );
        let (segment, mut qemu) = (segment?, qemu?);
        let wire = qemu.wire.take().context("the machine has no wire")?;
        wire::plug_in(&segment, wire).await?;
        let control = segment.add(CONTROL.0, CONTROL.1).await?;
        let node = MachineNode {
            control,
            addresses: addresses(SERVER_NUMBER),
            suite: FMD_SERVER,
        };
        let key = node.make_key().await?;
        let mut agent = Agent::on(qemu.agent().await?);
        if let Err(error) = qemu.qmp.resume(qemu::STATE).await {
            return Err(error.context(format!(
                "waking the machine kept in {}; if that is damaged, `fmd-stack clean` empties the \
                 cache, and the next run makes it anew. {}",
                frozen.folder.display(),
                qemu.last_words().await
            )));
        }
        let connection = match node.connect(&mut agent, &key).await {
            Ok(connection) => connection,
            Err(error) => {
                let words = qemu.last_words().await;
                return Err(error.context(format!("the machine does not answer. {words}")));
            }
        };
        let fmd_server = format!("{name} ({})", host.accelerator.name());
        let vm = Self {
            qemu: Mutex::new(qemu),
            agent: Mutex::new(agent),
            connection: Mutex::new(Some(connection)),
            key,
            node,
            segment,
            fmd_server,
            _frozen: frozen,
        };
        vm.configure(spec).await?;
        Ok(vm)
    }

    async fn configure(&self, mut spec: Spec) -> Result<()> {
        if !spec.fail2ban_net_admin {
            spec.files.insert(NO_NET_ADMIN.0, NO_NET_ADMIN.1.as_bytes());
        }
        services::reconfigure(&self.node, &spec.shipped, &spec.files).await
    }
}

/// The segment, on the root filesystem the machine was made from.
async fn start_segment(host: &Host) -> Result<Segment> {
    let suite = std::env::current_exe().context("finding the suite's own binary")?;
    let machine = Machine {
        host_name: "clients".to_owned(),
        files: FileTree::default(),
        programs: vec![(FIRST_FD + 1, SUITE.to_owned())],
        server: None,
    };
    Segment::start(machine, &[host.rootfs.dir.clone(), suite]).await
}

#[async_trait]
impl Testbed for Vm {
    fn name(&self) -> &'static str {
        "vm"
    }

    fn fmd_server(&self) -> String {
        self.fmd_server.clone()
    }

    fn can(&self, capability: Capability) -> bool {
        CAPABILITIES.contains(&capability)
    }

    fn server(&self) -> Arc<dyn Node> {
        Arc::new(self.node.clone())
    }

    async fn client(&self, name: &str) -> Result<Arc<dyn Node>> {
        Ok(self.segment.client(name).await?)
    }

    async fn control(&self, service: Service, action: Action) -> Result<()> {
        services::control(&self.node, service, action).await
    }

    async fn reboot(&self) -> Result<()> {
        let reboot = Command::new(["systemctl", "--no-block", "reboot"]);
        self.node
            .run(reboot)
            .await?
            .ok()
            .context("asking for a reboot")?;
        let mut connection = self.connection.lock().await;
        if let Some(old) = connection.take() {
            old.close().await?;
        }
        let mut agent = self.agent.lock().await;
        if let Err(error) = agent.ready().await {
            return Err(error.context(format!(
                "the machine does not come back. {}",
                self.qemu.lock().await.last_words().await
            )));
        }
        *connection = Some(self.node.connect(&mut agent, &self.key).await?);
        Ok(())
    }

    async fn service_log(&self, service: Service) -> Result<String> {
        services::log(&self.node, service).await
    }

    fn ports_beside(&self) -> Vec<u16> {
        vec![22]
    }

    async fn stop(&self) -> Result<()> {
        if let Some(connection) = self.connection.lock().await.take() {
            connection.close().await?;
        }
        self.qemu.lock().await.kill().await?;
        self.segment.stop().await
    }
}
