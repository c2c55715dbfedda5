//! The Debian root filesystem from which the testbeds take nginx, fail2ban, journald and nft.
//!
//! It is made once by mmdebstrap and kept in the user's cache, both as a tar file (what an engine
//! imports, what a disk is made from) and unpacked (what an overlay is laid over). It is never
//! written to after that; nothing of it is installed on the host.

mod bootstrap;
mod cache;
mod tools;

use std::borrow::Cow;
use std::path::PathBuf;

pub use cache::{clean, ensure, folder, key, lock, remove, short};
pub use tools::find;

/// What is in a root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Short name, part of the cache's file names.
    pub name: &'static str,
    /// Debian release.
    pub suite: &'static str,
    /// Packages beyond mmdebstrap's `minbase`.
    pub packages: &'static [&'static str],
    /// A shell script to run in it at the end, as root and with the network; it may install more.
    pub script: Cow<'static, str>,
}

/// One root filesystem for all roles: the services and the clients.
pub const STACK: Recipe = Recipe {
    name: "stack",
    suite: "trixie",
    packages: &[
        // journald
        "systemd",
        "nginx",
        "fail2ban",
        "python3-systemd",
        "nftables",
        // fail2ban's iptables actions, for who sets them
        "iptables",
        // /etc/services, without which nft can't resolve `port = http`
        "netbase",
        "iproute2",
        // the ssh testbed proves itself over it
        "openssh-server",
    ],
    // Debian switches it on, and nothing that is made from this has ssh's server as a service.
    script: Cow::Borrowed(
        "printf '[sshd]\\nenabled = false\\n' >/etc/fail2ban/jail.d/no-sshd.conf",
    ),
};

/// A finished root filesystem in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootfs {
    /// Unpacked; its files belong to the sandbox's ids.
    pub dir: PathBuf,
    /// As mmdebstrap wrote it.
    pub tar: PathBuf,
}
