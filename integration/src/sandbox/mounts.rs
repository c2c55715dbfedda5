//! The root filesystem of a machine: read-only below, a tmpfs on top, gone with the last process.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;

use super::protocol::{FIRST_FD, Machine};

/// Where the tmpfs is mounted: a folder every Linux system has. The mount is seen by the sandbox
/// alone.
const WORK: &str = "/tmp";

/// The devices a service may want; none of them gives access to hardware.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Mounts the machine's root filesystem and makes it `/`.
pub fn set_up(machine: &Machine) -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("making mounts private")?;
    let root = overlay()?;
    lay_files(&root, machine)?;
    devices(&root)?;
    kernel_filesystems(&root)?;
    tmpfs(&root.join("run"), "mode=755")?;
    tmpfs(&root.join("tmp"), "mode=1777")?;
    bind_store(&root)?;
    std::env::set_current_dir(&root).context("entering the new root")?;
    pivot_root(".", ".").context("making it /")?;
    umount2(".", MntFlags::MNT_DETACH).context("letting go of the old root")?;
    std::env::set_current_dir("/").context("entering /")?;
    journal_folders()
}

fn tmpfs(at: &Path, options: &str) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options))
        .with_context(|| format!("mounting a tmpfs on {}", at.display()))
}

/// Lays a writable tmpfs over the root filesystem.
fn overlay() -> Result<PathBuf> {
    let work = PathBuf::from(WORK);
    tmpfs(&work, "mode=755")?;
    for folder in ["upper", "work", "root"] {
        let path = work.join(folder);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
    }
    let root = work.join("root");
    let options = format!(
        "lowerdir=/proc/self/fd/{FIRST_FD},upperdir={0}/upper,workdir={0}/work,userxattr",
        work.display()
    );
    mount(
        Some("overlay"),
        &root,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .context("mounting an overlay as an ordinary user, which needs Linux 5.11 (see `uname -r`)")?;
    Ok(root)
}

fn lay_files(root: &Path, machine: &Machine) -> Result<()> {
    for (path, file) in machine.files.iter() {
        write_new(&root.join(path), &file.bytes, file.mode)?;
    }
    for (fd, path) in &machine.programs {
        let bytes = fs::read(format!("/proc/self/fd/{fd}"))
            .with_context(|| format!("reading the program for {path}"))?;
        write_new(&root.join(path.trim_start_matches('/')), &bytes, 0o755)?;
    }
    // A machine id of its own: journald names its folder by it.
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid").context("reading a random id")?;
    let id = id.replace('-', "");
    write_new(&root.join("etc/machine-id"), id.as_bytes(), 0o444)?;
    let hosts = format!(
        "127.0.0.1 localhost {0}\n::1 localhost {0}\n",
        machine.host_name
    );
    write_new(&root.join("etc/hosts"), hosts.as_bytes(), 0o644)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let place = || format!("writing {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(place)?;
    }
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path).with_context(place)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(place)?;
    file.write_all(bytes).with_context(place)?;
    // The mode given to open() is narrowed by the caller's umask.
    fs::set_permissions(path, Permissions::from_mode(mode)).with_context(place)
}

fn devices(root: &Path) -> Result<()> {
    let dev = root.join("dev");
    tmpfs(&dev, "mode=755")?;
    for name in DEVICES {
        let (from, to) = (Path::new("/dev").join(name), dev.join(name));
        write_new(&to, b"", 0o666)?;
        bind(&from, &to, MsFlags::empty())?;
    }
    for folder in ["pts", "shm"] {
        fs::create_dir(dev.join(folder)).context("making a folder in /dev")?;
    }
    tmpfs(&dev.join("shm"), "mode=1777")?;
    let options = Some("newinstance,ptmxmode=0666,mode=620");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        flags,
        options,
    )
    .context("mounting /dev/pts")?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("/run/systemd/journal/dev-log", "log"),
    ];
    for (target, name) in links {
        symlink(target, dev.join(name)).with_context(|| format!("linking /dev/{name}"))?;
    }
    Ok(())
}

fn bind(from: &Path, to: &Path, more: MsFlags) -> Result<()> {
    let flags = MsFlags::MS_BIND | more;
    mount(Some(from), to, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("binding {} to {}", from.display(), to.display()))
}

fn kernel_filesystems(root: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("proc"),
        &root.join("proc"),
        Some("proc"),
        flags,
        None::<&str>,
    )
    .context(
        "mounting /proc; inside a container its masked /proc forbids that: use another testbed",
    )?;
    // systemd-journald from 257 on wants the cgroup tree that is mounted below /sys. The sandbox's
    // root is nobody there: whatever the modes say, nothing can be changed.
    bind(Path::new("/sys"), &root.join("sys"), MsFlags::MS_REC)
}

/// A suite built by Nix finds its loader and libraries in the store.
fn bind_store(root: &Path) -> Result<()> {
    let store = Path::new("/nix/store");
    if !store.is_dir() {
        return Ok(());
    }
    let here = root.join("nix/store");
    fs::create_dir_all(&here).context("making /nix/store")?;
    bind(store, &here, MsFlags::MS_REC)
}

/// What journald expects to find when no systemd started it.
fn journal_folders() -> Result<()> {
    let id = fs::read_to_string("/etc/machine-id").context("reading /etc/machine-id")?;
    for folder in [
        "/run/systemd/journal",
        &format!("/run/log/journal/{}", id.trim()),
    ] {
        fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
    }
    Ok(())
}
