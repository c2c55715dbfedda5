//! qemu as a child process: one machine, booted or resumed.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use super::host::Host;
use super::keeper::KEEPER;
use super::qmp::Qmp;
use super::tail::Tail;
use super::{memory, run_folder};

/// Guest memory in MiB: the stack and its system use 190.
pub const MEMORY: u64 = 1024;

/// The kernel's command line. The initrd mounts the disk; systemd says what fails or what it waits
/// for, which is all that is known of a machine that does not boot.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet net.ifnames=0 mitigations=off panic=-1 \
     8250.nr_uarts=1 systemd.show_status=auto random.trust_cpu=on";

/// What a machine starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
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
    console: Tail,
    errors: Tail,
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
    pub async fn start(host: &Host, folder: &Path, from: Source) -> Result<Self> {
        memory::check()?;
        let run = run_folder::make()?;
        let (wire, card) = socketpair(
            AddressFamily::Unix,
            SockType::Datagram,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .context("making the machine's wire")?;
        let mut child = Command::new("/proc/self/exe")
            .args([KEEPER, &std::process::id().to_string()])
            .arg(&host.program.path)
            .args(host.accelerator.options())
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
        let console = Tail::of(child.stdout.take());
        let mut errors = Tail::of(child.stderr.take());
        let socket = run.path().join("qmp");
        let qmp = await_socket(&socket, &mut child).await;
        let qmp = match qmp {
            Ok(qmp) => qmp,
            Err(error) => {
                let said = errors.text().await;
                return Err(error.context(format!("qemu does not start: {said}")));
            }
        };
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
    pub async fn last_words(&mut self) -> String {
        let console = self.console.text().await;
        format!(
            "{}\nThe console's last lines:\n{console}",
            self.errors.text().await
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
            self.errors.text().await
        );
        Ok(())
    }
}

/// qemu's options. A frozen machine resumes only in one built exactly as it was.
pub fn options(run: &Path, from: Source) -> Vec<String> {
    // A comma ends a value, two stand for one.
    let run = run.display().to_string().replace(',', ",,");
    let (share, snapshot) = match from {
        Source::Boot => ("on", "off"),
        // Memory is copied on write, and writes to the disk go to an overlay in TMPDIR that qemu
        // has already deleted: nothing is left behind, however it ends.
        Source::Frozen => ("off", "on"),
    };
    let mut options: Vec<String> = [
        "-nodefaults -no-user-config -display none -smp 1",
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
        Source::Boot => options.push("-no-reboot".to_owned()),
        Source::Frozen => options.extend(["-incoming".to_owned(), "defer".to_owned()]),
    }
    options
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_the_temporary_folder_are_doubled() {
        let options = options(Path::new("/tmp/a,b"), Source::Frozen);
        assert!(
            options
                .iter()
                .any(|option| option.contains("path=/tmp/a,,b/agent"))
        );
    }
}
