//! A sandbox with a bridge in it, and the nodes joined to that bridge.
//!
//! The server of the namespaces testbed is one of them, the clients of every testbed that makes its
//! own network are others.

mod node;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::Mutex;

use crate::sandbox::{ADD_NODE, Job, Machine, Sandbox};
use crate::testbed::{Addresses, Command, Node};

pub use node::NamespaceNode;

/// Where the suite's binary stands on every node.
pub const SUITE: &str = "/usr/lib/fmd-stack/fmd-stack";

/// The server's number on the segment.
pub const SERVER_NUMBER: u8 = 1;
const FIRST_CLIENT: u8 = 10;

/// The addresses of node number `number`: 203.0.113.0/24 and 2001:db8::/48 are documentation
/// ranges (RFC 5737, RFC 3849); every node has a /64 of its own.
pub fn addresses(number: u8) -> Addresses {
    let v6 = Ipv6Addr::new(
        0x2001,
        0xdb8,
        0,
        u16::from(number),
        0,
        0,
        0,
        u16::from(number),
    );
    Addresses {
        v4: Ipv4Addr::new(203, 0, 113, number),
        v6: Some(v6),
    }
}

/// A running sandbox and the clients made in it so far.
#[derive(Debug)]
pub struct Segment {
    sandbox: Mutex<Sandbox>,
    init: u32,
    clients: Mutex<HashMap<String, Arc<NamespaceNode>>>,
}

impl Segment {
    /// Starts the sandbox; `opens` are the descriptors its machine asks for.
    ///
    /// # Errors
    /// As [`Sandbox::start`].
    pub async fn start(machine: Machine, opens: &[PathBuf]) -> Result<Self> {
        let job = Job::Machine(Box::new(machine));
        let sandbox = Sandbox::start(job, Path::new("/"), opens).await?;
        let init = sandbox.init_pid();
        Ok(Self {
            sandbox: Mutex::new(sandbox),
            init,
            clients: Mutex::new(HashMap::new()),
        })
    }

    /// A node that already stands on the segment.
    pub fn node(&self, name: &str, addresses: Addresses) -> NamespaceNode {
        NamespaceNode {
            name: name.to_owned(),
            addresses,
            init: self.init,
        }
    }

    /// The sandbox's own network namespace, which holds the bridge.
    pub fn itself(&self) -> NamespaceNode {
        self.node("segment", addresses(SERVER_NUMBER))
    }

    /// The client of this name, made at first use.
    pub async fn client(&self, name: &str) -> Result<Arc<NamespaceNode>> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(name) {
            return Ok(client.clone());
        }
        let number = FIRST_CLIENT + u8::try_from(clients.len()).context("too many clients")?;
        let client = Arc::new(self.add(name, number).await?);
        clients.insert(name.to_owned(), client.clone());
        Ok(client)
    }

    /// Adds a node with a number of its own.
    pub async fn add(&self, name: &str, number: u8) -> Result<NamespaceNode> {
        let node = self.node(name, addresses(number));
        let v4 = node.addresses.v4.to_string();
        let v6 = node.addresses.v6(name)?.to_string();
        let add = Command::shell(ADD_NODE, &[name, &number.to_string(), &v4, &v6]);
        self.itself()
            .run(add)
            .await?
            .ok()
            .with_context(|| format!("adding node {name}"))?;
        Ok(node)
    }

    /// Ends everything in the sandbox.
    pub async fn stop(&self) -> Result<()> {
        self.sandbox.lock().await.stop().await
    }
}
