//! The testbed `ssh`: a deployment that already exists, and machines to attack it from.
//!
//! Nothing is started here and no configuration is changed. Every machine holds a guard, at the far
//! end of the connection, that puts back what a scenario changed even if the suite is killed.

mod addresses;
mod connection;
mod deployment;
mod machine;
mod node;
mod options;
mod safety;
mod services;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedMutexGuard};

pub use deployment::Deployment;
pub use options::{Destination, Options};

use crate::testbed::{Action, Capability, Command, FmdServer, Node, Service, Spec, Testbed};
use deployment::Connected;
use node::SshNode;

/// What this testbed may be able to do beyond the common ground; whether services can be controlled
/// shows when the server is connected.
pub const CAPABILITIES: &[Capability] = &[Capability::ServiceControl];

/// A deployment during one scenario.
pub struct Ssh {
    connected: Arc<Connected>,
    server: Arc<SshNode>,
    clients: Mutex<HashMap<String, Arc<SshNode>>>,
    /// A deployment takes one scenario at a time.
    _turn: OwnedMutexGuard<()>,
}

/// Connects to the machines, so that what is wrong with them is told once.
pub async fn prepare(deployment: &Deployment, fmd_server: &FmdServer) -> Result<()> {
    ensure!(
        *fmd_server == FmdServer::Embedded,
        "--fmd-server does not go with --testbed ssh, which proves the FMD Server that runs there"
    );
    deployment.connected().await?;
    Ok(())
}

impl Ssh {
    /// Waits for its turn and makes the deployment ready for a scenario.
    ///
    /// # Errors
    /// The scenario wants a changed configuration, or a machine does not answer.
    pub async fn start(deployment: &Deployment, spec: &Spec) -> Result<Self> {
        ensure!(
            spec.files == spec.shipped && spec.fail2ban_net_admin,
            "the configuration of a deployment is not changed: neither settings nor faults on testbed ssh"
        );
        let turn = deployment.turn.clone().lock_owned().await;
        let connected = deployment.connected().await?;
        connected
            .begin()
            .await
            .context("making the deployment ready")?;
        let server = Arc::new(connected.server.named("server"));
        Ok(Self {
            connected,
            server,
            clients: Mutex::default(),
            _turn: turn,
        })
    }
}

#[async_trait]
impl Testbed for Ssh {
    fn name(&self) -> &'static str {
        "ssh"
    }

    fn fmd_server(&self) -> String {
        format!(
            "FMD Server {} at {}",
            self.connected.version,
            self.connected.base_url()
        )
    }

    fn can(&self, capability: Capability) -> bool {
        capability == Capability::ServiceControl && self.connected.manager.is_some()
    }

    fn server(&self) -> Arc<dyn Node> {
        self.server.clone()
    }

    async fn client(&self, name: &str) -> Result<Arc<dyn Node>> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(name) {
            return Ok(client.clone());
        }
        let given = self.connected.clients.len();
        let node = self.connected.clients.get(clients.len()).with_context(|| {
            format!("no machine is left to be {name}: --client was given {given} times")
        })?;
        let node = Arc::new(node.named(name));
        clients.insert(name.to_owned(), node.clone());
        Ok(node)
    }

    async fn control(&self, service: Service, action: Action) -> Result<()> {
        let manager = self
            .connected
            .manager
            .context("the server has neither systemd nor OpenRC")?;
        manager.control(&self.server, service, action).await
    }

    async fn reboot(&self) -> Result<()> {
        anyhow::bail!("testbed ssh reboots nobody's machine")
    }

    async fn service_log(&self, service: Service) -> Result<String> {
        let unit = format!("_SYSTEMD_UNIT={service}.service");
        let journal = Command::new(["journalctl", "--no-pager", "--quiet", "--lines=40", &unit]);
        Ok(self.server.run(journal).await?.ok()?.text())
    }

    fn url(&self) -> String {
        self.connected.base_url()
    }

    fn url_v6(&self) -> Result<String> {
        let v6 = self.server.addresses().v6(&self.server.line.destination)?;
        Ok(self
            .connected
            .url
            .clone()
            .unwrap_or_else(|| format!("http://[{v6}]")))
    }

    fn registration_token(&self) -> Option<String> {
        self.connected.registration_token.clone()
    }

    fn ports_beside(&self) -> Vec<u16> {
        self.connected.ports_beside.clone()
    }

    async fn stop(&self) -> Result<()> {
        self.connected.end().await
    }
}
