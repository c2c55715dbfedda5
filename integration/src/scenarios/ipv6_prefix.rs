//! An attacker who changes his address within his /64, and his neighbour.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context, Result, bail};

use crate::scenario::{Scenario, Stage};
use crate::stack::{
    JAIL, MAXRETRY, Person, knock_until_cut, login, prove_banned, prove_not_banned,
};
use crate::testbed::{Break, Command, Fault};

inventory::submit! {
    Scenario {
        name: "ipv6-prefix",
        proves: "a new address of the same /64 for every guess: the /64 is banned, no other",
        settings: &[],
        needs: &[],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "failures-counted-by-address",
                breaks: Break::Replace {
                    file: "etc/fail2ban/jail.d/fmd-server.conf",
                    find: "fmd-ipv6-prefix.py[length=\"64\"]",
                    with: "fmd-ipv6-prefix.py[length=\"128\"]",
                },
                noticed_as: "still get in",
            },
            Fault {
                name: "bans-cover-a-48",
                breaks: Break::Replace {
                    file: "etc/fail2ban/action.d/fmd-nft.py",
                    find: "PREFIX = 64",
                    with: "PREFIX = 48",
                },
                noticed_as: "the neighbour",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    let neighbour = stage.person("neighbour").await?.over_v6()?;
    for number in 0..MAXRETRY {
        owner.register(&format!("account{number}")).await?;
    }
    let attacker = stage.person("attacker").await?.over_v6()?;
    for number in 0..MAXRETRY {
        let source = take_address(&attacker, number).await?;
        let mut plan = attacker.requests(vec![login(&format!("account{number}"), "wrong")]);
        plan.source = Some(IpAddr::V6(source));
        attacker.send(plan).await?;
    }
    // Once the attacker's packets stop, the ban stands, and the neighbour's must still pass.
    let cut = knock_until_cut(&attacker, Vec::new()).await;
    prove_not_banned(stage, &neighbour)
        .await
        .context("the neighbour")?;
    cut?;
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}

/// Gives the attacker's node one more address of its /64.
pub(super) async fn take_address(attacker: &Person, number: usize) -> Result<Ipv6Addr> {
    let IpAddr::V6(own) = attacker.address() else {
        bail!("the attacker does not speak IPv6")
    };
    let mut groups = own.segments();
    groups[4] = 0xbad;
    groups[7] = u16::try_from(number)?;
    let address = Ipv6Addr::from(groups);
    let change = |script| Command::shell(script, &[&address.to_string(), &own.to_string()]);
    attacker
        .node()
        .at_end(&format!("address {address}"), change(REMOVE))
        .await?;
    attacker.node().run(change(ADD)).await?.ok()?;
    Ok(address)
}

/// Adds an address to the interface that has another. Arguments: the address, the other.
const ADD: &str = r#"
ip -6 address add "$1/128" dev "$(ip -6 -o address show to "$2" | awk '{ print $2; exit }')" nodad
"#;

/// Takes it away again, if it is there.
const REMOVE: &str = r#"
for interface in $(ip -6 -o address show to "$1" | awk '{ print $2 }'); do
  ip -6 address del "$1/128" dev "$interface"
done
"#;
