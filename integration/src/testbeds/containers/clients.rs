//! Clients: containers on nginx's network, and outside of it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::models::{ContainerCreateBody, EndpointSettings, HostConfig, NetworkConnectRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, LogsOptionsBuilder, StartContainerOptions, WaitContainerOptions,
};
use futures::{StreamExt, TryStreamExt};

use super::engine::explain;
use super::launch::{Run, random_bits};
use super::node::{ContainerNode, User};
use super::session::Sessions;
use crate::testbed::{Addresses, Command, Node, Way};

/// The network of nginx and its clients, and that of FMD Server (`compose.yaml`).
pub const FRONT: &str = "front";
pub const PUSH: &str = "push";

/// The IPv6 addresses of a run: a /48 of the range for private use (RFC 4193).
#[derive(Debug, Clone, Copy)]
pub struct Prefix([u16; 3]);

impl Prefix {
    /// A prefix that no other run has.
    pub fn random() -> Result<Self> {
        let (high, low) = (random_bits()?, random_bits()?);
        let halves = |bits: u32| [(bits >> 16) as u16, (bits & 0xffff) as u16];
        let ([first, second], [third, _]) = (halves(high), halves(low));
        Ok(Self([0xfd00 | (first & 0xff), second, third]))
    }

    /// As the engine takes it.
    pub fn network(self) -> String {
        let [a, b, c] = self.0;
        format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
    }

    /// The address of a client, which has a /64 of its own.
    fn client(self, number: u16) -> Ipv6Addr {
        let [a, b, c] = self.0;
        Ipv6Addr::new(a, b, c, number, 0, 0, 0, number)
    }
}

/// What others on a network know a container by.
#[derive(Debug, Clone)]
pub struct Standing {
    pub addresses: Addresses,
    mac: String,
}

/// Makes client containers for a run.
#[derive(Debug, Clone)]
pub struct Clients {
    pub docker: Docker,
    pub run: Run,
    pub prefix: Prefix,
    /// The image they all run from.
    pub image: String,
    pub sessions: Sessions,
}

impl Clients {
    /// A client on nginx's network, in a /64 of its own.
    pub async fn join(&self, name: &str, number: u16) -> Result<ContainerNode> {
        let network = self.run.full(FRONT);
        let container = self.start(name, &network).await?;
        let given = addresses(&self.docker, &container, &network).await?;
        let v6 = self.prefix.client(number);
        let node = self.node(
            name,
            container,
            Addresses {
                v6: Some(v6),
                ..given
            },
        );
        // Engine 20.10 takes no address outside of its network's first /64, though it is in range.
        let readdress =
            "ip -6 addr flush dev eth0 scope global; ip -6 addr add \"$1/48\" dev eth0 nodad";
        let command = Command::shell(readdress, &[&v6.to_string()]);
        node.run(command)
            .await?
            .ok()
            .with_context(|| format!("addressing client {name}"))?;
        Ok(node)
    }

    /// A client that comes to the published port `port` from elsewhere; its URL is the second value.
    pub async fn outsider(
        &self,
        name: &str,
        way: Way,
        port: u16,
    ) -> Result<(ContainerNode, String)> {
        match way {
            Way::Proxied => self.proxied(name, port).await,
            Way::Routed => self.routed(name, port).await,
        }
    }

    /// On nginx's own network, but by way of the port that the host publishes: from there, every
    /// engine's user-land proxy or masquerading shows the network's gateway as the client.
    async fn proxied(&self, name: &str, port: u16) -> Result<(ContainerNode, String)> {
        let network = self.run.full(FRONT);
        let container = self.start(name, &network).await?;
        let gateway = endpoint(&self.docker, &container, &network)
            .await?
            .gateway
            .context("no gateway")?;
        let addresses = addresses(&self.docker, &container, &network).await?;
        Ok((
            self.node(name, container, addresses),
            format!("http://{gateway}:{port}"),
        ))
    }

    /// Behind the host as a router, like a machine on the internet: its packets keep its address.
    ///
    /// The host gets one interface for it (RFC 2544 addresses), which ends with the client's
    /// container. Rights on the network of the host are held by a helper for as long as that takes.
    async fn routed(&self, name: &str, port: u16) -> Result<(ContainerNode, String)> {
        let container = self.start(name, "none").await?;
        let bits = random_bits()?;
        let [_, _, third, fourth] = bits.to_be_bytes();
        let host = Ipv4Addr::new(198, 18, third, fourth & 0xfc | 1);
        let client = Ipv4Addr::new(198, 18, third, fourth & 0xfc | 2);
        let interface = format!("fmd{bits:08x}");
        let pid = format!("container:{container}");
        let link = format!(
            "ip link add {interface} type veth peer name eth0 netns 1 && ip addr add {host}/30 dev {interface} && \
             ip link set {interface} up"
        );
        self.help("link", &link, "host", Some(&pid))
            .await
            .context("linking the client to the host")?;
        let address = format!(
            "ip addr add {client}/30 dev eth0 && ip link set eth0 up && ip route add default via {host}"
        );
        self.help("address", &address, &pid, None)
            .await
            .context("addressing the client")?;
        let node = self.node(
            name,
            container,
            Addresses {
                v4: client,
                v6: None,
            },
        );
        Ok((node, format!("http://{host}:{port}")))
    }

    /// Puts a client on FMD Server's network too, and tells its address there.
    pub async fn face_fmd_server(&self, client: &ContainerNode) -> Result<IpAddr> {
        let network = self.run.full(PUSH);
        let request = NetworkConnectRequest {
            container: client.container.clone(),
            ..Default::default()
        };
        let connected = self.docker.connect_network(&network, request).await;
        connected.map_err(|error| {
            explain(
                &error,
                &format!("connecting {} to network {PUSH}", client.name),
            )
        })?;
        Ok(IpAddr::V4(
            addresses(&self.docker, &client.container, &network)
                .await?
                .v4,
        ))
    }

    /// How nginx stands on the network of its clients.
    pub async fn standing(&self, container: &str) -> Result<Standing> {
        let endpoint = endpoint(&self.docker, container, &self.run.full(FRONT)).await?;
        Ok(Standing {
            addresses: parse_addresses(container, &endpoint)?,
            mac: endpoint.mac_address.unwrap_or_default(),
        })
    }

    /// Gives a container back what it had on nginx's network before it was restarted: Podman has
    /// other addresses for it then, while a server on the internet keeps its own.
    pub async fn keep_standing(&self, container: &str, had: &Standing) -> Result<()> {
        let now = self.standing(container).await?;
        let mut changes = Vec::new();
        if now.mac != had.mac {
            changes.push(format!("ip link set dev eth0 address {}", had.mac));
        }
        let has = now.addresses.all();
        for address in had.addresses.all() {
            if !has.contains(&address) {
                changes.push(format!("ip addr add {address} dev eth0 nodad"));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let network = format!("container:{container}");
        self.help("address", &changes.join(" && "), &network, None)
            .await
            .with_context(|| format!("addressing {container} as before"))
    }

    fn node(&self, name: &str, container: String, addresses: Addresses) -> ContainerNode {
        ContainerNode {
            docker: self.docker.clone(),
            name: name.to_owned(),
            container,
            addresses,
            user: User::Root,
            folders: Vec::new(),
            sessions: Some(self.sessions.clone()),
        }
    }

    /// A container that does nothing by itself. It may give itself more addresses, which an
    /// attacker's machine can as well.
    async fn start(&self, name: &str, network: &str) -> Result<String> {
        let host = HostConfig {
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(vec!["NET_ADMIN".to_owned()]),
            init: Some(true),
            network_mode: Some(network.to_owned()),
            // As Docker has it by itself: a client may be a proxy.
            sysctls: Some(HashMap::from([(
                "net.ipv4.ip_unprivileged_port_start".to_owned(),
                "0".to_owned(),
            )])),
            ..Default::default()
        };
        let body = ContainerCreateBody {
            entrypoint: Some(["sleep", "infinity"].map(str::to_owned).to_vec()),
            cmd: Some(Vec::new()),
            ..self.body(host)?
        };
        self.create(&self.run.full(name), body)
            .await
            .with_context(|| format!("client {name}"))
    }

    fn body(&self, host: HostConfig) -> Result<ContainerCreateBody> {
        Ok(ContainerCreateBody {
            image: Some(self.image.clone()),
            user: Some("0".to_owned()),
            labels: Some(self.run.labels()?),
            host_config: Some(host),
            ..Default::default()
        })
    }

    async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let created = self.docker.create_container(Some(options), body).await;
        let id = created
            .map_err(|error| explain(&error, "creating its container"))?
            .id;
        let started = self
            .docker
            .start_container(&id, None::<StartContainerOptions>)
            .await;
        started.map_err(|error| explain(&error, "starting its container"))?;
        Ok(name.to_owned())
    }

    /// Runs a script to its end in a container that may change the network it is on.
    async fn help(&self, name: &str, script: &str, network: &str, pid: Option<&str>) -> Result<()> {
        let host = HostConfig {
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(vec!["NET_ADMIN".to_owned()]),
            network_mode: Some(network.to_owned()),
            pid_mode: pid.map(str::to_owned),
            ..Default::default()
        };
        let body = ContainerCreateBody {
            entrypoint: Some(["sh", "-euc", script].map(str::to_owned).to_vec()),
            cmd: Some(Vec::new()),
            ..self.body(host)?
        };
        let container = self
            .create(
                &self.run.full(&format!("{name}-{:08x}", random_bits()?)),
                body,
            )
            .await?;
        // An exit status other than 0 comes as an error, of which the output says more.
        let ended = self
            .docker
            .wait_container(&container, None::<WaitContainerOptions>)
            .next()
            .await;
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
        let output: Vec<_> = self
            .docker
            .logs(&container, Some(options))
            .try_collect()
            .await?;
        let output: String = output.iter().map(ToString::to_string).collect();
        ensure!(
            matches!(ended, Some(Ok(_))),
            "`{script}`: {}",
            output.trim()
        );
        Ok(())
    }
}

/// A container's addresses on a network.
pub async fn addresses(docker: &Docker, container: &str, network: &str) -> Result<Addresses> {
    let endpoint = endpoint(docker, container, network).await?;
    parse_addresses(container, &endpoint)
}

fn parse_addresses(container: &str, endpoint: &EndpointSettings) -> Result<Addresses> {
    let v4 = endpoint.ip_address.as_deref().unwrap_or_default();
    let v4 = v4
        .parse()
        .with_context(|| format!("{container} has no IPv4 address: {v4:?}"))?;
    let v6 = endpoint.global_ipv6_address.as_deref();
    Ok(Addresses {
        v4,
        v6: v6.and_then(|v6| v6.parse().ok()),
    })
}

async fn endpoint(docker: &Docker, container: &str, network: &str) -> Result<EndpointSettings> {
    let found = docker.inspect_container(container, None).await;
    let found = found.map_err(|error| explain(&error, &format!("looking at {container}")))?;
    let mut networks = found
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default();
    networks
        .remove(network)
        .with_context(|| format!("{container} is not on {network}"))
}
