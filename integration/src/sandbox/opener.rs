//! The middle process: unshares, opens what the caller may reach, starts init and waits for it.
//!
//! It runs before any thread exists, since the kernel lets only a single-threaded process unshare
//! its user namespace.

use std::io::Write;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, read, setgroups, setresgid, setresuid};

use super::INIT;
use super::protocol::{FIRST_FD, Message, Order};

/// Runs the opener; its exit status is init's.
pub fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            say(&Message::Failed {
                error: format!("{error:#}"),
            });
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    // If the suite dies between two steps, nothing of this may go on.
    set_pdeathsig(Signal::SIGKILL).context("asking to die with the parent")?;
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWUSER) {
        say(&Message::Refused {
            errno: errno as i32,
        });
        return Ok(ExitCode::FAILURE);
    }
    say(&Message::Unshared);
    let order: Order = serde_json::from_str(&read_line()?).context("reading the order")?;
    let rest = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(rest).context("making mount, process, network, host name and IPC namespaces")?;
    open_for_init(&order)?;
    // Up to here the process had the caller's own identity, and so reached the caller's files.
    become_inner_root().context("becoming root of the sandbox")?;
    // A change of identity has cleared the first one.
    set_pdeathsig(Signal::SIGKILL).context("asking to die with the parent")?;
    let mut init = Command::new("/proc/self/exe")
        .arg(INIT)
        .spawn()
        .context("starting init")?;
    say(&Message::Init { pid: init.id() });
    let status = init.wait().context("waiting for init")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Opens the ordered paths as [`FIRST_FD`] and up in this mount namespace, to be inherited by init.
fn open_for_init(order: &Order) -> Result<()> {
    std::env::set_current_dir(&order.cwd)
        .with_context(|| format!("entering {}", order.cwd.display()))?;
    for (index, path) in order.opens.iter().enumerate() {
        let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .with_context(|| format!("opening {}", path.display()))?;
        let wanted = FIRST_FD + i32::try_from(index)?;
        // The duplicate lacks close-on-exec and stays open for init.
        let kept = fcntl(&fd, FcntlArg::F_DUPFD(wanted)).context("keeping a descriptor open")?;
        ensure!(kept == wanted, "descriptor {wanted} is already in use");
    }
    Ok(())
}

fn become_inner_root() -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// Reads one line without reading ahead: what follows is for init.
fn read_line() -> Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    // Not through std's Stdin, which reads ahead.
    while read(std::io::stdin(), &mut byte).context("reading from the parent")? == 1
        && byte[0] != b'\n'
    {
        line.push(byte[0]);
    }
    String::from_utf8(line).context("the order is not UTF-8")
}

/// Tells the parent; if it is gone there is nobody left to tell.
pub fn say(message: &Message) {
    if let Ok(mut line) = serde_json::to_vec(message) {
        line.push(b'\n');
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
    }
}
