//! A segment of network: a bridge in init's own network namespace, and a network namespace for
//! each node, joined to the bridge by a pair of virtual interfaces.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::testbed::Addresses;

/// The script that adds a node; used by init for the server and later for every client.
///
/// Arguments: node, number (unique), IPv4 address, IPv6 address.
///
/// Duplicate address detection is off, or IPv6 would not be usable for the first second. The whole
/// IPv6 /48 is on the link, so that each node can have a /64 of its own without routers.
pub const ADD_NODE: &str = r#"
ip netns add "$1"
ip link add "node$2" type veth peer name eth0 netns "$1"
ip link set "node$2" master segment up
# Not `ip -n`, which would mount a writable /sys.
nsenter --net="/run/netns/$1" sh -euc '
  echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
  ip link set lo up
  ip address add "$1/24" dev eth0
  ip -6 address add "$2/48" dev eth0 nodad
  ip link set eth0 up
' sh "$3" "$4"
"#;

/// Makes the bridge.
const SEGMENT: &str = "
ip link add segment type bridge forward_delay 0 mcast_snooping 0
ip link set lo up
ip link set segment up
";

/// Makes the segment and puts the server on it, if it is to have one.
pub fn set_up(server: Option<&Addresses>) -> Result<()> {
    let mut script = SEGMENT.to_owned();
    let mut args = Vec::new();
    if let Some(server) = server {
        let v6 = server.v6.context("the server has no IPv6 address")?;
        script.push_str(ADD_NODE);
        args = vec![
            "server".to_owned(),
            "0".to_owned(),
            server.v4.to_string(),
            v6.to_string(),
        ];
    }
    let output = Command::new("sh")
        .args(["-euc", &script, "sh"])
        .args(args)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .context("running sh")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "making the segment: {}",
        stderr.trim()
    );
    Ok(())
}
