//! Typed views of a running stack, through the tools an operator would use.

mod doors;
mod fail2ban;
mod firewall;
mod journal;
mod person;
mod proof;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ipnet::IpNet;

pub use doors::{DOORS, Door, INVITATION, PRIVATE_REGISTRATION};
pub use fail2ban::{Fail2ban, JailStatus};
pub use firewall::Firewall;
pub use journal::Journal;
pub use person::{LOGIN_BACK, Person, Session, login, mark_accounts, on_server, password_of};
pub use proof::{
    Cut, answered, guess_on, guess_until_cut, knock_until_cut, prove_banned, prove_not_banned,
    prove_not_listed, wait_in_force, while_knocking,
};

/// The jail that reads FMD Server's own log.
pub const JAIL: &str = "fmd-server";

/// The jail that reads nginx's log of refused answers.
pub const NGINX_JAIL: &str = "fmd-server-nginx";

/// The jail that counts access tokens that are not valid.
pub const TOKEN_JAIL: &str = "fmd-server-token";

/// The jail that counts tries on locked accounts.
pub const LOCKED_JAIL: &str = "fmd-server-locked";

/// The threshold of [`TOKEN_JAIL`].
pub const TOKEN_MAXRETRY: usize = 20;

/// Failures within `findtime` that lead to a ban, as the shipped jails have it.
pub const MAXRETRY: usize = 5;

/// Nothing in the stack takes this long; a loaded machine may.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Pause between two looks at something that is waited for, at the least.
pub const POLL: Duration = Duration::from_millis(50);

/// Whether a ban list's entry (an address or a prefix) covers an address.
pub fn covers(entry: &str, address: IpAddr) -> bool {
    let address = address.to_canonical();
    if let Ok(net) = entry.parse::<IpNet>() {
        return net.contains(&address);
    }
    entry
        .parse::<IpAddr>()
        .is_ok_and(|listed| listed.to_canonical() == address)
}

/// Asks again and again until the answer is `Some`, or fails with what was waited for.
pub async fn wait_for<T, F>(what: &str, within: Duration, mut ask: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<Option<T>>,
{
    let end = Instant::now() + within;
    loop {
        let asked = Instant::now();
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {} s", within.as_secs());
        }
        // As long as the question took: it must not keep an emulated machine from what is waited for.
        tokio::time::sleep(POLL.max(asked.elapsed())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn prefixes_and_addresses_cover() {
        let attacker = "2001:db8:0:a::a".parse().unwrap();
        assert!(covers("2001:db8:0:a::/64", attacker));
        assert!(covers("2001:db8:0:a::a", attacker));
        assert!(!covers("2001:db8:0:b::/64", attacker));
        assert!(!covers("203.0.113.7", attacker));
        assert!(covers("203.0.113.7", "::ffff:203.0.113.7".parse().unwrap()));
        assert!(!covers("nonsense", attacker));
    }
}
