//! Options of the testbed, as the command line takes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

/// Not `next_help_heading`, which options after these would come under too.
const HEADING: &str = "Options of testbed ssh";

/// Options of `--testbed ssh`.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "ssh")]
pub struct Options {
    /// The machine that the stack runs on; the user is root or may `sudo` without a password
    #[arg(help_heading = HEADING, long, value_name = "[USER@]HOST[=ADDRESS,…]")]
    pub server: Option<Destination>,
    /// A machine to attack from or to be a bystander on; give several, in the order in which
    /// scenarios name their clients
    #[arg(help_heading = HEADING, long = "client", value_name = "[USER@]HOST[=ADDRESS,…]")]
    pub clients: Vec<Destination>,
    /// The URL of FMD Server, if it is not http:// and the server's address
    #[arg(help_heading = HEADING, long, value_name = "URL")]
    pub url: Option<String>,
    /// An option for ssh's -o, such as IdentityFile=…
    #[arg(help_heading = HEADING, long = "ssh-option", value_name = "OPTION")]
    pub ssh_options: Vec<String>,
    /// A file with the registration token of the deployment
    #[arg(help_heading = HEADING, long, value_name = "FILE")]
    pub registration_token_file: Option<PathBuf>,
    /// Run even when this machine, or the server itself, would be banned
    #[arg(help_heading = HEADING, long)]
    pub yes: bool,
}

/// A machine to reach by ssh, and its addresses where they are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// What ssh takes: a host, `user@host`, `ssh://user@host:port` or a name of its configuration.
    pub ssh: String,
    /// The address that the other machines see it under, if it is not to be found out.
    pub v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl FromStr for Destination {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (ssh, addresses) = text.split_once('=').unwrap_or((text, ""));
        ensure!(!ssh.is_empty(), "{text:?} names no host");
        ensure!(
            !ssh.starts_with('-'),
            "{ssh:?} is no host: ssh would take it for an option"
        );
        ensure!(
            !ssh.contains(char::is_whitespace),
            "{ssh:?} is no host: it has a blank in it"
        );
        let mut destination = Self {
            ssh: ssh.to_owned(),
            v4: None,
            v6: None,
        };
        for address in addresses.split(',').filter(|address| !address.is_empty()) {
            let address: IpAddr = address
                .parse()
                .with_context(|| format!("{address:?} in {text:?} is no IP address"))?;
            let known = match address {
                IpAddr::V4(v4) => destination.v4.replace(v4).is_some(),
                IpAddr::V6(v6) => destination.v6.replace(v6).is_some(),
            };
            ensure!(!known, "{text:?} gives two addresses of one family");
        }
        Ok(destination)
    }
}

impl Options {
    /// Whether any of them was given.
    pub fn any(&self) -> bool {
        let Self {
            server,
            clients,
            url,
            ssh_options,
            registration_token_file,
            yes,
        } = self;
        server.is_some()
            || !clients.is_empty()
            || url.is_some()
            || !ssh_options.is_empty()
            || registration_token_file.is_some()
            || *yes
    }

    /// The server, and at least one client.
    pub fn nodes(&self) -> Result<(&Destination, &[Destination])> {
        let server = self.server.as_ref().context(
            "--testbed ssh needs --server user@host, the machine that the stack runs on",
        )?;
        if self.clients.is_empty() {
            bail!(
                "--testbed ssh needs --client user@host, at least once: a machine to attack from"
            );
        }
        Ok((server, &self.clients))
    }

    /// The registration token, if a file for it is given.
    pub fn registration_token(&self) -> Result<Option<String>> {
        let Some(file) = &self.registration_token_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("reading --registration-token-file {}", file.display()))?;
        let token = text.lines().next().unwrap_or_default().trim();
        ensure!(
            !token.is_empty(),
            "the first line of {} is empty",
            file.display()
        );
        Ok(Some(token.to_owned()))
    }
}

/// Host and port of a base URL such as `https://fmd.example.org`.
///
/// # Errors
/// It is none of http:// and https://, or has a path, which FMD Server's clients do not support.
pub fn host_and_port(url: &str) -> Result<(String, u16)> {
    let parsed: reqwest::Url = url.parse().with_context(|| format!("--url {url}"))?;
    ensure!(
        matches!(parsed.scheme(), "http" | "https"),
        "--url {url}: neither http:// nor https://"
    );
    ensure!(
        parsed.path() == "/",
        "--url {url}: a path; FMD Server is served at the root of a host"
    );
    let host = parsed
        .host_str()
        .with_context(|| format!("--url {url} names no host"))?;
    let port = parsed.port_or_known_default().context("no port")?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_with_and_without_addresses() {
        let plain: Destination = "root@host".parse().unwrap();
        assert_eq!(
            (plain.ssh.as_str(), plain.v4, plain.v6),
            ("root@host", None, None)
        );
        let given: Destination = "ssh://me@host:2222=203.0.113.7,2001:db8::7"
            .parse()
            .unwrap();
        assert_eq!(given.ssh, "ssh://me@host:2222");
        assert_eq!(given.v4, Some(Ipv4Addr::new(203, 0, 113, 7)));
        assert_eq!(given.v6, Some("2001:db8::7".parse().unwrap()));
    }

    #[test]
    fn refuses_what_ssh_would_take_for_something_else() {
        for bad in [
            "",
            "=203.0.113.7",
            "-oProxyCommand=id",
            "a b",
            "h=nonsense",
            "h=192.0.2.1,192.0.2.2",
        ] {
            assert!(bad.parse::<Destination>().is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_give_host_and_port() {
        assert_eq!(
            host_and_port("https://fmd.example.org").unwrap(),
            ("fmd.example.org".into(), 443)
        );
        assert_eq!(
            host_and_port("http://203.0.113.1:81").unwrap(),
            ("203.0.113.1".into(), 81)
        );
        assert!(host_and_port("ftp://x").is_err());
        assert!(host_and_port("https://x/fmd").is_err());
    }
}
