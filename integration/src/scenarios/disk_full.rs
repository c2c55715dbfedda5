//! The disk is full.

use anyhow::{Context, Result};

use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, PATIENCE, guess_until_cut, prove_banned, wait_for};
use crate::testbed::{Break, Capability, Command, Fault};

/// Takes every free block of the disk, those kept for root too.
const FILL: &str = r#"
set -- $(stat --file-system --format='%f %S' /var)
fallocate --length $(($1 * $2 - 1048576)) /var/filler || true
cat /dev/zero >>/var/filler 2>/dev/null || true
"#;

inventory::submit! {
    Scenario {
        name: "disk-full",
        proves: "with the disk full attackers are still banned, and the journal says what is wrong",
        settings: &[],
        needs: &[Capability::Init],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "fail2ban-logs-to-the-disk",
            breaks: Break::Write {
                file: "etc/fail2ban/fail2ban.d/zz-fault.local",
                content: "[DEFAULT]\nlogtarget = /var/log/fail2ban.log\n",
            },
            noticed_as: "a line in the journal about the full disk",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    stage.person("owner").await?.register("alice").await?;
    let server = stage.testbed().server();
    server.run(Command::shell(FILL, &[])).await?.ok()?;
    let attacker = stage.person("attacker").await?;
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned())
        .await
        .context("with the disk full")?;
    prove_banned(stage, &attacker, JAIL)
        .await
        .context("with the disk full")?;
    let line = wait_for(
        "a line in the journal about the full disk",
        PATIENCE,
        async || {
            let words = "--grep=disk is full|No space left on device";
            let look = Command::new([
                "journalctl",
                "--quiet",
                "--output=cat",
                "--unit=fail2ban",
                words,
            ]);
            Ok(server
                .run(look)
                .await?
                .text()
                .lines()
                .next()
                .map(str::to_owned))
        },
    )
    .await?;
    stage.note(format!("fail2ban says: {line}"));
    Ok(())
}
