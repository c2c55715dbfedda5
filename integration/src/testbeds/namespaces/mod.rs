//! The testbed `namespaces`: a machine and its clients made of unprivileged namespaces.
//!
//! Works as an ordinary user and as root; nothing is installed or started on the host, and nothing
//! outlives the run (see [`crate::sandbox`]).

mod services;
mod units;

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;

use super::program::fmd_server;
use super::segment::{SERVER_NUMBER, SUITE, Segment, addresses};
use crate::rootfs;
use crate::sandbox::{FIRST_FD, Machine};
use crate::testbed::{Action, Capability, FmdServer, Node, Service, Spec, Testbed};
use services::Services;

/// Where FMD Server stands. The suite's binary under this name is the embedded one.
const FMD_SERVER: &str = "/usr/bin/fmd-server";

/// The overlay's own way to start fail2ban.
const LAUNCHER: &str = "usr/lib/fmd-stack/fail2ban-server";

/// A running stack in namespaces.
pub struct Namespaces {
    segment: Segment,
    services: Services,
    fmd_server: String,
}

/// What this testbed can do beyond the common ground.
pub const CAPABILITIES: &[Capability] = &[Capability::ServiceControl, Capability::Faults];

/// Checks what can be checked before anything is made.
pub fn check(fmd_server: &FmdServer) -> Result<()> {
    super::program::fmd_server(fmd_server).map(drop)
}

impl Namespaces {
    /// Starts the stack and returns when all its services are ready.
    ///
    /// # Errors
    /// No root filesystem can be made, namespaces are forbidden, or a service dies: the error quotes
    /// its last lines.
    pub async fn start(spec: Spec) -> Result<Self> {
        let rootfs = rootfs::ensure(&rootfs::STACK).await?;
        let (fmd_binary, fmd_server) = fmd_server(&spec.fmd_server)?;
        let suite = std::env::current_exe().context("finding the suite's own binary")?;
        let launcher = spec.files.get(LAUNCHER).is_some();
        let services = Services {
            fmd_server: FMD_SERVER,
            fail2ban: format!(
                "/{}",
                if launcher {
                    LAUNCHER
                } else {
                    "usr/bin/fail2ban-server"
                }
            ),
            fail2ban_net_admin: spec.fail2ban_net_admin,
            units: spec.units,
        };
        let machine = Machine {
            host_name: "server".to_owned(),
            files: spec.files,
            programs: vec![
                (FIRST_FD + 1, SUITE.to_owned()),
                (FIRST_FD + 2, FMD_SERVER.to_owned()),
            ],
            server: Some(addresses(SERVER_NUMBER)),
        };
        let opens = [rootfs.dir, suite.clone(), fmd_binary.unwrap_or(suite)];
        let segment = Segment::start(machine, &opens).await?;
        let testbed = Self {
            segment,
            services,
            fmd_server,
        };
        for service in Service::ALL {
            testbed.control(service, Action::Start).await?;
        }
        Ok(testbed)
    }
}

#[async_trait]
impl Testbed for Namespaces {
    fn name(&self) -> &'static str {
        "namespaces"
    }

    fn fmd_server(&self) -> String {
        self.fmd_server.clone()
    }

    fn can(&self, capability: Capability) -> bool {
        CAPABILITIES.contains(&capability)
    }

    fn server(&self) -> Arc<dyn Node> {
        Arc::new(self.segment.node("server", addresses(SERVER_NUMBER)))
    }

    async fn client(&self, name: &str) -> Result<Arc<dyn Node>> {
        Ok(self.segment.client(name).await?)
    }

    async fn control(&self, service: Service, action: Action) -> Result<()> {
        self.services
            .control(self.server().as_ref(), service, action)
            .await
    }

    async fn reboot(&self) -> Result<()> {
        for service in Service::ALL.into_iter().rev() {
            self.control(service, Action::Stop).await?;
        }
        for service in Service::ALL {
            self.control(service, Action::Start).await?;
        }
        Ok(())
    }

    async fn service_log(&self, service: Service) -> Result<String> {
        services::log(self.server().as_ref(), service).await
    }

    async fn stop(&self) -> Result<()> {
        self.segment.stop().await
    }
}
