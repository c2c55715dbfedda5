//! The firewall that guards nginx, through `nft`.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;

use super::covers;
use crate::testbed::{Command, Node};

/// `nft` on the node whose network namespace nginx listens in.
pub struct Firewall(Arc<dyn Node>);

impl Firewall {
    /// The firewall of this node.
    pub fn on(node: Arc<dyn Node>) -> Self {
        Self(node)
    }

    /// Every address and prefix that stands in a set of the ruleset, as text.
    pub async fn banned(&self) -> Result<Vec<String>> {
        let output = self
            .0
            .run(Command::new(["nft", "--json", "list", "ruleset"]))
            .await?
            .ok()?;
        let ruleset: Value =
            serde_json::from_slice(&output.stdout).context("reading nft's JSON")?;
        let objects = ruleset["nftables"]
            .as_array()
            .context("nft's JSON has no list")?;
        Ok(objects
            .iter()
            .flat_map(|object| elements(&object["set"]))
            .collect())
    }

    /// Whether a set of the ruleset covers the address.
    pub async fn bans(&self, address: IpAddr) -> Result<bool> {
        Ok(self
            .banned()
            .await?
            .iter()
            .any(|entry| covers(entry, address)))
    }

    /// The ruleset as `nft` prints it, for reports.
    pub async fn ruleset(&self) -> Result<String> {
        Ok(self
            .0
            .run(Command::new(["nft", "list", "ruleset"]))
            .await?
            .ok()?
            .text())
    }
}

/// The addresses and prefixes a set stands for. fmd-nft keeps IPv6 bans as the first address of
/// each /64, in the set `banned6`.
fn elements(set: &Value) -> Vec<String> {
    let texts = set["elem"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(element);
    match set["name"].as_str() {
        Some("banned6") => texts.map(|text| format!("{text}/64")).collect(),
        _ => texts.collect(),
    }
}

/// An element of a set: an address, `{"prefix": …}`, or either with attributes in `{"elem": …}`.
fn element(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    if let Some(inner) = value.get("elem") {
        return element(&inner["val"]);
    }
    let prefix = value.get("prefix")?;
    Some(format!(
        "{}/{}",
        prefix["addr"].as_str()?,
        prefix["len"].as_u64()?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_ipv6_ban_stands_for_its_64() {
        let set = json!({"name": "banned6", "elem": ["2001:db8::"]});
        assert_eq!(elements(&set), ["2001:db8::/64"]);
        assert!(elements(&json!({"name": "banned4"})).is_empty());
    }

    #[test]
    fn reads_every_form_of_an_element() {
        assert_eq!(element(&json!("203.0.113.7")).unwrap(), "203.0.113.7");
        let prefix = json!({"prefix": {"addr": "2001:db8::", "len": 64}});
        assert_eq!(element(&prefix).unwrap(), "2001:db8::/64");
        let timed = json!({"elem": {"val": "203.0.113.7", "timeout": 600}});
        assert_eq!(element(&timed).unwrap(), "203.0.113.7");
        assert_eq!(element(&json!(22)), None);
    }
}
