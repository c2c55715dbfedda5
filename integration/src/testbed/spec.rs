//! What a testbed is asked to start.

use std::path::PathBuf;

use super::{FileTree, Service};

/// Which FMD Server is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FmdServer {
    /// `fmd-embedded`, which this binary contains.
    Embedded,
    /// A binary that takes upstream's command line.
    Binary(PathBuf),
    /// Upstream's image, as `containers/compose.yaml` names it (containers testbed only).
    Image,
}

/// A stack to start.
#[derive(Debug, Clone)]
pub struct Spec {
    /// A short name for what runs, used in names of containers, host names and messages.
    pub label: String,
    /// Which FMD Server runs.
    pub fmd_server: FmdServer,
    /// The configuration before settings and faults: a testbed may have prepared a machine with it.
    pub shipped: FileTree,
    /// The configuration: the overlay tree, settings and faults already in it.
    pub files: FileTree,
    /// Whether fail2ban may change the firewall; only a fault says no.
    pub fail2ban_net_admin: bool,
    /// How services are started, where the configuration says so itself; else as the testbed does.
    pub units: Vec<(Service, Unit)>,
}

/// How a service is started, as a unit of systemd's says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Whom the service runs as; root if it is not said.
    pub user: Option<String>,
    /// The user's group, if it is not one of the same name.
    pub group: Option<String>,
    /// Further groups.
    pub groups: Vec<String>,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// Folders that belong to the user.
    pub folders: Vec<Folder>,
}

/// A folder that is made for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its path.
    pub path: String,
    /// Its permission bits in octal.
    pub mode: String,
}

impl Spec {
    /// The stack as it is shipped.
    pub fn shipped(label: &str, fmd_server: FmdServer) -> anyhow::Result<Self> {
        Ok(Self {
            label: label.to_owned(),
            fmd_server,
            shipped: super::overlay(),
            files: super::overlay(),
            fail2ban_net_admin: true,
            units: Vec::new(),
        })
    }
}
