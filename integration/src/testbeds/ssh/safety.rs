//! What a run must not ban: the machine it is run from, the server itself, one client for another.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipnet::{IpNet, Ipv6Net};

use super::node::SshNode;
use crate::testbed::{Addresses, Command, Node};

/// Prints who the connection is from; before sudo, which clears the environment.
const FROM: &str = r#"echo "${SSH_CONNECTION%% *}""#;

/// The addresses from which this machine works on the server: its own, and that of the connection as
/// the server sees it (a router, or a machine on the way, may have changed it).
pub async fn own_addresses(server: &SshNode) -> Result<Vec<IpAddr>> {
    let mut plain = server.line.clone();
    plain.root = false;
    let seen = plain
        .run(Command::new(["sh", "-c", FROM]))
        .await?
        .ok()?
        .text();
    // A link-local address has its interface behind a percent sign.
    let seen = seen.trim().split('%').next().unwrap_or_default();
    let seen: IpAddr = seen.parse().with_context(|| {
        format!(
            "{}: SSH_CONNECTION names no address ({seen:?})",
            server.line.destination
        )
    })?;
    let mut own = vec![seen.to_canonical()];
    let interfaces = nix::ifaddrs::getifaddrs().context("listing this machine's addresses")?;
    for interface in interfaces {
        let Some(address) = interface.address else {
            continue;
        };
        if let Some(v4) = address.as_sockaddr_in() {
            own.push(IpAddr::V4(v4.ip()));
        }
        if let Some(v6) = address.as_sockaddr_in6() {
            own.push(IpAddr::V6(v6.ip()));
        }
    }
    own.retain(|address| !address.is_loopback());
    Ok(own)
}

/// Whom a ban of the client would hit beside it, in words; `None` if nobody.
pub fn would_ban(client: &Addresses, own: &[IpAddr], server: &Addresses) -> Option<String> {
    let hit = |others: &[IpAddr]| {
        let hits = |ban: &IpNet| others.iter().copied().find(|other| ban.contains(other));
        bans(client).iter().find_map(hits)
    };
    if let Some(address) = hit(own) {
        return Some(format!("this machine, which has the address {address}"));
    }
    hit(&server.all()).map(|address| format!("the server itself, which has the address {address}"))
}

/// What a ban of a client covers: its IPv4 address, and the /64 of its IPv6 address.
pub fn bans(client: &Addresses) -> Vec<IpNet> {
    let v4 = IpNet::from(IpAddr::V4(client.v4));
    let v6 = client
        .v6
        .and_then(|v6| Ipv6Net::new(v6, 64).ok())
        .map(|net| IpNet::V6(net.trunc()));
    std::iter::once(v4).chain(v6).collect()
}

/// Checks that no ban of one client hits another.
pub fn apart(clients: &[SshNode]) -> Result<()> {
    for (index, one) in clients.iter().enumerate() {
        for other in &clients[index + 1..] {
            let hit = bans(&one.addresses).into_iter().find(|ban| {
                other
                    .addresses
                    .all()
                    .iter()
                    .any(|address| ban.contains(address))
            });
            ensure!(
                hit.is_none(),
                "clients {} and {} share {}: a ban of one is a ban of the other. They have to be \
                 machines at different places",
                one.line.destination,
                other.line.destination,
                hit.map(|net| net.to_string()).unwrap_or_default()
            );
        }
    }
    Ok(())
}

/// Checks that the jail can ban the client at all.
pub async fn not_ignored(server: &SshNode, jail: &str, client: &SshNode) -> Result<()> {
    let get = Command::new(["fail2ban-client", "get", jail, "ignoreip"]);
    let text = server.run(get).await?.ok()?.text();
    for entry in text
        .lines()
        .filter_map(|line| line.split_whitespace().last())
    {
        let net = entry
            .parse::<IpNet>()
            .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
        let Ok(net) = net else { continue };
        for address in client.addresses.all() {
            ensure!(
                !net.contains(&address),
                "client {} can't be banned: its address {address} is in ignoreip of jail {jail} ({entry})",
                client.line.destination
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(v4: &str, v6: Option<&str>) -> Addresses {
        Addresses {
            v4: v4.parse().unwrap(),
            v6: v6.map(|text| text.parse().unwrap()),
        }
    }

    #[test]
    fn names_whom_a_ban_would_hit() {
        let server = node("203.0.113.1", Some("2001:db8:0:1::1"));
        let client = node("203.0.113.7", Some("2001:db8:0:7::7"));
        let own = |text: &str| vec![text.parse().unwrap()];
        assert_eq!(would_ban(&client, &own("203.0.113.8"), &server), None);
        assert!(
            would_ban(&client, &own("203.0.113.7"), &server)
                .unwrap()
                .contains("this machine")
        );
        // Another address of the same /64.
        assert!(would_ban(&client, &own("2001:db8:0:7::1"), &server).is_some());
        assert!(
            would_ban(&server, &own("203.0.113.8"), &server)
                .unwrap()
                .contains("the server")
        );
    }
}
