//! Finding out under which addresses the machines see each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::node::SshNode;
use super::options::Destination;
use crate::client::Plan;
use crate::testbed::{Addresses, Command, Node};

/// The addresses of the server that a client gets an answer from, on the port of FMD Server's URL.
///
/// A machine may have many: of container bridges, of a management network. What counts is where the
/// clients reach nginx, so that is tried.
///
/// # Errors
/// None of them can be reached.
pub async fn of_server(
    server: &SshNode,
    given: &Destination,
    client: &SshNode,
    port: u16,
) -> Result<Addresses> {
    let here = global(server).await?;
    let v4 = match given.v4 {
        Some(v4) => Some(v4),
        None => first_open(client, here.iter().filter_map(v4_of), port).await?,
    };
    let Some(v4) = v4 else {
        let tried: Vec<_> = here.iter().map(ToString::to_string).collect();
        bail!(
            "{} reaches port {port} of {} at none of its IPv4 addresses (tried {}). Does nginx run, \
             and does the firewall let it in? Give the address with --server {}=ADDRESS, \
             or the port with --url",
            client.line.destination,
            server.line.destination,
            tried.join(", "),
            given.ssh
        )
    };
    let v6 = match given.v6 {
        Some(v6) => Some(v6),
        None => first_open(client, here.iter().filter_map(v6_of), port).await?,
    };
    Ok(Addresses { v4, v6 })
}

fn v4_of(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    }
}

fn v6_of(address: &IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(*v6),
    }
}

/// The first of these addresses on which something accepts connections from the client.
async fn first_open<A: Into<IpAddr> + Copy>(
    client: &SshNode,
    addresses: impl Iterator<Item = A>,
    port: u16,
) -> Result<Option<A>> {
    let own = global(client).await?;
    for candidate in addresses {
        let address = candidate.into();
        // An address that both have, such as that of an emulator's own network, is never the other's.
        if own.contains(&address) {
            continue;
        }
        let plan = serde_json::to_vec(&Plan::Scan {
            address,
            from: port,
            to: port,
        })?;
        let command = Command::new([client.suite(), "client"]).stdin(plan);
        if !client.run(command).await?.ok()?.text().trim().is_empty() {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// The addresses of a client that it speaks to the server from.
///
/// # Errors
/// It has no route to the server, or one through a translation of addresses.
pub async fn of_client(
    client: &SshNode,
    given: &Destination,
    server: &Addresses,
) -> Result<Addresses> {
    let v4 = match given.v4 {
        Some(v4) => v4,
        None => match source(client, IpAddr::V4(server.v4)).await? {
            Some(IpAddr::V4(v4)) if v4.is_private() && !server.v4.is_private() => bail!(
                "{} speaks to the server from {v4}, which is private: its router changes it. Give \
                 the address that the server sees: --client {}=ADDRESS",
                given.ssh,
                given.ssh
            ),
            Some(IpAddr::V4(v4)) => v4,
            _ => bail!(
                "{} has no route to the server's address {}",
                given.ssh,
                server.v4
            ),
        },
    };
    let v6 = match (given.v6, server.v6) {
        (Some(v6), _) => Some(v6),
        (None, Some(server)) => match source(client, IpAddr::V6(server)).await? {
            Some(IpAddr::V6(v6)) => Some(v6),
            _ => None,
        },
        (None, None) => None,
    };
    Ok(Addresses { v4, v6 })
}

/// The source address of a client's packets to `to`, as its routes have it.
async fn source(client: &SshNode, to: IpAddr) -> Result<Option<IpAddr>> {
    let route = Command::new(["ip", "-j", "route", "get", &to.to_string()]);
    let output = client.run(route).await?;
    if !output.success() {
        return Ok(None);
    }
    let routes: Value = serde_json::from_slice(&output.stdout).context("reading ip's JSON")?;
    Ok(routes[0]["prefsrc"]
        .as_str()
        .and_then(|text| text.parse().ok()))
}

/// Every address of a machine that others may reach.
pub async fn global(node: &SshNode) -> Result<Vec<IpAddr>> {
    let output = node
        .run(Command::new([
            "ip", "-j", "address", "show", "scope", "global",
        ]))
        .await?;
    let output = output.ok().with_context(|| {
        format!(
            "asking {} for its addresses (iproute2)",
            node.line.destination
        )
    })?;
    let links: Value = serde_json::from_slice(&output.stdout).context("reading ip's JSON")?;
    Ok(listed(&links))
}

/// The addresses in what `ip -j address` prints. Temporary ones may be gone tomorrow: last.
fn listed(links: &Value) -> Vec<IpAddr> {
    let infos = links.as_array().into_iter().flatten();
    let mut infos: Vec<_> = infos
        .flat_map(|link| link["addr_info"].as_array().into_iter().flatten())
        .collect();
    infos.retain(|info| info["deprecated"] != json!(true));
    infos.sort_by_key(|info| info["temporary"] == json!(true));
    infos
        .iter()
        .filter_map(|info| info["local"].as_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_lasts_first() {
        let links = json!([{}, {"addr_info": [
            {"local": "2001:db8::2", "temporary": true},
            {"local": "2001:db8::3", "deprecated": true},
            {"local": "2001:db8::1"},
            {"local": "203.0.113.1"},
        ]}]);
        let text: Vec<_> = listed(&links).iter().map(ToString::to_string).collect();
        assert_eq!(text, ["2001:db8::1", "203.0.113.1", "2001:db8::2"]);
    }
}
