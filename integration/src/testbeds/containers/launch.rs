//! From the compose file to the engine: networks, volumes and containers of a run.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    HostConfig, HostConfigLogConfig, Ipam, IpamConfig, NetworkCreateRequest, PortBinding,
    RestartPolicy, RestartPolicyNameEnum, VolumeCreateRequest,
};
use testcontainers::core::{Healthcheck, IntoContainerPort};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

use super::compose::{
    Compose, HealthCheck, MountSource, Networking, Port, Service as Definition, Subnet,
};
use super::engine::{explain, is_disturbed};
use super::node::{Folder, SUITE};
use super::owner::Owner;
use super::project::{Bundle, Project, ROOTFS};
use super::reference;
use crate::testbed::{FileTree, Service};

/// How long other runs' networks may come and go while one is made.
const DISTURBED_FOR: Duration = Duration::from_secs(5);

/// A run's names: everything of it begins with this.
#[derive(Debug, Clone)]
pub struct Run(String);

impl Run {
    /// A name for a run, different from every other.
    pub fn new(label: &str) -> Result<Self> {
        let random: u32 = random_bits()?;
        Ok(Self(format!("{label}-{random:08x}")))
    }

    /// The name itself, as it stands in labels.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The full name of a container, network or volume of the run.
    pub fn full(&self, name: &str) -> String {
        format!("fmd-stack-{}-{name}", self.0)
    }

    /// Labels of what is made for the run.
    pub fn labels(&self) -> Result<HashMap<String, String>> {
        Ok(Owner::this()?.labels(&self.0))
    }
}

/// Random bits from the kernel.
pub fn random_bits() -> Result<u32> {
    use std::io::Read;
    let mut bytes = [0; 4];
    let mut source = std::fs::File::open("/dev/urandom").context("opening /dev/urandom")?;
    source
        .read_exact(&mut bytes)
        .context("reading random bits")?;
    Ok(u32::from_le_bytes(bytes))
}

/// Makes the networks of a run.
pub async fn networks(docker: &Docker, run: &Run, compose: &Compose) -> Result<()> {
    for (name, network) in &compose.networks {
        let network = network.clone().unwrap_or_default();
        let ipam = network.ipam.map(|ipam| Ipam {
            config: Some(ipam.config.into_iter().map(subnet).collect()),
            ..Default::default()
        });
        let request = NetworkCreateRequest {
            name: run.full(name),
            enable_ipv6: Some(network.enable_ipv6),
            ipam,
            labels: Some(run.labels()?),
            ..Default::default()
        };
        create_network(docker, request)
            .await
            .map_err(|error| explain(&error, &format!("making network {name}")))?;
    }
    Ok(())
}

async fn create_network(docker: &Docker, request: NetworkCreateRequest) -> Result<(), Error> {
    let end = Instant::now() + DISTURBED_FOR;
    loop {
        match docker.create_network(request.clone()).await {
            Err(error) if is_disturbed(&error) && Instant::now() < end => {}
            made => return made.map(drop),
        }
    }
}

fn subnet(range: Subnet) -> IpamConfig {
    IpamConfig {
        subnet: Some(range.subnet),
        ..Default::default()
    }
}

/// Makes the named volumes of a run.
pub async fn volumes(docker: &Docker, run: &Run, compose: &Compose) -> Result<()> {
    for (name, volume) in &compose.volumes {
        let volume = volume.clone().unwrap_or_default();
        let request = VolumeCreateRequest {
            name: Some(run.full(name)),
            driver_opts: Some(volume.driver_opts.into_iter().collect()),
            labels: Some(run.labels()?),
            ..Default::default()
        };
        docker
            .create_volume(request)
            .await
            .map_err(|error| explain(&error, &format!("making volume {name}")))?;
    }
    Ok(())
}

/// How one service of a run is started.
pub struct Launch<'a> {
    pub run: &'a Run,
    pub compose: &'a Compose,
    pub bundle: &'a Bundle,
    pub project: &'a Project,
    /// The run's configuration.
    pub files: &'a FileTree,
}

impl Launch<'_> {
    /// Starts a service's container, as the compose file describes it.
    pub async fn start(
        &self,
        name: &str,
        service: &Definition,
    ) -> Result<ContainerAsync<GenericImage>> {
        let request = self
            .request(name, service)
            .with_context(|| format!("services.{name}"))?;
        let started = request.start().await;
        started.map_err(|error| explain(&error, name).context(format!("starting {name}")))
    }

    fn request(&self, name: &str, service: &Definition) -> Result<ContainerRequest<GenericImage>> {
        let image = service.image.as_deref().context("no image")?;
        let (image, tag) = reference::split(image);
        let host = self.host_config(name, service)?;
        let ports = service.ports.iter().flatten();
        let mut request = ports
            .fold(GenericImage::new(image, tag), |image, port| {
                image.with_exposed_port(port.container.tcp())
            })
            .with_container_name(self.run.full(name))
            .with_labels(self.run.labels()?)
            .with_startup_timeout(Duration::from_secs(60))
            .with_host_config_modifier(move |config| *config = host.clone());
        for (key, value) in service.environment.iter().flatten() {
            request = request.with_env_var(key, value);
        }
        if let Some(user) = &service.user {
            request = request.with_user(user);
        }
        if let Some(check) = &service.healthcheck {
            request = request.with_health_check(healthcheck(check)?);
        }
        Ok(request)
    }

    fn host_config(&self, name: &str, service: &Definition) -> Result<HostConfig> {
        let network = match service.networking()? {
            Networking::None => "none".to_owned(),
            Networking::Of(other) => format!("container:{}", self.run.full(other)),
            Networking::On(network) => self.run.full(network),
        };
        let ports = service.ports.as_deref().unwrap_or_default();
        let logging = service.logging.clone().map(|logging| HostConfigLogConfig {
            typ: Some(logging.driver),
            config: Some(logging.options.into_iter().collect()),
        });
        Ok(HostConfig {
            binds: Some(self.binds(name, service)?),
            cap_add: service.cap_add.clone(),
            cap_drop: service.cap_drop.clone(),
            cpu_shares: service.cpu_shares,
            init: service.init,
            log_config: logging,
            memory: service.memory()?,
            network_mode: Some(network),
            pids_limit: service.pids_limit,
            port_bindings: Some(ports.iter().map(publish).collect()),
            readonly_rootfs: service.read_only,
            restart_policy: service.restart.as_deref().map(restart_policy).transpose()?,
            security_opt: service.security_opt.clone(),
            sysctls: service
                .sysctls
                .clone()
                .map(|sysctls| sysctls.into_iter().collect()),
            tmpfs: Some(
                service
                    .tmpfs
                    .iter()
                    .flatten()
                    .map(|mount| tmpfs(mount))
                    .collect(),
            ),
            ..Default::default()
        })
    }

    /// What the compose file mounts, the files in which the run differs from the image, and the
    /// suite's own binary, which runs commands there.
    ///
    /// They are mounted and not uploaded, since engines refuse to write to a container whose root is
    /// read-only; and the shipped images run read-only in every scenario.
    fn binds(&self, name: &str, service: &Definition) -> Result<Vec<String>> {
        let mut binds = Vec::new();
        let mut mounted = Vec::new();
        for mount in service.volumes.iter().flatten() {
            let source = match &mount.source {
                MountSource::Volume(volume) => self.run.full(volume),
                MountSource::Path(path) => self.project.resolve(path)?,
            };
            mounted.push(mount.target.as_str());
            let mode = if mount.read_only { ":ro" } else { "" };
            binds.push(format!("{source}:{}{mode}", mount.target));
        }
        for (path, target) in self.changed(name, service)? {
            let covered =
                |mount: &&str| target == *mount || target.starts_with(&format!("{mount}/"));
            if mounted.iter().any(covered) {
                continue;
            }
            let source = self.project.resolve(&format!("{ROOTFS}{path}"))?;
            binds.push(format!("{source}:{target}:ro"));
        }
        if service.build.is_some() {
            let own = std::env::current_exe().context("finding the suite's own binary")?;
            binds.push(format!("{}:{SUITE}:ro", own.display()));
        }
        Ok(binds)
    }

    /// The folders of this machine that each service has.
    pub fn folders(&self) -> Result<HashMap<Service, Vec<Folder>>> {
        let mut all = HashMap::new();
        for service in Service::ALL {
            let mut folders = Vec::new();
            let definition = self.compose.service(service.name())?;
            for mount in definition.volumes.iter().flatten() {
                if let MountSource::Path(path) = &mount.source {
                    let path = self.project.resolve(path)?.into();
                    let target = mount.target.clone();
                    folders.push(Folder { target, path });
                }
            }
            all.insert(service, folders);
        }
        Ok(all)
    }

    /// The files of the run that differ from what the service's image carries, and their places.
    ///
    /// A file that no image carries, such as one of a package's, differs in all of our images.
    fn changed(&self, name: &str, service: &Definition) -> Result<Vec<(String, String)>> {
        let ours = service.build.is_some();
        let shipped = if ours {
            self.bundle.overlay()
        } else {
            BTreeMap::new()
        };
        let own = self.places(name, service)?;
        let mut all = Vec::new();
        for (name, service) in &self.compose.services {
            all.extend(self.places(name, service)?);
        }
        let mut changed = Vec::new();
        for (path, file) in self.files.iter() {
            if shipped.get(path) == Some(&file) {
                continue;
            }
            if let Some(target) = locate(path, &own) {
                changed.push((path.to_owned(), target));
            } else if ours && locate(path, &all).is_none() {
                changed.push((path.to_owned(), format!("/{path}")));
            }
        }
        Ok(changed)
    }

    /// The folders of the configuration that a service takes, and where it has them.
    fn places(&self, name: &str, service: &Definition) -> Result<Vec<(String, String)>> {
        match &service.build {
            Some(build) => self.bundle.copied(&build.dockerfile),
            // An image that is not ours carries nothing of ours.
            None => Ok(vec![(format!("etc/{name}"), format!("/etc/{name}"))]),
        }
    }
}

/// Where a file of the configuration is in a container with these places.
fn locate(path: &str, places: &[(String, String)]) -> Option<String> {
    places.iter().find_map(|(source, target)| {
        Some(format!("{target}{}", path.strip_prefix(source.as_str())?))
    })
}

fn healthcheck(check: &HealthCheck) -> Result<Healthcheck> {
    Ok(Healthcheck::cmd(check.command()?)
        .with_interval(check.interval)
        .with_timeout(check.timeout)
        .with_start_period(check.start_period)
        .with_retries(check.retries))
}

fn publish(port: &Port) -> (String, Option<Vec<PortBinding>>) {
    let binding = PortBinding {
        host_ip: None,
        host_port: Some(port.host.to_string()),
    };
    (format!("{}/tcp", port.container), Some(vec![binding]))
}

fn tmpfs(mount: &str) -> (String, String) {
    let (target, options) = mount.split_once(':').unwrap_or((mount, ""));
    (target.to_owned(), options.to_owned())
}

fn restart_policy(name: &str) -> Result<RestartPolicy> {
    let name = match name {
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "always" => RestartPolicyNameEnum::ALWAYS,
        "no" => RestartPolicyNameEnum::NO,
        other => bail!("restart: {other:?} is neither unless-stopped nor always nor no"),
    };
    Ok(RestartPolicy {
        name: Some(name),
        maximum_retry_count: None,
    })
}
