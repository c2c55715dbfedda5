//! The machine's disk: Debian, the how-to's commands, and what lets the suite in.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rust_embed::RustEmbed;

use super::host::Host;
use super::howto::HowTo;
use super::qemu::{DISK, INITRD, KERNEL};
use crate::rootfs::{self, Recipe, Rootfs};
use crate::sandbox::{self, FIRST_FD, Machine};
use crate::testbed::{Command, FileTree, Node};
use crate::testbeds::segment::Segment;

/// Files of the testbed itself, laid over Debian.
#[derive(RustEmbed)]
#[folder = "src/testbeds/vm/guest"]
struct Guest;

/// What turns Debian into the disk.
pub const MAKE_DISK: &str = include_str!("make-disk.sh");

/// Debian as a server has it, without the stack: that is the how-to's affair.
pub fn recipe(how_to: &HowTo) -> Recipe {
    Recipe {
        name: "machine",
        suite: "trixie",
        packages: &[
            "systemd-sysv",
            "udev",
            "dbus",
            "kmod",
            "iproute2",
            "openssh-server",
            "linux-image-cloud-amd64",
            // for the disk and its initrd
            "busybox-static",
            "cpio",
            "e2fsprogs",
            "xz-utils",
            "zstd",
            // for the port on the segment
            "ethtool",
        ],
        script: how_to.packages.clone().into(),
    }
}

/// The testbed's own files.
pub fn guest_files() -> FileTree {
    let mut tree = FileTree::default();
    for path in Guest::iter() {
        if let Some(file) = Guest::get(&path) {
            tree.insert(&path, &file.data);
        }
    }
    tree
}

/// The kernel of a root filesystem, as packaged.
pub fn kernel(rootfs: &Rootfs) -> Result<PathBuf> {
    let boot = rootfs.dir.join("boot");
    let entries =
        std::fs::read_dir(&boot).with_context(|| format!("reading {}", boot.display()))?;
    let found = entries.flatten().map(|entry| entry.path());
    let mut kernels: Vec<_> = found
        .filter(|path| path.file_name().is_some_and(is_kernel))
        .collect();
    kernels.sort();
    kernels.pop().with_context(|| {
        format!(
            "no kernel in {}: `fmd-stack clean` empties the cache, the next run makes it anew",
            boot.display()
        )
    })
}

fn is_kernel(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with("vmlinuz-")
}

/// Makes disk, kernel and initrd in the folder `out`.
///
/// `config` is what the how-to copies from this project, `fmd_server` the program it installs.
pub async fn make(host: &Host, config: &FileTree, fmd_server: &Path, out: &Path) -> Result<()> {
    let packed = std::fs::read(kernel(&host.rootfs)?).context("reading the kernel")?;
    let payload = payload(&packed).context("the kernel is not packed with zstd")?;
    std::fs::write(out.join(format!("{KERNEL}.zst")), payload).context("writing the kernel")?;
    let (uid, gid) = sandbox::inner_root();
    chown(out, Some(uid), Some(gid)).context("handing the folder to the sandbox")?;

    let mut files = guest_files();
    for (path, file) in config.iter() {
        files.insert(&format!("root/fmd-stack/{path}"), &file.bytes);
    }
    let machine = Machine {
        host_name: "server".to_owned(),
        files,
        programs: vec![(FIRST_FD + 1, "/root/fmd-server".to_owned())],
        server: None,
    };
    let opens = [
        host.rootfs.dir.clone(),
        fmd_server.to_owned(),
        out.to_owned(),
    ];
    let segment = Segment::start(machine, &opens).await?;
    // Beyond the sandbox's root there is no path to it, but the descriptor is as good as one.
    let folder = format!("/proc/1/fd/{}", FIRST_FD + 2);
    let command = Command::shell(MAKE_DISK, &[&folder, &host.how_to.commands])
        .deadline(Duration::from_secs(300));
    let made = segment.itself().run(command).await;
    segment.stop().await?;
    made?
        .ok()
        .context("docs/how-to/debian.md does not lead to a disk")?;
    for file in [DISK, INITRD, KERNEL] {
        ensure!(out.join(file).is_file(), "no {file} was made");
    }
    Ok(())
}

/// The packed kernel within a boot image, if zstd packed it.
///
/// The header's fields are in "The Linux/x86 Boot Protocol" of the kernel's documentation; the
/// last four bytes of the payload are its unpacked size.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| -> Option<usize> {
        let bytes: [u8; 4] = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let setup_sectors = usize::from(*image.get(0x1f1)?);
    let start = (setup_sectors + 1) * 512 + number(0x248)?;
    let end = start.checked_add(number(0x24c)?)?.checked_sub(4)?;
    image
        .get(start..end)
        .filter(|payload| payload.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]))
}

/// The root filesystem the machine is made from, and on which its clients stand.
pub async fn rootfs(how_to: &HowTo) -> Result<Rootfs> {
    rootfs::ensure(&recipe(how_to)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_filesystem_without_a_kernel_says_where_it_looked() {
        let home = tempfile::tempdir().unwrap();
        let rootfs = Rootfs {
            dir: home.path().to_owned(),
            tar: home.path().join("root.tar"),
        };
        let boot = home.path().join("boot");
        std::fs::create_dir(&boot).unwrap();
        let error = kernel(&rootfs).unwrap_err().to_string();
        let place = boot.display().to_string();
        assert!(
            error.contains(&place) && error.contains("fmd-stack clean"),
            "{error}"
        );
        std::fs::write(boot.join("vmlinuz-6.12"), b"").unwrap();
        assert_eq!(kernel(&rootfs).unwrap(), boot.join("vmlinuz-6.12"));
    }

    #[test]
    fn finds_the_payload_and_nothing_in_other_files() {
        let mut image = vec![0; 4096];
        image[0x1f1] = 1;
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&12u32.to_le_bytes());
        assert_eq!(payload(&image), None);
        image[1040..1044].copy_from_slice(&[0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(payload(&image), Some(&image[1040..1048]));
        assert_eq!(payload(b"short"), None);
    }
}
