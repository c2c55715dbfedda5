//! Values of a compose file that are more than text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A mount in its short form, `SOURCE:TARGET[:ro]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub source: MountSource,
    /// Absolute path in the container.
    pub target: String,
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A named volume.
    Volume(String),
    /// A path, relative to the compose file or absolute.
    Path(String),
}

impl FromStr for Mount {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (text, read_only) = match text.strip_suffix(":ro") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (source, target) = text
            .split_once(':')
            .context("not SOURCE:TARGET or SOURCE:TARGET:ro")?;
        ensure!(
            target.starts_with('/') && !target.contains(':'),
            "{target} is no absolute path"
        );
        let is_path = source.starts_with(['.', '/']);
        let source = if is_path {
            MountSource::Path(source.to_owned())
        } else {
            MountSource::Volume(source.to_owned())
        };
        Ok(Self {
            source,
            target: target.to_owned(),
            read_only,
        })
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (MountSource::Volume(source) | MountSource::Path(source)) = &self.source;
        write!(
            f,
            "{source}:{}{}",
            self.target,
            if self.read_only { ":ro" } else { "" }
        )
    }
}

/// A published port, `HOST:CONTAINER`, both TCP. Host port 0 lets the engine choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    pub host: u16,
    pub container: u16,
}

impl FromStr for Port {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (host, container) = text.split_once(':').context("not HOST:CONTAINER")?;
        let number = |text: &str| {
            text.parse::<u16>()
                .with_context(|| format!("{text:?} is no port"))
        };
        Ok(Self {
            host: number(host)?,
            container: number(container)?,
        })
    }
}

/// A health check whose command needs no shell.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// `CMD` and the command.
    pub test: Vec<String>,
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub start_period: Duration,
    pub retries: u32,
}

impl HealthCheck {
    /// The command, without `CMD`.
    pub fn command(&self) -> Result<&[String]> {
        match self.test.split_first() {
            Some((kind, command)) if kind == "CMD" && !command.is_empty() => Ok(command),
            _ => bail!("healthcheck.test: give [CMD, program, …]"),
        }
    }
}

macro_rules! from_text {
    ($($kind:ty),*) => { $(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|error| D::Error::custom(format!("{text:?}: {error:#}")))
            }
        }
    )* };
}

from_text!(Mount, Port);

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let seconds = text
        .strip_suffix('s')
        .and_then(|number| number.parse().ok());
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| D::Error::custom(format!("{text:?} is not whole seconds, such as 30s")))
}

/// A duration that may be missing.
pub fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// A size such as `256m`, in bytes.
pub fn bytes(text: &str) -> Result<i64> {
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'k')) => (&text[..at], 1 << 10),
        Some((at, 'm')) => (&text[..at], 1 << 20),
        Some((at, 'g')) => (&text[..at], 1 << 30),
        _ => bail!("{text:?} is not a size such as 256m"),
    };
    let number: i64 = number
        .parse()
        .with_context(|| format!("{text:?} is not a size such as 256m"))?;
    Ok(number * factor)
}
