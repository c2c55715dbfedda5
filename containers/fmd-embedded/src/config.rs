//! Upstream's settings: defaults, `config.yml` and `local.yml`, `FMD_*`
//! variables and flags, each overriding the one before it.

mod source;
mod value;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::log::Event;
pub use source::Environment;
use source::{Found, Source};

/// Upstream's default tile server.
const DEFAULT_TILE_SERVER_URL: &str = "https://{s}.tile.openstreetmap.org/{z}/{x}/{y}.png";

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Read instead of `/etc/fmd-server/config.yml` or `./config.yml`.
    pub config: Option<PathBuf>,
    pub db_dir: Option<PathBuf>,
    pub web_dir: Option<PathBuf>,
}

/// The settings of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub database_dir: PathBuf,
    /// Static files to serve instead of the built-in page.
    pub web_dir: Option<PathBuf>,
    pub listen: Listen,
    /// Letters of a generated account id, 1 to 64.
    pub user_id_length: usize,
    /// Locations kept per account.
    pub max_saved_loc: u32,
    /// Pictures kept per account.
    pub max_saved_pic: u32,
    /// Asked for at registration; none leaves registration open.
    pub registration_token: Option<String>,
    /// The header that holds the client's address; none takes the peer's.
    pub remote_ip_header: Option<String>,
    pub tile_server_url: String,
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A unix socket; without a mode the umask decides.
    Unix { path: PathBuf, mode: Option<u32> },
    /// All addresses, as upstream; port 0 lets the system choose.
    Tcp { port: u16 },
}

/// Settings, and what there is to say about where they came from.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub remarks: Vec<Event>,
}

/// Every key upstream knows.
const KEYS: [&str; 15] = [
    "DatabaseDir",
    "WebDir",
    "UnixSocketPath",
    "UnixSocketChmod",
    "PortSecure",
    "PortInsecure",
    "UserIdLength",
    "MaxSavedLoc",
    "MaxSavedPic",
    "RegistrationToken",
    "ServerCrt",
    "ServerKey",
    "RemoteIpHeader",
    "TileServerUrl",
    "MetricsAddrPort",
];

/// Reads the settings.
///
/// # Errors
/// An unreadable file, and any malformed value, named with its file (or
/// variable), key and value.
pub fn load(flags: &Flags, environment: &Environment) -> Result<Loaded> {
    let (source, mut remarks) = Source::read(flags, environment, &KEYS)?;
    refuse_tls(&source)?;
    if let Some(metrics) = source.find("MetricsAddrPort")
        && !metrics.text()?.is_empty()
    {
        remarks.push(
            Event::warn("the embedded build serves no metrics, ignoring MetricsAddrPort")
                .text("MetricsAddrPort", metrics.text()?),
        );
    }
    let settings = Settings {
        database_dir: path(&source, "DatabaseDir")?.unwrap_or_else(|| PathBuf::from("./db/")),
        web_dir: path(&source, "WebDir")?,
        listen: listen(&source)?,
        user_id_length: number(&source, "UserIdLength", 5, 1..=64)? as usize,
        max_saved_loc: number(&source, "MaxSavedLoc", 500, 0..=u32::MAX)?,
        max_saved_pic: number(&source, "MaxSavedPic", 10, 0..=u32::MAX)?,
        registration_token: text(&source, "RegistrationToken")?,
        remote_ip_header: text(&source, "RemoteIpHeader")?,
        tile_server_url: tile_server_url(&source, &mut remarks)?,
    };
    Ok(Loaded { settings, remarks })
}

fn refuse_tls(source: &Source) -> Result<()> {
    for key in ["ServerCrt", "ServerKey"] {
        if let Some(found) = source.find(key)
            && !found.text()?.is_empty()
        {
            bail!(
                "{}: the embedded build doesn't speak TLS; nginx terminates TLS here. \
                 Give the certificate to nginx and remove {key}",
                found.described()
            );
        }
    }
    Ok(())
}

/// Precedence as upstream: the socket, then the port. The secure port counts
/// for nothing, since there is no certificate.
fn listen(source: &Source) -> Result<Listen> {
    if let Some(path) = path(source, "UnixSocketPath")? {
        let mode = socket_mode(source)?;
        return Ok(Listen::Unix { path, mode });
    }
    match port(source)? {
        Some(port) => Ok(Listen::Tcp { port }),
        None => bail!(
            "no address to listen on: set UnixSocketPath to a path, \
             or PortInsecure to a port (it is off)"
        ),
    }
}

fn socket_mode(source: &Source) -> Result<Option<u32>> {
    let Some(found) = source.find("UnixSocketChmod") else {
        return Ok(Some(0o600));
    };
    match found.integer()? {
        ..0 => Ok(None),
        mode @ 0..=0o777 => Ok(Some(u32::try_from(mode)?)),
        _ => Err(found.malformed("a file mode from 0 to 0777, with the leading 0")),
    }
}

/// The port, or none when it is switched off by -1.
fn port(source: &Source) -> Result<Option<u16>> {
    let Some(found) = source.find("PortInsecure") else {
        return Ok(Some(8080));
    };
    if found.text()?.is_empty() {
        return Ok(None);
    }
    match found.integer()? {
        ..0 => Ok(None),
        port => u16::try_from(port)
            .map(Some)
            .map_err(|_| found.malformed("a port from 0 to 65535, or -1 for none")),
    }
}

fn number(
    source: &Source,
    key: &'static str,
    default: u32,
    range: std::ops::RangeInclusive<u32>,
) -> Result<u32> {
    let Some(found) = source.find(key) else {
        return Ok(default);
    };
    u32::try_from(found.integer()?)
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            found.malformed(&format!(
                "a number from {} to {}",
                range.start(),
                range.end()
            ))
        })
}

/// A non-empty string.
fn text(source: &Source, key: &'static str) -> Result<Option<String>> {
    let text = source.find(key).map(|found| found.text()).transpose()?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn path(source: &Source, key: &'static str) -> Result<Option<PathBuf>> {
    Ok(text(source, key)?.map(PathBuf::from))
}

fn tile_server_url(source: &Source, remarks: &mut Vec<Event>) -> Result<String> {
    let Some(url) = text(source, "TileServerUrl")? else {
        return Ok(DEFAULT_TILE_SERVER_URL.to_owned());
    };
    if url.chars().any(|c| c.is_control() || c == ' ') {
        let found: Option<Found> = source.find("TileServerUrl");
        let found = found.context("TileServerUrl vanished while it was read")?;
        return Err(found.malformed("a URL without spaces or control characters"));
    }
    if !url.contains("://") {
        remarks.push(Event::warn("TileServerUrl has no scheme").text("TileServerUrl", &url));
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
