//! What a scenario sees: a testbed, its nodes and the services of the stack.
//!
//! Testbeds implement the traits of this folder and know no scenario; scenarios use them and know
//! no testbed.

mod fault;
mod files;
mod node;
mod spec;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;

pub use fault::{Break, Fault};
pub use files::{File, FileTree, overlay};
pub use node::{Addresses, Command, DEFAULT_DEADLINE, Node, Output, last_lines, write_by_command};
pub use spec::{FmdServer, Folder, Spec, Unit};

/// The services of the stack, in the order in which they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// systemd-journald
    Journal,
    /// FMD Server, upstream's or the embedded one
    FmdServer,
    /// nginx
    Nginx,
    /// fail2ban
    Fail2ban,
}

impl Service {
    /// All of them, in starting order.
    pub const ALL: [Service; 4] = [
        Service::Journal,
        Service::FmdServer,
        Service::Nginx,
        Service::Fail2ban,
    ];

    /// The name used in files, logs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Service::Journal => "journal",
            Service::FmdServer => "fmd-server",
            Service::Nginx => "nginx",
            Service::Fail2ban => "fail2ban",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What may be done to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Starts it and returns once it is ready.
    Start,
    /// Asks it to end and returns once it has.
    Stop,
    /// Stop, then start.
    Restart,
    /// SIGKILL; whether it comes back is the testbed's affair.
    Kill,
}

/// What a testbed can do beyond the common ground; a scenario may ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Each service can be stopped and started by itself.
    ServiceControl,
    /// The server has an init system: crashed services return, the machine reboots.
    Init,
    /// The server's clock can be set without touching the machine that runs the suite.
    Clock,
    /// Traffic reaches nginx through a published port of a container engine.
    PublishedPort,
    /// Files of the stack can be written before it starts, so that a fault can be seeded.
    Faults,
}

impl Capability {
    /// What to tell a reader when a testbed lacks it.
    pub fn describe(self) -> &'static str {
        match self {
            Capability::ServiceControl => "services that can be stopped and started",
            Capability::Init => "a machine with an init system",
            Capability::Clock => "a clock of its own",
            Capability::PublishedPort => "a published container port",
            Capability::Faults => "a stack that the run itself starts",
        }
    }
}

/// How a client outside the stack's networks comes to a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through the host as a router: its packets keep its address.
    Routed,
    /// Through the container engine's user-land proxy, where the engine has one: nginx sees the
    /// engine's gateway.
    Proxied,
}

/// A client outside the stack's networks.
pub struct Outsider {
    /// The client.
    pub node: Arc<dyn Node>,
    /// The base URL under which it reaches the published port.
    pub url: String,
}

/// What starts testbeds: a scenario needs one of its own, whichever it is.
#[async_trait]
pub trait Start: Sync {
    /// The stack to start for a scenario of this name, before settings and faults.
    fn spec(&self, label: &str) -> Result<Spec>;

    /// Starts the testbed and returns once the stack is ready.
    async fn start(&self, spec: Spec) -> Result<Box<dyn Testbed>>;
}

/// A running stack with its server and its clients.
#[async_trait]
pub trait Testbed: Send + Sync {
    /// The testbed's name on the command line.
    fn name(&self) -> &'static str;

    /// Which FMD Server runs, as every report says it.
    fn fmd_server(&self) -> String;

    /// Whether the testbed can do this.
    fn can(&self, capability: Capability) -> bool;

    /// What the stack runs on; its addresses are nginx's.
    fn server(&self) -> Arc<dyn Node>;

    /// Where a service's own commands (`fail2ban-client`, `nft`, `nginx`, `journalctl`) run: the
    /// server, unless services have nodes of their own.
    fn service_node(&self, service: Service) -> Arc<dyn Node> {
        let _ = service;
        self.server()
    }

    /// The client of this name, made at first use.
    async fn client(&self, name: &str) -> Result<Arc<dyn Node>>;

    /// A client that reaches nginx only through a published port, from outside the stack's networks.
    ///
    /// # Errors
    /// The testbed lacks [`Capability::PublishedPort`].
    async fn outsider(&self, name: &str, way: Way) -> Result<Outsider> {
        anyhow::bail!(
            "testbed {} publishes no port for {name} to come to ({way:?})",
            self.name()
        )
    }

    /// The address under which FMD Server reaches a client, for example to push to it. Where FMD
    /// Server has a network of its own, the client joins it.
    async fn facing_fmd_server(&self, client: &str) -> Result<IpAddr> {
        Ok(IpAddr::V4(self.client(client).await?.addresses().v4))
    }

    /// Starts, stops, restarts or kills a service.
    async fn control(&self, service: Service, action: Action) -> Result<()>;

    /// Restarts the whole server: a reboot where there is a machine, else every service.
    async fn reboot(&self) -> Result<()>;

    /// The last lines a service wrote to its standard output and error.
    async fn service_log(&self, service: Service) -> Result<String>;

    /// The base URL under which clients reach FMD Server by IPv4.
    fn url(&self) -> String {
        format!("http://{}", self.server().addresses().v4)
    }

    /// The base URL under which clients reach FMD Server by IPv6.
    fn url_v6(&self) -> Result<String> {
        let server = self.server();
        Ok(format!(
            "http://[{}]",
            server.addresses().v6(server.name())?
        ))
    }

    /// The registration token that FMD Server asks for, where the testbed knows of one.
    fn registration_token(&self) -> Option<String> {
        None
    }

    /// TCP ports open on the server that are no part of the stack, such as ssh's.
    fn ports_beside(&self) -> Vec<u16> {
        Vec::new()
    }

    /// Ends everything the testbed started. Dropping it does the same without waiting.
    async fn stop(&self) -> Result<()>;
}
