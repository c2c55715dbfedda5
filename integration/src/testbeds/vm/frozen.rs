//! Machines that are kept frozen, with their services running, so that none has to boot twice.
//!
//! A boot takes some 20 s under emulation, waking a frozen machine half a second: every scenario
//! gets one of its own, in exactly the same state.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::agent::Agent;
use super::host::{self, Host};
use super::image;
use super::qemu::{self, Qemu, Source};
use crate::rootfs;
use crate::testbed::FileTree;

/// Raised when the way a machine is made changes without anything it is made from changing.
const FORMAT: &str = "3";

/// How many frozen machines stay in the cache, half a gigabyte each.
const KEPT: usize = 3;

/// Emulated kernels die now and then while one processor rewrites the code that the other runs (one
/// boot in twelve or so with qemu 7.2).
const BOOTS: usize = 3;

/// What a kernel says last.
const PANIC: &str = "Kernel panic";

/// Written last.
const STAMP: &str = "complete";

/// A frozen machine.
#[derive(Debug)]
pub struct Frozen {
    /// The folder of its files.
    pub folder: PathBuf,
    /// Keeps other runs from deleting it.
    _lock: Flock<File>,
}

/// The machine for this configuration and this FMD Server, made if it is missing.
///
/// # Errors
/// The how-to's commands fail, or the machine does not boot.
pub async fn ensure(config: &FileTree, fmd_server: &Path) -> Result<Frozen> {
    let parts = Parts {
        host: host::get().await?,
        config,
        fmd_server,
    };
    let cache = rootfs::folder()?;
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let folder = cache.join(format!("frozen-{}", parts.key()?));
    loop {
        let lock = lock(&folder, FlockArg::LockShared).await?;
        if folder.join(STAMP).is_file() {
            // Which are used last is told by this.
            let _ = File::open(folder.join(STAMP))
                .map(|stamp| stamp.set_modified(std::time::SystemTime::now()));
            return Ok(Frozen {
                folder,
                _lock: lock,
            });
        }
        drop(lock);
        let _lock = self::lock(&folder, FlockArg::LockExclusive).await?;
        if !folder.join(STAMP).is_file() {
            let made = parts.make(&folder).await;
            if made.is_err() {
                let _ = rootfs::remove(&folder).await;
            }
            made?;
            prune(&cache, &folder);
        }
    }
}

async fn lock(folder: &Path, how: FlockArg) -> Result<Flock<File>> {
    let path = folder.with_extension("lock");
    rootfs::lock(path, how, "Another run is making this machine").await
}

/// Everything a frozen machine depends on.
struct Parts<'a> {
    host: &'static Host,
    config: &'a FileTree,
    fmd_server: &'a Path,
}

impl Parts<'_> {
    fn key(&self) -> Result<String> {
        let meta = self
            .fmd_server
            .metadata()
            .with_context(|| format!("reading {}", self.fmd_server.display()))?;
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(FORMAT.as_bytes());
        add(self.host.program.version.as_bytes());
        // What qemu is told: a machine wakes only in one built as it was.
        for option in self.host.accelerator.options() {
            add(option.as_bytes());
        }
        for option in qemu::options(Path::new(""), Source::Boot) {
            add(option.as_bytes());
        }
        add(self.host.how_to.commands.as_bytes());
        add(image::MAKE_DISK.as_bytes());
        add(self.host.rootfs.dir.as_os_str().as_encoded_bytes());
        // Reading the program itself would take longer than waking the machine.
        for number in [
            meta.size(),
            meta.ino(),
            meta.mtime().unsigned_abs(),
            meta.mtime_nsec().unsigned_abs(),
        ] {
            add(&number.to_le_bytes());
        }
        for (path, file) in self.config.iter().chain(image::guest_files().iter()) {
            add(path.as_bytes());
            add(&file.mode.to_le_bytes());
            add(&file.bytes);
        }
        Ok(rootfs::short(hash))
    }

    async fn make(&self, folder: &Path) -> Result<()> {
        let started = Instant::now();
        eprintln!(
            "Making the machine once: a disk from docs/how-to/debian.md, then one boot, about 40 s."
        );
        rootfs::remove(folder).await?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        image::make(self.host, self.config, self.fmd_server, folder)
            .await
            .context("making the machine's disk")?;
        let disk = started.elapsed();
        self.boot(folder).await?;
        File::create(folder.join(STAMP)).context("writing the stamp")?;
        let boot = started.elapsed() - disk;
        eprintln!(
            "Made the machine ({}): disk {:.0} s, boot {:.0} s.",
            self.host.accelerator.name(),
            disk.as_secs_f64(),
            boot.as_secs_f64()
        );
        Ok(())
    }

    async fn boot(&self, folder: &Path) -> Result<()> {
        for _ in 1..BOOTS {
            match self.freeze(folder).await {
                Err(error) if format!("{error:#}").contains(PANIC) => {
                    eprintln!("The machine's kernel died while it booted; once more.");
                }
                result => return result,
            }
        }
        self.freeze(folder).await
    }

    async fn freeze(&self, folder: &Path) -> Result<()> {
        let mut machine = Qemu::start(self.host, folder, Source::Boot).await?;
        let mut agent = Agent::on(machine.agent().await?);
        let up = tokio::select! {
            up = agent.ready() => up,
            ended = machine.stopped() => ended.and_then(|()| anyhow::bail!("the machine has switched itself off")),
        };
        if let Err(error) = up {
            let words = machine.last_words().await;
            anyhow::bail!("the machine does not boot: {error:#}\n{}", words.trim());
        }
        machine
            .qmp
            .freeze(qemu::STATE)
            .await
            .context("freezing the machine")?;
        // Not before: the agent would see its port closed.
        drop(agent);
        machine.ended().await
    }
}

/// Deletes the machines that were used longest ago and that no run holds.
fn prune(cache: &Path, newest: &Path) {
    let Ok(entries) = fs::read_dir(cache) else {
        return;
    };
    let mut others: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path != newest && path.is_dir() && is_frozen(path))
        .collect();
    let used = |path: &PathBuf| {
        path.join(STAMP)
            .metadata()
            .and_then(|meta| meta.modified())
            .ok()
    };
    others.sort_by_key(|path| std::cmp::Reverse(used(path)));
    for path in others.into_iter().skip(KEPT - 1) {
        let Ok(file) = File::open(path.with_extension("lock")) else {
            continue;
        };
        if let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn is_frozen(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("frozen-"))
}
