//! One command gives service back.

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, prove_banned, prove_not_banned};
use crate::testbed::{Break, Fault};

inventory::submit! {
    Scenario {
        name: "unban",
        proves: "fail2ban-client set fmd-server unbanip: served again, at once",
        settings: &[],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "unban-does-nothing",
            breaks: Break::Replace {
                file: "etc/fail2ban/action.d/fmd-nft.py",
                find: "self._order(\"delete\", gone)",
                with: "self._order(\"delete\", {})",
            },
            noticed_as: "after the unban",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await?;
    stage.fail2ban().unban(JAIL, attacker.address()).await?;
    prove_not_banned(stage, &attacker)
        .await
        .context("after the unban")
}
