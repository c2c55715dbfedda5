//! The host's tools a root filesystem is made with, installed if the process may do so.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// A program, and the Debian package that has it.
const TOOLS: [(&str, &str); 3] = [
    ("mmdebstrap", "mmdebstrap"),
    ("newuidmap", "uidmap"),
    ("newgidmap", "uidmap"),
];

/// Keys of Debian's archive; Ubuntu does not have them installed.
const KEYS: (&str, &str) = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "debian-archive-keyring",
);

/// Forbids installing anything.
const NO_INSTALL: &str = "FMD_STACK_NO_INSTALL";

/// Makes sure that the tools are there.
///
/// # Errors
/// One is missing and can't be installed; the error gives the line that installs it.
pub async fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!(
        "apt-get install --no-install-recommends {}",
        missing.join(" ")
    );
    if std::env::var_os(NO_INSTALL).is_some_and(|value| value != "0") {
        bail!(
            "missing on this machine: {}. {NO_INSTALL} forbids installing. Run: sudo {line}",
            missing.join(", ")
        );
    }
    let Some(prefix) = privilege().await else {
        bail!(
            "missing on this machine: {}. Run: sudo {line}",
            missing.join(", ")
        );
    };
    eprintln!(
        "Installing {} on this machine: {line}",
        missing.join(" and ")
    );
    eprintln!("({NO_INSTALL}=1 forbids that.)");
    install(&prefix, &missing)
        .await
        .with_context(|| format!("installing failed. Run: sudo {line}"))?;
    match self::missing() {
        still if still.is_empty() => Ok(()),
        still => bail!(
            "apt-get installed {}, yet it is not found in PATH",
            still.join(", ")
        ),
    }
}

fn missing() -> Vec<&'static str> {
    let mut packages: Vec<_> = TOOLS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|tool| tool.1)
        .collect();
    if !PathBuf::from(KEYS.0).exists() && find("apt-get").is_some() {
        packages.push(KEYS.1);
    }
    packages.dedup();
    packages
}

/// A program in `PATH`, or in the `sbin` folders that an ordinary user's `PATH` leaves out.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(sbin)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// The words to put before a command that needs root; `None` when this process may not.
async fn privilege() -> Option<Vec<&'static str>> {
    find("apt-get")?;
    if nix::unistd::getuid().is_root() {
        return Some(Vec::new());
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let allowed = sudo.status().await.is_ok_and(|status| status.success());
    allowed.then(|| vec!["sudo", "-n"])
}

async fn install(prefix: &[&str], packages: &[&str]) -> Result<()> {
    let install = ["apt-get", "install", "--yes", "--no-install-recommends"];
    if apt(prefix, &install, packages).await.is_err() {
        // The package lists may be old, or there may be none yet.
        apt(prefix, &["apt-get", "update"], &[]).await?;
        apt(prefix, &install, packages).await?;
    }
    Ok(())
}

async fn apt(prefix: &[&str], command: &[&str], packages: &[&str]) -> Result<()> {
    let words: Vec<&str> = [
        prefix,
        &["env", "DEBIAN_FRONTEND=noninteractive"],
        command,
        packages,
    ]
    .concat();
    let output = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("running {}", words[0]))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "{}: {}",
        command.join(" "),
        stderr.trim()
    );
    Ok(())
}
