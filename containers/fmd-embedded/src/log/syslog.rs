//! The way to syslog: datagrams to `/dev/log`, as Go's `log/syslog` sends them.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Zoned;

use super::Level;

/// Where syslog usually is, and where Go's `log/syslog` looks after that
/// (`go/src/log/syslog/syslog_unix.go`): a container can't always have the first.
const USUAL: &str = "/dev/log";
const FALLBACKS: &[&str] = &["/var/run/syslog", "/var/run/log"];
/// The tag jails select on.
const TAG: &str = "fmd-server";
/// Facility "user" in its place of the priority.
const FACILITY_USER: u8 = 1 << 3;
/// How long a line waits for a reader that is there but doesn't read.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the syslog socket, made anew whenever it is gone.
pub struct Syslog {
    path: PathBuf,
    pid: u32,
    state: State,
}

enum State {
    Connected(UnixDatagram),
    /// The reader didn't read for [`PATIENCE`]: nothing waits for it any more.
    Stalled(UnixDatagram, u64),
    Gone(u64),
}

/// What became of a line.
pub enum Outcome {
    Sent,
    /// The first line that could not be delivered, and why.
    Lost(String),
    StillLost,
    /// Delivered again, after so many lost lines.
    Back {
        lost: u64,
    },
    /// Longer than a datagram may be.
    TooLong,
}

impl Syslog {
    /// Connects to the socket; the syslog is usable whatever the outcome.
    pub fn connect(path: PathBuf) -> (Self, Outcome) {
        let (state, outcome) = match open(&path) {
            Ok(socket) => (State::Connected(socket), Outcome::Sent),
            Err(error) => (
                State::Gone(0),
                Outcome::Lost(format!("{}: {error}", path.display())),
            ),
        };
        let pid = std::process::id();
        (Syslog { path, pid, state }, outcome)
    }

    /// Sends one line that ends in a newline.
    pub fn send(&mut self, level: Level, now: &Zoned, line: &str) -> Outcome {
        let priority = FACILITY_USER | level as u8;
        let stamp = now.strftime("%b %e %H:%M:%S");
        let datagram = format!("<{priority}>{stamp} {TAG}[{}]: {line}", self.pid);
        match std::mem::replace(&mut self.state, State::Gone(0)) {
            State::Connected(socket) => self.send_connected(socket, datagram.as_bytes()),
            State::Stalled(socket, lost) => {
                self.send_again(Some(socket), datagram.as_bytes(), lost)
            }
            State::Gone(lost) => self.send_again(None, datagram.as_bytes(), lost),
        }
    }

    fn send_connected(&mut self, socket: UnixDatagram, datagram: &[u8]) -> Outcome {
        let Err(error) = socket.send(datagram) else {
            self.state = State::Connected(socket);
            return Outcome::Sent;
        };
        if is_too_long(&error) {
            self.state = State::Connected(socket);
            return Outcome::TooLong;
        }
        let reason = format!("{}: {error}", self.path.display());
        if error.kind() == io::ErrorKind::WouldBlock {
            // Without waiting from now on; connecting anew would not help.
            self.state = match socket.set_nonblocking(true) {
                Ok(()) => State::Stalled(socket, 1),
                Err(_) => State::Gone(1),
            };
            return Outcome::Lost(reason);
        }
        // The reader was restarted: a new socket may be there already.
        match open(&self.path).and_then(|socket| socket.send(datagram).map(|_| socket)) {
            Ok(socket) => {
                self.state = State::Connected(socket);
                Outcome::Sent
            }
            Err(_) => {
                self.state = State::Gone(1);
                Outcome::Lost(reason)
            }
        }
    }

    fn send_again(&mut self, socket: Option<UnixDatagram>, datagram: &[u8], lost: u64) -> Outcome {
        let stalled = match socket {
            Some(socket) => match socket.send(datagram) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.state = State::Stalled(socket, lost + 1);
                    return Outcome::StillLost;
                }
                Ok(_) => socket.set_nonblocking(false).map(|()| socket),
                Err(error) => Err(error),
            },
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        let connected =
            stalled.or_else(|_| open(&self.path).and_then(|s| s.send(datagram).map(|_| s)));
        match connected {
            Ok(socket) => {
                self.state = State::Connected(socket);
                Outcome::Back { lost }
            }
            Err(_) => {
                self.state = State::Gone(lost + 1);
                Outcome::StillLost
            }
        }
    }
}

fn open(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let Err(error) = socket.connect(path) else {
        return Ok(socket);
    };
    let elsewhere = if path == Path::new(USUAL) {
        FALLBACKS
    } else {
        &[]
    };
    match elsewhere.iter().any(|path| socket.connect(path).is_ok()) {
        true => Ok(socket),
        false => Err(error),
    }
}

fn is_too_long(error: &io::Error) -> bool {
    const EMSGSIZE: i32 = 90;
    error.raw_os_error() == Some(EMSGSIZE)
}
