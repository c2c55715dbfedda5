//! The wire between qemu and the segment.
//!
//! A tap device would do the same in the kernel, but `/dev/net/tun` is root's alone on some
//! machines. qemu reads and writes frames on a datagram socket instead; this process, inside the
//! sandbox, passes them on to one end of a veth pair, whose other end is a port of the bridge.

use std::io::stdin;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::testbed;
use crate::testbed::Node;
use crate::testbeds::segment::{SUITE, Segment};

/// The hidden subcommand: standard input is qemu's socket.
pub const WIRE: &str = "vm-wire";

/// The end of the veth pair that stands for the machine.
const PLUG: &str = "server";

/// Makes the veth pair. Frames come from other network namespaces of this kernel, which leaves
/// checksums and segmentation to a network card: switched off on the port, the kernel does both.
const PLUG_IN: &str = r#"
ip link add port1 type veth peer name "$1"
echo 1 >"/proc/sys/net/ipv6/conf/$1/disable_ipv6"
ethtool -K port1 tx off >/dev/null
ip link set "$1" arp off up
ip link set port1 master segment up
"#;

/// The largest frame: an Ethernet header, a VLAN tag, and 1,500 bytes; room for more does no harm.
const FRAME: usize = 65536;

/// What the process says once frames are passed on.
const READY: &str = "ready";

/// It opens a socket; a loaded machine takes its time to start a process.
const START: Duration = Duration::from_secs(20);

/// Joins qemu's socket to the segment; the process ends with the sandbox.
pub async fn plug_in(segment: &Segment, qemu: OwnedFd) -> Result<()> {
    let itself = segment.itself();
    let script = testbed::Command::shell(PLUG_IN, &[PLUG]);
    itself
        .run(script)
        .await?
        .ok()
        .context("making the machine's port on the segment")?;
    let words = itself.enter();
    let mut wire: Child = Command::new(&words[0])
        .args(&words[1..])
        .args([SUITE, WIRE])
        .stdin(Stdio::from(qemu))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting the wire")?;
    is_ready(&mut wire).await?;
    // Reaped when it ends, so that no zombie stays; nobody waits for this task.
    tokio::spawn(async move { wire.wait().await });
    Ok(())
}

/// Waits until frames that qemu sends are passed on: those sent before would be lost.
async fn is_ready(wire: &mut Child) -> Result<()> {
    let stdout = wire.stdout.take().context("the wire has no output")?;
    let mut line = String::new();
    let mut reader = BufReader::new(stdout);
    timeout(START, reader.read_line(&mut line))
        .await
        .context("the wire between qemu and the segment is not ready")?
        .context("reading from the wire")?;
    if line.trim_end() != READY {
        let mut why = String::new();
        if let Some(mut stderr) = wire.stderr.take() {
            let _ = timeout(START, stderr.read_to_string(&mut why)).await;
        }
        bail!("the wire between qemu and the segment: {}", why.trim());
    }
    Ok(())
}

/// Passes frames on in both directions until the sandbox ends.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let plug = packet_socket()?;
    println!("{READY}");
    let (inside, outside) = (stdin().as_raw_fd(), plug.as_raw_fd());
    std::thread::spawn(move || pass_on(outside, inside));
    pass_on(inside, outside);
    Ok(())
}

fn packet_socket() -> Result<OwnedFd> {
    let plug = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .context("opening a packet socket")?;
    bind(plug.as_raw_fd(), &address()?).context("binding the packet socket")?;
    Ok(plug)
}

/// The link-layer address of the plug, which holds its interface number.
fn address() -> Result<LinkAddr> {
    getifaddrs()
        .context("listing interfaces")?
        .filter(|interface| interface.interface_name == PLUG)
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .with_context(|| format!("no interface {PLUG}"))
}

/// Copies frames until one side is closed. A frame that does not fit is lost, as on any wire.
fn pass_on(from: RawFd, to: RawFd) {
    let mut frame = vec![0; FRAME];
    loop {
        match recv(from, &mut frame, MsgFlags::empty()) {
            Ok(length) => {
                if let Err(Errno::ECONNREFUSED | Errno::ENOTCONN | Errno::EPIPE) =
                    send(to, &frame[..length], MsgFlags::empty())
                {
                    return;
                }
            }
            // The interface is down for a moment while it is set up.
            Err(Errno::EINTR | Errno::ENETDOWN) => {}
            Err(_) => return,
        }
    }
}
