//! The installed qemu, and whether it can use the processor's own virtualization.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::keeper::KEEPER;

/// The program, in Debian's and Ubuntu's package qemu-system-x86.
const PROGRAM: &str = "qemu-system-x86_64";

/// `-netdev dgram` came with 7.2.
const OLDEST: (u32, u32) = (7, 2);

/// How guest code is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By emulation.
    Tcg,
}

impl Accelerator {
    /// qemu's options for it. The plainest processor model is emulated a quarter faster than `max`
    /// (docs/reference/testbed-vm.md).
    pub fn options(self) -> [&'static str; 4] {
        match self {
            Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Accelerator::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "qemu64"],
        }
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Kvm => "KVM",
            Accelerator::Tcg => "emulated",
        }
    }
}

/// An installed qemu.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// As it says itself, `QEMU emulator version …`.
    pub version: String,
}

impl Program {
    /// Finds qemu.
    ///
    /// # Errors
    /// It is missing (the error gives the line that installs it), too old, or does not run.
    pub async fn find() -> Result<Self> {
        let path = crate::rootfs::find(PROGRAM).with_context(|| {
            format!("no {PROGRAM} on this machine. Run: sudo apt-get install --no-install-recommends qemu-system-x86")
        })?;
        let output = Command::new(&path).arg("--version").output().await;
        let output = output.with_context(|| format!("running {}", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or_default().to_owned();
        let numbers = numbers(&version)
            .with_context(|| format!("{} names no version: {version:?}", path.display()))?;
        ensure!(
            numbers >= OLDEST,
            "{version} is too old: the vm testbed needs {}.{}",
            OLDEST.0,
            OLDEST.1
        );
        Ok(Self { path, version })
    }

    /// KVM, if a guest's kernel really starts with it; `/dev/kvm` alone says little.
    pub async fn accelerator(&self, kernel: &Path) -> Accelerator {
        let open = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm");
        if open.is_ok() && self.runs_with_kvm(kernel).await.unwrap_or(false) {
            Accelerator::Kvm
        } else {
            Accelerator::Tcg
        }
    }

    async fn runs_with_kvm(&self, kernel: &Path) -> Result<bool> {
        let mut child = Command::new("/proc/self/exe")
            .args([KEEPER, &std::process::id().to_string()])
            .arg(&self.path)
            .args(Accelerator::Kvm.options())
            .args([
                "-machine",
                "q35",
                "-m",
                "256",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
            ])
            .args([
                "-no-reboot",
                "-serial",
                "stdio",
                "-append",
                "console=ttyS0 earlyprintk=ttyS0 panic=-1",
            ])
            .arg("-kernel")
            .arg(kernel)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let started = timeout(Duration::from_secs(5), async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("Linux version") {
                    return true;
                }
            }
            false
        });
        let started = started.await.unwrap_or(false);
        child.kill().await?;
        Ok(started)
    }
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut words = version
        .split_whitespace()
        .skip_while(|word| *word != "version");
    let mut parts = words.nth(1)?.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_qemus_version() {
        assert_eq!(
            numbers("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"),
            Some((7, 2))
        );
        assert_eq!(numbers("QEMU emulator version 10.0.2"), Some((10, 0)));
        assert_eq!(numbers("no qemu"), None);
    }
}
