//! Where finished root filesystems are kept, and how a damaged one is noticed.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Recipe, Rootfs, bootstrap, tools};
use crate::sandbox;

/// Raised when the way a root filesystem is made changes without its recipe changing.
const FORMAT: &str = "1";

/// Names another folder than `~/.cache/fmd-stack`.
const FOLDER: &str = "FMD_STACK_CACHE";

/// Written last: the size of every file a run depends on.
const STAMP: &str = "complete.json";

#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    tar: u64,
    /// Path below the unpacked tree, size in bytes.
    files: Vec<(String, u64)>,
}

/// The cache folder of this user.
pub fn folder() -> Result<PathBuf> {
    let var = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    var(FOLDER)
        .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("fmd-stack")))
        .or_else(|| var("HOME").map(|dir| dir.join(".cache/fmd-stack")))
        .with_context(|| {
            format!("neither HOME nor XDG_CACHE_HOME nor {FOLDER} is set: no place for the cache")
        })
}

/// The root filesystem of this recipe, made if it is missing or damaged.
///
/// Several processes may ask at once: one makes it, the others wait.
pub async fn ensure(recipe: &Recipe) -> Result<Rootfs> {
    sandbox::check_ids()?;
    let cache = folder()?;
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let home = cache.join(key(recipe));
    let found = rootfs(&home);
    if check(&found).is_ok() {
        return Ok(found);
    }
    let lock_file = home.with_extension("lock");
    let what = "Another run is making the root filesystem";
    let _lock = lock(lock_file, FlockArg::LockExclusive, what).await?;
    match check(&found) {
        Ok(()) => return Ok(found),
        Err(_) if !home.exists() => {}
        Err(damage) => eprintln!(
            "{} is not usable ({damage:#}): making it anew.",
            home.display()
        ),
    }
    remove(&home).await?;
    let half = home.with_extension("partial");
    remove(&half).await?;
    let made = make(recipe, &half).await;
    if made.is_err() {
        // Nothing half-made stays; the first error is the one to show.
        let _ = remove(&half).await;
    }
    made?;
    fs::rename(&half, &home).with_context(|| format!("renaming {}", half.display()))?;
    Ok(found)
}

/// Deletes everything in the cache but what another run is making or has locked, which is told.
pub async fn clean() -> Result<()> {
    let cache = folder()?;
    let Ok(entries) = fs::read_dir(&cache) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry
            .with_context(|| format!("reading {}", cache.display()))?
            .path();
        let lock = path.with_extension("lock");
        let held = File::create(&lock).with_context(|| format!("opening {}", lock.display()))?;
        match Flock::lock(held, FlockArg::LockExclusiveNonblock) {
            Ok(_free) => {
                remove(&path).await?;
                remove(&lock).await?;
            }
            Err(_) if path == lock => {}
            Err(_) => eprintln!("left alone, since another run has it: {}", path.display()),
        }
    }
    Ok(())
}

/// The name of a recipe's result, which tells what is in it.
pub fn key(recipe: &Recipe) -> String {
    let mut hash = Sha256::new();
    let script = recipe.script.as_ref();
    let fixed = [FORMAT, std::env::consts::ARCH, recipe.suite, script];
    for part in fixed.iter().chain(recipe.packages) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    format!("{}-{}-{}", recipe.name, recipe.suite, short(hash))
}

/// The part of a hash that names files in the cache.
pub fn short(hash: Sha256) -> String {
    let bytes = hash.finalize();
    bytes.iter().take(6).map(|b| format!("{b:02x}")).collect()
}

fn rootfs(home: &Path) -> Rootfs {
    Rootfs {
        dir: home.join("root"),
        tar: home.join("root.tar"),
    }
}

/// Waits for a lock, saying who holds it; it is released when the file is closed.
pub async fn lock(path: PathBuf, how: FlockArg, holder: &'static str) -> Result<Flock<File>> {
    let at_once = match how {
        FlockArg::LockShared => FlockArg::LockSharedNonblock,
        _ => FlockArg::LockExclusiveNonblock,
    };
    tokio::task::spawn_blocking(move || {
        let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
        let file = match Flock::lock(file, at_once) {
            Ok(locked) => return Ok(locked),
            Err((file, _)) => file,
        };
        eprintln!("{holder}: waiting for it ({}).", path.display());
        Flock::lock(file, how)
            .map_err(|(_, errno)| errno)
            .with_context(|| format!("locking {}", path.display()))
    })
    .await
    .context("waiting for the cache")?
}

/// Makes a root filesystem in the folder `half`, its stamp last.
async fn make(recipe: &Recipe, half: &Path) -> Result<()> {
    tools::ensure().await?;
    let half_made = rootfs(half);
    fs::create_dir_all(&half_made.dir).with_context(|| format!("making {}", half.display()))?;
    let (uid, gid) = sandbox::inner_root();
    chown(&half_made.dir, Some(uid), Some(gid)).context("handing the folder to the sandbox")?;
    bootstrap::bootstrap(recipe, &half_made.tar).await?;
    unpack(&half_made)
        .await
        .context("unpacking the root filesystem")?;
    let stamp = Stamp {
        tar: size(&half_made.tar)?,
        files: files(&half_made.dir)?,
    };
    ensure!(
        stamp.files.len() > 1000,
        "only {} files were unpacked",
        stamp.files.len()
    );
    let text = serde_json::to_vec(&stamp).context("encoding the stamp")?;
    fs::write(half.join(STAMP), text).context("writing the stamp")
}

async fn unpack(rootfs: &Rootfs) -> Result<()> {
    // By number: the sandbox's root may not be able to reach the file by name.
    let file = format!("/proc/self/fd/{}", sandbox::FIRST_FD);
    // Device nodes can't be made without privileges, and each machine gets its own /dev.
    let argv = [
        "tar",
        "--extract",
        "--file",
        &file,
        "--numeric-owner",
        "--exclude=./dev/*",
    ];
    sandbox::run_as_inner_root(&argv, &rootfs.dir, std::slice::from_ref(&rootfs.tar)).await
}

/// Compares what is there with the stamp: 8,000 `stat` calls, about 15 ms.
fn check(rootfs: &Rootfs) -> Result<()> {
    let home = rootfs.dir.parent().context("no folder")?;
    let stamp = fs::read(home.join(STAMP)).context("it was not finished")?;
    let stamp: Stamp = serde_json::from_slice(&stamp).context("its stamp is damaged")?;
    ensure!(
        size(&rootfs.tar)? == stamp.tar,
        "its tar file has another size"
    );
    for (path, expected) in &stamp.files {
        let path_there = rootfs.dir.join(path);
        let metadata = path_there.symlink_metadata();
        // What the caller may not see is no sign of damage.
        if metadata.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
            continue;
        }
        let actual = size(&path_there)?;
        ensure!(
            actual == *expected,
            "{path} has {actual} bytes instead of {expected}"
        );
    }
    Ok(())
}

fn size(path: &Path) -> Result<u64> {
    let meta = path
        .symlink_metadata()
        .with_context(|| format!("{} is missing", path.display()))?;
    Ok(meta.len())
}

/// Every regular file below `root` that the caller can see, with its size.
fn files(root: &Path) -> Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        // Folders closed to the caller (such as /root) stay out of the stamp.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
            let kind = entry.file_type().context("asking for a file's type")?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                let name = path
                    .strip_prefix(root)
                    .context("outside")?
                    .to_string_lossy()
                    .into_owned();
                found.push((name, size(&path)?));
            }
        }
    }
    Ok(found)
}

/// Deletes a file, or a folder whose files may belong to the sandbox's ids.
pub async fn remove(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let place = || format!("deleting {}", path.display());
    if !path.is_dir() {
        return fs::remove_file(path).with_context(place);
    }
    if !nix::unistd::getuid().is_root() {
        // Only within the sandbox may an ordinary user delete what belongs to his subordinate ids.
        let delete = ["find", ".", "-mindepth", "1", "-delete"];
        sandbox::run_as_inner_root(&delete, path, &[])
            .await
            .with_context(place)?;
    }
    fs::remove_dir_all(path).with_context(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A finished root filesystem of one file.
    fn finished() -> (tempfile::TempDir, Rootfs) {
        let home = tempfile::tempdir().unwrap();
        let made = rootfs(home.path());
        fs::create_dir(&made.dir).unwrap();
        fs::write(&made.tar, "tar").unwrap();
        fs::write(made.dir.join("nginx"), "program").unwrap();
        let stamp = Stamp {
            tar: 3,
            files: files(&made.dir).unwrap(),
        };
        fs::write(home.path().join(STAMP), serde_json::to_vec(&stamp).unwrap()).unwrap();
        (home, made)
    }

    #[test]
    fn a_finished_one_is_used() {
        let (_home, made) = finished();
        check(&made).unwrap();
    }

    #[test]
    fn a_half_made_one_is_not() {
        let (home, made) = finished();
        fs::remove_file(home.path().join(STAMP)).unwrap();
        assert!(
            check(&made)
                .unwrap_err()
                .to_string()
                .contains("not finished")
        );
    }

    #[test]
    fn a_damaged_one_is_not() {
        let (_home, made) = finished();
        fs::write(made.dir.join("nginx"), "prog").unwrap();
        assert!(
            check(&made)
                .unwrap_err()
                .to_string()
                .contains("nginx has 4 bytes instead of 7")
        );
        fs::remove_file(made.dir.join("nginx")).unwrap();
        assert!(check(&made).unwrap_err().to_string().contains("missing"));
    }

    #[test]
    fn another_package_list_is_another_root_filesystem() {
        let other = Recipe {
            packages: &["systemd"],
            ..super::super::STACK
        };
        assert_ne!(key(&super::super::STACK), key(&other));
    }
}
