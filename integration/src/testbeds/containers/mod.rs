//! The testbed `containers`: the bundle of `containers/compose.yaml`, as it is shipped.
//!
//! Everything a run makes is labelled with its process and its run (see [`owner`]) and is removed by
//! [`Testbed::stop`], or by the [`janitor`] when the process ends in another way.

mod boot;
mod build;
mod clients;
mod compose;
mod engine;
mod images;
pub mod janitor;
mod launch;
mod node;
mod owner;
mod project;
mod reference;
mod services;
pub mod session;
mod sources;
mod sweep;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use async_trait::async_trait;
use bollard::Docker;
use futures::future::join_all;
use testcontainers::{ContainerAsync, GenericImage};
use tokio::sync::Mutex;

use crate::testbed::{
    Action, Addresses, Capability, FmdServer, Node, Outsider, Service, Spec, Testbed, Way,
};
use clients::{Clients, PUSH, Prefix, Standing, addresses};
use compose::Compose;
use images::Images;
use launch::{Launch, Run};
use node::ContainerNode;
use project::{Bundle, Project};
use services::Services;
use session::Sessions;
use sweep::Mark;

/// What this testbed can do beyond the common ground.
pub const CAPABILITIES: &[Capability] = &[
    Capability::ServiceControl,
    Capability::PublishedPort,
    Capability::Faults,
];

/// nginx's addresses before there are any.
const NOT_YET: Addresses = Addresses {
    v4: Ipv4Addr::UNSPECIFIED,
    v6: None,
};

/// The first client's number; the server and the gateway have lower ones.
const FIRST_CLIENT: u16 = 10;

/// Each has two networks, and Docker has address ranges for 30 by itself (moby's
/// daemon/libnetwork/ipamutils: 15 of 172.16.0.0/12 and 16 of 192.168.0.0/16, one of them docker0's).
const DOCKER_AT_ONCE: usize = 10;

/// With three, Podman 4.3.1 stood still in three runs of four: no call of its socket ended.
const PODMAN_AT_ONCE: usize = 2;

/// A running bundle and its clients.
pub struct Containers {
    docker: Docker,
    run: Run,
    services: Services,
    /// FMD Server's address on the network where only it is.
    fmd_address: Addresses,
    fmd_server: String,
    clients: Clients,
    /// nginx's, which it keeps.
    standing: Standing,
    joined: Mutex<HashMap<String, Arc<ContainerNode>>>,
    /// Dropped in this order: containers, and then what they were on.
    handles: Mutex<Vec<ContainerAsync<GenericImage>>>,
    cleanup: Cleanup,
    _project: Project,
}

/// The janitor's knowledge of a run, which it removes unless that has been done.
struct Cleanup {
    run: String,
    done: AtomicBool,
}

impl Cleanup {
    fn of(run: &Run) -> Result<Self> {
        janitor::hire()?;
        janitor::begin(run.name());
        Ok(Self {
            run: run.name().to_owned(),
            done: false.into(),
        })
    }

    fn done(&self) {
        self.done.store(true, Ordering::SeqCst);
        janitor::end(&self.run);
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if !self.done.load(Ordering::SeqCst) {
            janitor::abandon(&self.run);
        }
    }
}

/// Whether an engine answers that this testbed can use.
pub async fn check() -> Result<()> {
    engine::connect().await.map(drop)
}

/// How many bundles the engine can have at once, `wanted` at the most.
pub async fn at_once(wanted: usize) -> Result<usize> {
    let docker = engine::connect().await?;
    Ok(match engine::is_podman(&docker).await? {
        true => wanted.min(PODMAN_AT_ONCE),
        false => wanted.min(DOCKER_AT_ONCE),
    })
}

/// Builds the images, and removes what a killed run has left.
pub async fn prepare(fmd_server: &FmdServer, compose: Option<&Path>) -> Result<()> {
    // An error in the file is told before anything else is done.
    let bundle = bundle(compose)?;
    Compose::parse(&bundle.name, &bundle.compose, &BTreeMap::new())?;
    let docker = engine::connect().await?;
    sweep::sweep(&docker).await?;
    images::prepare(&docker, &bundle, fmd_server)
        .await
        .map(drop)
}

/// Removes the images that the suite made, and what killed runs have left.
pub async fn clean() -> Result<()> {
    let docker = engine::connect().await?;
    sweep::sweep(&docker).await?;
    images::clean(&docker).await
}

/// Makes the run's networks and volumes and starts its containers on them; nginx's addresses are
/// yet to be learnt.
async fn start_services(
    docker: &Docker,
    launch: &Launch<'_>,
) -> Result<(Services, Vec<ContainerAsync<GenericImage>>)> {
    tokio::try_join!(
        launch::networks(docker, launch.run, launch.compose),
        launch::volumes(docker, launch.run, launch.compose)
    )?;
    let services = Services {
        docker: docker.clone(),
        run: launch.run.clone(),
        addresses: NOT_YET,
        compose: launch.compose.clone(),
        folders: launch.folders()?,
        sessions: Sessions::default(),
    };
    let handles = boot::boot(launch, &services).await?;
    Ok((services, handles))
}

/// The compose file as a run starts it.
fn compose_of(images: &Images, prefix: Prefix, spec: &Spec) -> Result<Compose> {
    let mut compose = images.compose(&prefix.network())?;
    if !spec.fail2ban_net_admin {
        let fail2ban = compose.services.get_mut("fail2ban");
        fail2ban.context("no service fail2ban")?.cap_add = None;
    }
    Ok(compose)
}

fn bundle(compose: Option<&Path>) -> Result<Bundle> {
    compose.map_or_else(Bundle::shipped, Bundle::with_compose_file)
}

impl Containers {
    /// Starts the bundle and returns when all of it is ready.
    ///
    /// # Errors
    /// No engine, no images, a wrong compose file, or a service that dies: with its last lines.
    pub async fn start(spec: Spec, compose: Option<&Path>) -> Result<Self> {
        let docker = engine::connect().await?;
        let bundle = bundle(compose)?;
        let images = images::prepare(&docker, &bundle, &spec.fmd_server).await?;
        let prefix = Prefix::random()?;
        let compose = compose_of(&images, prefix, &spec)?;
        let run = Run::new(&spec.label)?;
        // From here on, whatever fails, the janitor removes what there is.
        let cleanup = Cleanup::of(&run)?;
        let project = Project::create(run.name(), &spec.files)?;
        let launch = Launch {
            run: &run,
            compose: &compose,
            bundle: &bundle,
            project: &project,
            files: &spec.files,
        };
        let (mut services, handles) = start_services(&docker, &launch).await?;
        let clients = Clients {
            docker: docker.clone(),
            run: run.clone(),
            prefix,
            image: images.suite,
            sessions: services.sessions.clone(),
        };
        let standing = clients.standing(&run.full(Service::Nginx.name())).await?;
        services.addresses = standing.addresses;
        let fmd_server = run.full(Service::FmdServer.name());
        let fmd_address = addresses(&docker, &fmd_server, &run.full(PUSH)).await?;
        services.wait_all_ready().await?;
        Ok(Self {
            docker,
            run,
            services,
            fmd_address,
            fmd_server: images.fmd_server,
            clients,
            standing,
            joined: Mutex::default(),
            handles: Mutex::new(handles),
            cleanup,
            _project: project,
        })
    }

    async fn joined(&self, name: &str) -> Result<Arc<ContainerNode>> {
        let mut joined = self.joined.lock().await;
        if let Some(client) = joined.get(name) {
            return Ok(client.clone());
        }
        let number = FIRST_CLIENT + u16::try_from(joined.len()).context("too many clients")?;
        let client = Arc::new(self.clients.join(name, number).await?);
        joined.insert(name.to_owned(), client.clone());
        Ok(client)
    }

    /// Starts what a service depends on, as Compose does.
    async fn start_dependencies(&self, service: Service) -> Result<()> {
        for name in self
            .services
            .compose
            .service(service.name())?
            .dependencies()
        {
            let dependency = boot::named(name)?;
            if !self.services.is_running(dependency).await? {
                self.services.control(dependency, Action::Start).await?;
            }
        }
        Ok(())
    }

    /// The host's port that the engine leads to nginx's port 80.
    async fn published_port(&self) -> Result<u16> {
        let nginx = self
            .docker
            .inspect_container(&self.run.full(Service::Nginx.name()), None)
            .await?;
        let ports = nginx
            .network_settings
            .and_then(|settings| settings.ports)
            .unwrap_or_default();
        let bindings = ports.get("80/tcp").cloned().flatten().unwrap_or_default();
        let port = bindings
            .iter()
            .find_map(|binding| binding.host_port.as_ref()?.parse().ok());
        port.context("the engine published no port for nginx's port 80")
    }
}

#[async_trait]
impl Testbed for Containers {
    fn name(&self) -> &'static str {
        "containers"
    }

    fn fmd_server(&self) -> String {
        self.fmd_server.clone()
    }

    fn can(&self, capability: Capability) -> bool {
        CAPABILITIES.contains(&capability)
    }

    fn server(&self) -> Arc<dyn Node> {
        Arc::new(ContainerNode {
            name: "server".to_owned(),
            ..self.services.node(Service::Nginx)
        })
    }

    fn service_node(&self, service: Service) -> Arc<dyn Node> {
        let node = self.services.node(service);
        let addresses = if service == Service::FmdServer {
            self.fmd_address
        } else {
            node.addresses
        };
        Arc::new(ContainerNode { addresses, ..node })
    }

    async fn client(&self, name: &str) -> Result<Arc<dyn Node>> {
        Ok(self.joined(name).await?)
    }

    async fn outsider(&self, name: &str, way: Way) -> Result<Outsider> {
        let (node, url) = self
            .clients
            .outsider(name, way, self.published_port().await?)
            .await?;
        Ok(Outsider {
            node: Arc::new(node),
            url,
        })
    }

    async fn facing_fmd_server(&self, client: &str) -> Result<IpAddr> {
        self.clients
            .face_fmd_server(self.joined(client).await?.as_ref())
            .await
    }

    async fn control(&self, service: Service, action: Action) -> Result<()> {
        let starts = matches!(action, Action::Start | Action::Restart);
        if starts {
            self.start_dependencies(service).await?;
        }
        let followed = service == Service::Nginx
            && starts
            && self.services.is_running(Service::Fail2ban).await?;
        self.services.control(service, action).await?;
        if starts && service == Service::Nginx {
            let container = self.run.full(service.name());
            self.clients
                .keep_standing(&container, &self.standing)
                .await?;
        }
        if followed {
            self.services.wait_ready(Service::Fail2ban).await?;
        }
        Ok(())
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
        self.services.log(service).await
    }

    async fn stop(&self) -> Result<()> {
        let run = Mark::run(self.run.name());
        sweep::kill(&self.docker, &run).await?;
        // What testcontainers can't remove, the pass by label below reports. First all the same: one
        // that is dropped and not removed by it blocks the thread until it is.
        let handles = std::mem::take(&mut *self.handles.lock().await);
        let _ = join_all(handles.into_iter().map(ContainerAsync::rm)).await;
        sweep::remove(&self.docker, &run).await?;
        self.cleanup.done();
        Ok(())
    }
}
