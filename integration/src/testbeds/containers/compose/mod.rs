//! `compose.yaml`, typed: what the testbed can start is exactly what the file can say.
//!
//! A key that is not listed here is an error with its line, so that the file can't say more than is
//! tested. The format is the Compose Specification, of which these are the parts in use.

mod interpolate;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

pub use interpolate::interpolate;
pub use values::{HealthCheck, Mount, MountSource, Port};

/// A compose file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compose {
    /// What the services have in common, merged into each by `<<`.
    #[serde(rename = "x-service", default)]
    _common: Option<serde::de::IgnoredAny>,
    /// The services, by name.
    pub services: BTreeMap<String, Service>,
    /// The networks, by name.
    #[serde(default)]
    pub networks: BTreeMap<String, Option<Network>>,
    /// The named volumes.
    #[serde(default)]
    pub volumes: BTreeMap<String, Option<Volume>>,
}

/// A service. Every key is optional, so that the same type reads what is merged in by `<<`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    #[serde(rename = "<<")]
    common: Option<Box<Service>>,
    pub build: Option<Build>,
    pub cap_add: Option<Vec<String>>,
    pub cap_drop: Option<Vec<String>>,
    pub cpu_shares: Option<i64>,
    pub depends_on: Option<BTreeMap<String, Dependency>>,
    pub environment: Option<BTreeMap<String, String>>,
    pub healthcheck: Option<HealthCheck>,
    pub image: Option<String>,
    pub init: Option<bool>,
    pub logging: Option<Logging>,
    pub mem_limit: Option<String>,
    pub network_mode: Option<String>,
    pub networks: Option<Vec<String>>,
    pub pids_limit: Option<i64>,
    pub ports: Option<Vec<Port>>,
    pub read_only: Option<bool>,
    pub restart: Option<String>,
    pub security_opt: Option<Vec<String>>,
    #[serde(default, deserialize_with = "values::optional_duration")]
    pub stop_grace_period: Option<Duration>,
    pub sysctls: Option<BTreeMap<String, String>>,
    pub tmpfs: Option<Vec<String>>,
    pub user: Option<String>,
    pub volumes: Option<Vec<Mount>>,
}

/// What has to be reached before a service starts.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    pub condition: Condition,
}

/// The state another service has to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its health check succeeds.
    ServiceHealthy,
}

/// How an image is built.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Relative to the compose file; only `.` is supported.
    pub context: String,
    /// Relative to the context.
    pub dockerfile: String,
    #[serde(default)]
    pub args: BTreeMap<String, String>,
}

/// Where a service's output goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    pub driver: String,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// A network.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    #[serde(default)]
    pub enable_ipv6: bool,
    pub ipam: Option<Ipam>,
}

/// Address ranges of a network.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ipam {
    pub config: Vec<Subnet>,
}

/// One address range.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    pub subnet: String,
}

/// A named volume.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    #[serde(default)]
    pub driver_opts: BTreeMap<String, String>,
}

/// Which network a service is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Networking<'a> {
    /// None at all.
    None,
    /// The network namespace of another service.
    Of(&'a str),
    /// A network of the file.
    On(&'a str),
}

impl Compose {
    /// Reads a compose file; `name` is used in errors, `variables` for `${NAME:-default}`.
    ///
    /// # Errors
    /// Broken YAML, an unknown key or a value of the wrong kind, with its line; a reference to
    /// something the file does not define.
    pub fn parse(name: &str, text: &str, variables: &BTreeMap<String, String>) -> Result<Self> {
        let text = interpolate(text, variables).with_context(|| name.to_owned())?;
        let mut compose: Self =
            serde_yaml::from_str(&text).map_err(|error| located(name, &error))?;
        for service in compose.services.values_mut() {
            service.merge();
        }
        compose.check().with_context(|| name.to_owned())?;
        Ok(compose)
    }

    /// A service by its name.
    pub fn service(&self, name: &str) -> Result<&Service> {
        self.services
            .get(name)
            .with_context(|| format!("services.{name} is missing"))
    }

    fn check(&self) -> Result<()> {
        for (name, service) in &self.services {
            let at = |key: &str| format!("services.{name}.{key}");
            ensure!(service.image.is_some(), "{} is missing", at("image"));
            match service
                .networking()
                .with_context(|| format!("services.{name}"))?
            {
                Networking::Of(other) => {
                    ensure!(
                        self.services.contains_key(other),
                        "{}: no service {other}",
                        at("network_mode")
                    );
                }
                Networking::On(network) => {
                    ensure!(
                        self.networks.contains_key(network),
                        "{}: no network {network}",
                        at("networks")
                    );
                }
                Networking::None => {}
            }
            for dependency in service.dependencies() {
                ensure!(
                    self.services.contains_key(dependency),
                    "{}: no service {dependency}",
                    at("depends_on")
                );
            }
            for mount in service.volumes.iter().flatten() {
                if let MountSource::Volume(volume) = &mount.source {
                    ensure!(
                        self.volumes.contains_key(volume),
                        "{}: no volume {volume}",
                        at("volumes")
                    );
                }
            }
            if let Some(build) = &service.build {
                ensure!(
                    build.context == ".",
                    "{}: only `.` is supported",
                    at("build.context")
                );
            }
            service.memory().with_context(|| at("mem_limit"))?;
        }
        Ok(())
    }
}

impl Service {
    /// Takes over what is set by `<<` and not by the service itself.
    fn merge(&mut self) {
        let Some(common) = self.common.take() else {
            return;
        };
        let mut common = *common;
        common.merge();
        macro_rules! fill {
            ($($key:ident),*) => { $(self.$key = self.$key.take().or(common.$key);)* };
        }
        fill!(
            build,
            cap_add,
            cap_drop,
            cpu_shares,
            depends_on,
            environment,
            healthcheck,
            image,
            init,
            logging,
            mem_limit
        );
        fill!(
            network_mode,
            networks,
            pids_limit,
            ports,
            read_only,
            restart,
            security_opt,
            stop_grace_period,
            sysctls
        );
        fill!(tmpfs, user, volumes);
    }

    /// The network the service is on.
    pub fn networking(&self) -> Result<Networking<'_>> {
        match (self.network_mode.as_deref(), self.networks.as_deref()) {
            (Some("none"), None) => Ok(Networking::None),
            (Some(mode), None) => match mode.strip_prefix("service:") {
                Some(other) => Ok(Networking::Of(other)),
                None => bail!("network_mode: {mode:?} is neither `none` nor `service:NAME`"),
            },
            (None, Some([network])) => Ok(Networking::On(network)),
            (None, _) => bail!("networks: give exactly one, or a network_mode"),
            (Some(_), Some(_)) => bail!("networks and network_mode exclude each other"),
        }
    }

    /// The services that have to run before this one starts.
    pub fn dependencies(&self) -> Vec<&str> {
        let mut names: Vec<_> = self
            .depends_on
            .iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        if let Ok(Networking::Of(other)) = self.networking() {
            names.push(other);
        }
        names
    }

    /// How long the service may take to end; Compose's default is 10 s.
    pub fn stops_within(&self) -> Duration {
        self.stop_grace_period.unwrap_or(Duration::from_secs(10))
    }

    /// The memory limit in bytes.
    pub fn memory(&self) -> Result<Option<i64>> {
        self.mem_limit.as_deref().map(values::bytes).transpose()
    }
}

/// An error with file, line and column, in the form editors jump to.
fn located(name: &str, error: &serde_yaml::Error) -> anyhow::Error {
    match error.location() {
        Some(at) => Located {
            name: name.to_owned(),
            line: at.line(),
            column: at.column(),
            error: error.to_string(),
        }
        .into(),
        None => anyhow::anyhow!("{name}: {error}"),
    }
}

#[derive(Debug)]
struct Located {
    name: String,
    line: usize,
    column: usize,
    error: String,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            line,
            column,
            error,
        } = self;
        write!(f, "{name}:{line}:{column}: {error}")
    }
}

impl std::error::Error for Located {}

#[cfg(test)]
mod tests;
