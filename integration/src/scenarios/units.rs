//! The units themselves, as systemd judges them.

use anyhow::{Context, Result, ensure};

use super::backend_unreachable::push;
use crate::scenario::{Scenario, Stage};
use crate::testbed::{Break, Capability, Command, Fault};

/// Tenths of `systemd-analyze security`'s exposure, from 0 (safe) to 100.
const EXPOSURE: &str = "--threshold=15";

inventory::submit! {
    Scenario {
        name: "units",
        proves: "systemd-analyze finds nothing in the units, FMD Server's exposure is at most 1.5, yet its push gets out",
        settings: &[],
        needs: &[Capability::Init],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "misspelt-setting",
                breaks: Break::Replace {
                    file: "etc/systemd/system/fmd-server.service",
                    find: "RestrictRealtime=",
                    with: "RestrictRealTime=",
                },
                noticed_as: "systemd-analyze verify",
            },
            Fault {
                name: "open-sandbox",
                breaks: Break::Replace {
                    file: "etc/systemd/system/fmd-server.service",
                    find: "CapabilityBoundingSet=",
                    with: "#CapabilityBoundingSet=",
                },
                noticed_as: "exposure",
            },
            Fault {
                name: "sealed-sandbox",
                breaks: Break::Replace {
                    file: "etc/systemd/system/fmd-server.service",
                    find: "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
                    with: "RestrictAddressFamilies=AF_UNIX",
                },
                noticed_as: "the wake-up push out of the sandbox",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let server = stage.testbed().server();
    let units = [
        "fmd-server.service",
        "nginx.service",
        "fail2ban.service",
        "nftables.service",
    ];
    // Manual pages are not installed on the machine.
    let verify = ["systemd-analyze", "verify", "--man=no"]
        .iter()
        .chain(&units)
        .copied();
    let verify = server.run(Command::new(verify)).await?;
    let findings = String::from_utf8_lossy(&verify.stderr).into_owned();
    ensure!(
        verify.success() && findings.trim().is_empty(),
        "systemd-analyze verify: {}",
        findings.trim()
    );
    let security = [
        "systemd-analyze",
        "security",
        "--no-pager",
        EXPOSURE,
        units[0],
    ];
    let security = server.run(Command::new(security)).await?;
    let text = security.text();
    let verdict = text.lines().last().unwrap_or_default().to_owned();
    ensure!(security.success(), "exposure above 1.5: {verdict}");
    stage.note(verdict);
    let facing = stage.testbed().facing_fmd_server("stranger").await?;
    push(stage, facing)
        .await
        .context("the wake-up push out of the sandbox")
}
