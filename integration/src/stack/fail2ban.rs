//! fail2ban, through `fail2ban-client`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{covers, wait_for};
use crate::testbed::{Command, Node};

/// `fail2ban-client` on the node where fail2ban runs.
pub struct Fail2ban(Arc<dyn Node>);

/// What `fail2ban-client status JAIL` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailStatus {
    /// Failures counted so far.
    pub total_failed: u32,
    /// Bans so far.
    pub total_banned: u32,
    /// The entries of the ban list: addresses, or prefixes.
    pub banned: Vec<String>,
    /// The output itself.
    pub text: String,
}

impl JailStatus {
    /// Whether an entry of the list covers the address.
    pub fn bans(&self, address: IpAddr) -> bool {
        self.banned.iter().any(|entry| covers(entry, address))
    }
}

impl Fail2ban {
    /// fail2ban on this node.
    pub fn on(node: Arc<dyn Node>) -> Self {
        Self(node)
    }

    /// Runs `fail2ban-client` with these arguments.
    pub async fn client(&self, args: &[&str]) -> Result<String> {
        let argv = ["fail2ban-client"].iter().chain(args).copied();
        Ok(self.0.run(Command::new(argv)).await?.ok()?.text())
    }

    /// The status of a jail.
    pub async fn status(&self, jail: &str) -> Result<JailStatus> {
        let text = self.client(&["status", jail]).await?;
        parse(&text).with_context(|| format!("reading the status of jail {jail}: {text}"))
    }

    /// The entries of every jail's ban list, by jail: one call, since each starts a Python.
    pub async fn banned(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let text = self.client(&["banned"]).await?;
        by_jail(&text).with_context(|| format!("reading what is banned: {text}"))
    }

    /// Waits until the jail's list covers an address.
    pub async fn wait_banned(
        &self,
        jail: &str,
        address: IpAddr,
        within: Duration,
    ) -> Result<JailStatus> {
        let what = format!("{address} in the ban list of jail {jail}");
        wait_for(&what, within, async || {
            let status = self.status(jail).await?;
            Ok(status.bans(address).then_some(status))
        })
        .await
    }

    /// Takes an address out of a jail's list.
    pub async fn unban(&self, jail: &str, address: IpAddr) -> Result<()> {
        self.client(&["set", jail, "unbanip", &address.to_string()])
            .await
            .map(drop)
    }

    /// A jail's setting, such as `maxretry`.
    pub async fn setting(&self, jail: &str, name: &str) -> Result<String> {
        Ok(self.client(&["get", jail, name]).await?.trim().to_owned())
    }
}

fn parse(text: &str) -> Option<JailStatus> {
    Some(JailStatus {
        total_failed: field(text, "Total failed:")?.parse().ok()?,
        total_banned: field(text, "Total banned:")?.parse().ok()?,
        banned: field(text, "Banned IP list:")?
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        text: text.to_owned(),
    })
}

/// `[{'jail': ['entry', …]}, …]`, as Python writes it and YAML can be.
fn by_jail(text: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let jails: Vec<BTreeMap<String, Vec<String>>> = serde_yaml::from_str(text)?;
    Ok(jails.into_iter().flatten().collect())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.contains(name))?;
    Some(line.split_once(name)?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_every_jail_has_banned() {
        let jails =
            by_jail("[{'fmd-server': ['203.0.113.10', '2001:db8:0:a::/64']}, {'sshd': []}]\n");
        let jails = jails.unwrap();
        assert_eq!(jails["fmd-server"], ["203.0.113.10", "2001:db8:0:a::/64"]);
        assert!(jails["sshd"].is_empty());
    }

    #[test]
    fn reads_a_status() {
        let text = "Status for the jail: fmd-server\n|- Filter\n|  |- Currently failed: 0\n\
                    |  |- Total failed:\t5\n|  `- Journal matches:  SYSLOG_IDENTIFIER=fmd-server\n\
                    `- Actions\n   |- Currently banned: 2\n   |- Total banned:\t2\n   \
                    `- Banned IP list:\t203.0.113.10 2001:db8:0:a::/64\n";
        let status = parse(text).unwrap();
        assert_eq!((status.total_failed, status.total_banned), (5, 2));
        assert!(status.bans("203.0.113.10".parse().unwrap()));
        assert!(status.bans("2001:db8:0:a::77".parse().unwrap()));
        assert!(!status.bans("203.0.113.11".parse().unwrap()));
    }
}
