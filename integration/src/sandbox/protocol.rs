//! What parent, opener and init tell each other: one JSON value a line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::testbed::{Addresses, FileTree};

/// The number of the first descriptor that init is handed: out of the way of whatever a shell or a
/// job server left open.
pub const FIRST_FD: i32 = 200;

/// From the parent to the opener.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Init's working directory.
    pub cwd: PathBuf,
    /// Paths to open as file descriptors [`FIRST_FD`] and up of init.
    pub opens: Vec<PathBuf>,
}

/// From opener and init to the parent.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// The user namespace exists and waits for its id maps.
    Unshared,
    /// The kernel said no.
    Refused { errno: i32 },
    /// Init runs, under this process id outside.
    Init { pid: u32 },
    /// The job is done.
    Done,
    /// It is not.
    Failed { error: String },
}

/// What init is to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Job {
    /// Run a command to its end.
    Command { argv: Vec<String> },
    /// Become a machine: mounts, host name, network; then wait.
    Machine(Box<Machine>),
}

/// A machine made of namespaces.
#[derive(Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Its host name.
    pub host_name: String,
    /// Files laid over the root filesystem, which is descriptor [`FIRST_FD`].
    pub files: FileTree,
    /// Further open file descriptors to copy to executables at these paths: `(fd, path)`.
    pub programs: Vec<(i32, String)>,
    /// The addresses of the node `server`, unless the server is no part of the sandbox.
    pub server: Option<Addresses>,
}
