//! What a run finds out about this machine once: qemu, whether it can use KVM, and Debian.
//!
//! A machine must not be woken by another way than it was frozen by, so every scenario of a run uses
//! the same answers.

use anyhow::{Result, ensure};
use tokio::sync::OnceCell;

use super::emulator::{Accelerator, Program};
use super::howto::{self, HowTo};
use super::{image, memory, run_folder};
use crate::rootfs::Rootfs;

static HOST: OnceCell<Host> = OnceCell::const_new();

/// What machines are made from and run with here.
#[derive(Debug)]
pub struct Host {
    /// The installed qemu.
    pub program: Program,
    /// How it runs guests.
    pub accelerator: Accelerator,
    /// What leads from Debian to a server.
    pub how_to: HowTo,
    /// Debian.
    pub rootfs: Rootfs,
}

/// Checks what can be checked before anything is made.
///
/// # Errors
/// There is no qemu for this machine, or too little memory.
pub async fn check() -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the vm testbed needs an x86-64 machine"
    );
    run_folder::sweep();
    Program::find().await?;
    memory::check()
}

/// This machine, asked at the first call.
pub async fn get() -> Result<&'static Host> {
    HOST.get_or_try_init(ask).await
}

async fn ask() -> Result<Host> {
    let program = Program::find().await?;
    let how_to = howto::read()?;
    let rootfs = image::rootfs(&how_to).await?;
    let accelerator = program.accelerator(&image::kernel(&rootfs)?).await;
    Ok(Host {
        program,
        accelerator,
        how_to,
        rootfs,
    })
}
