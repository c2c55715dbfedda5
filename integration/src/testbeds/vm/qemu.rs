//! qemu as a child process: one machine, booted or resumed.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use super::keeper::KEEPER;
use super::qmp::Qmp;

/// The program, in Debian's and Ubuntu's package qemu-system-x86.
const PROGRAM: &str = "qemu-system-x86_64";

/// Guest memory in MiB: the stack and its system use 190.
pub const MEMORY: u64 = 1024;

/// `-netdev dgram` came with 7.2.
const OLDEST: (u32, u32) = (7, 2);

/// Kept of the console, for error messages.
const CONSOLE_LINES: usize = 40;

/// The kernel's command line. The initrd mounts the disk; without a screen nobody reads progress.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet net.ifnames=0 mitigations=off panic=-1 \
     8250.nr_uarts=1 systemd.show_status=0 random.trust_cpu=on";

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
    fn options(self) -> [&'static str; 4] {
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
    path: PathBuf,
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

/// What a machine starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Its disk, which it changes.
    Boot,
    /// Its frozen state; what it changes is thrown away.
    Frozen,
}

/// Files of a machine, in the folder it is started in.
pub const DISK: &str = "disk.img";
/// The kernel, uncompressed: emulated, it would take a second to unpack itself.
pub const KERNEL: &str = "vmlinux";
/// The initial RAM disk.
pub const INITRD: &str = "initrd";
/// The memory of a frozen machine.
pub const RAM: &str = "ram.bin";
/// The rest of a frozen machine's state.
pub const STATE: &str = "state.bin";

/// A running qemu. Dropping it ends it.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    run: TempDir,
    console: Arc<Mutex<VecDeque<String>>>,
    errors: Arc<Mutex<VecDeque<String>>>,
    /// Its control socket.
    pub qmp: Qmp,
    /// The suite's end of the machine's network card: a datagram is a frame.
    pub wire: Option<OwnedFd>,
}

impl Qemu {
    /// Starts a machine from the files in `folder`.
    ///
    /// # Errors
    /// There is too little memory, or qemu ends at once; what it said is quoted.
    pub async fn start(
        program: &Program,
        accelerator: Accelerator,
        folder: &Path,
        from: From,
    ) -> Result<Self> {
        check_memory()?;
        let run = tempfile::Builder::new()
            .prefix("fmd-stack-vm-")
            .tempdir()
            .context("making a temporary folder")?;
        let (wire, card) = socketpair(
            AddressFamily::Unix,
            SockType::Datagram,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .context("making the machine's wire")?;
        let mut child = Command::new("/proc/self/exe")
            .args([KEEPER, &std::process::id().to_string()])
            .arg(&program.path)
            .args(accelerator.options())
            .args(options(run.path(), from))
            .current_dir(folder)
            .env("TMPDIR", run.path())
            .stdin(Stdio::from(card))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C goes to the suite alone, which then ends its machines.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("starting qemu")?;
        let console = collect(child.stdout.take());
        let errors = collect(child.stderr.take());
        let socket = run.path().join("qmp");
        let qmp = await_socket(&socket, &mut child).await;
        let qmp = qmp.with_context(|| format!("qemu does not start: {}", text(&errors)))?;
        Ok(Self {
            child,
            run,
            console,
            errors,
            qmp,
            wire: Some(wire),
        })
    }

    /// Connects to the port the agent in the machine talks on.
    pub async fn agent(&self) -> Result<UnixStream> {
        UnixStream::connect(self.run.path().join("agent"))
            .await
            .context("connecting to the machine's agent")
    }

    /// The last lines of the machine's console and of qemu itself, for error messages.
    pub fn last_words(&self) -> String {
        format!(
            "{}\nThe console's last lines:\n{}",
            text(&self.errors),
            text(&self.console)
        )
    }

    /// Ends the machine as pulling its plug would.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("ending qemu")
    }

    /// Returns when qemu has ended, however long that takes.
    pub async fn stopped(&mut self) -> Result<()> {
        self.child
            .wait()
            .await
            .map(drop)
            .context("waiting for qemu")
    }

    /// Waits until qemu, told to end, has done so.
    pub async fn ended(&mut self) -> Result<()> {
        let ended = timeout(Duration::from_secs(20), self.child.wait()).await;
        let status = ended
            .context("qemu does not end")?
            .context("waiting for qemu")?;
        ensure!(
            status.success(),
            "qemu ended with {status}: {}",
            text(&self.errors)
        );
        Ok(())
    }
}

/// qemu's options. A frozen machine resumes only in one built exactly as it was.
fn options(run: &Path, from: From) -> Vec<String> {
    // A comma ends a value, two stand for one.
    let run = run.display().to_string().replace(',', ",,");
    let (share, snapshot) = match from {
        From::Boot => ("on", "off"),
        // Memory is copied on write, and writes to the disk go to an overlay in TMPDIR that qemu
        // has already deleted: nothing is left behind, however it ends.
        From::Frozen => ("off", "on"),
    };
    let mut options: Vec<String> = [
        "-nodefaults -no-user-config -display none -smp 2",
        "-device virtio-rng-pci -device virtio-serial-pci",
        "-device virtio-blk-pci,drive=disk",
        // Checksums and segments are for the kernels at both ends, see wire.rs.
        "-device virtio-net-pci,netdev=wire,romfile=,csum=off,gso=off,guest_csum=off,mrg_rxbuf=off,mac=52:54:00:fd:00:01",
        "-device virtserialport,chardev=agent,name=fmd-testbed",
        "-netdev dgram,id=wire,local.type=fd,local.str=0",
        "-chardev file,id=console,path=/dev/fd/1 -serial chardev:console",
        "-rtc base=utc,clock=host",
    ]
    .iter()
    .flat_map(|words| words.split_whitespace())
    .map(str::to_owned)
    .collect();
    let more = [
        ("-m", format!("{MEMORY}M")),
        (
            "-object",
            format!("memory-backend-file,id=ram,size={MEMORY}M,mem-path={RAM},share={share}"),
        ),
        ("-machine", "q35,hpet=off,memory-backend=ram".to_owned()),
        (
            "-drive",
            format!("if=none,id=disk,format=raw,file={DISK},cache=unsafe,snapshot={snapshot}"),
        ),
        (
            "-chardev",
            format!("socket,id=agent,path={run}/agent,server=on,wait=off"),
        ),
        ("-qmp", format!("unix:{run}/qmp,server=on,wait=off")),
        ("-kernel", KERNEL.to_owned()),
        ("-initrd", INITRD.to_owned()),
        (
            "-append",
            KERNEL_ARGUMENTS
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        ),
    ];
    options.extend(
        more.into_iter()
            .flat_map(|(option, value)| [option.to_owned(), value]),
    );
    match from {
        // A kernel that can't go on ends qemu instead of starting over.
        From::Boot => options.push("-no-reboot".to_owned()),
        From::Frozen => options.extend(["-incoming".to_owned(), "defer".to_owned()]),
    }
    options
}

fn check_memory() -> Result<()> {
    let text = std::fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let available = kib.context("/proc/meminfo has no MemAvailable")? / 1024;
    ensure!(
        available >= MEMORY,
        "the vm testbed's machine has {MEMORY} MiB of memory, but only {available} MiB are free here: \
         end something, or run fewer scenarios at once (--jobs 1)"
    );
    Ok(())
}

/// Connects as soon as qemu listens.
async fn await_socket(socket: &Path, child: &mut Child) -> Result<Qmp> {
    let mut ticks = interval(Duration::from_millis(5));
    let connected = timeout(Duration::from_secs(20), async {
        loop {
            ticks.tick().await;
            if let Ok(stream) = UnixStream::connect(socket).await {
                return Qmp::on(stream).await;
            }
            if let Some(status) = child.try_wait().context("waiting for qemu")? {
                bail!("it ended with {status}");
            }
        }
    });
    connected.await.context("it opens no control socket")?
}

/// Keeps the last lines of a stream.
fn collect(
    stream: Option<impl AsyncRead + Unpin + Send + 'static>,
) -> Arc<Mutex<VecDeque<String>>> {
    let kept = Arc::new(Mutex::new(VecDeque::new()));
    let keep = kept.clone();
    if let Some(stream) = stream {
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                let Ok(mut kept) = keep.lock() else { return };
                if kept.len() == CONSOLE_LINES {
                    kept.pop_front();
                }
                kept.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        });
    }
    kept
}

fn text(lines: &Mutex<VecDeque<String>>) -> String {
    lines
        .lock()
        .map(|lines| {
            lines
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join("\n")
        })
        .unwrap_or_default()
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

    #[test]
    fn commas_in_the_temporary_folder_are_doubled() {
        let options = options(Path::new("/tmp/a,b"), From::Frozen);
        assert!(
            options
                .iter()
                .any(|option| option.contains("path=/tmp/a,,b/agent"))
        );
    }
}
