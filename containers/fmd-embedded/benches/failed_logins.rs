//! Failed logins a second, and whether each left its lines in syslog.
//!
//! ```text
//! cargo bench -p fmd-embedded --bench failed_logins
//! ```
//!
//! The real program on a unix socket, 8 keep-alive connections, 4,000 accounts
//! in turn, so that after 24,000 guesses every further one meets a lock. First
//! at a steady 2,000 guesses a second for 10 s, then as fast as it goes for 5 s.
//! Clients, server and the reader of syslog share the machine's cores. Exits
//! with 1 when the steady rate was not held or a line is missing.

// A benchmark has nobody to hand an error to.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: u32 = 8;
const ACCOUNTS: u64 = 4_000;
const STEADY_RATE: u32 = 2_000;
const STEADY: Duration = Duration::from_secs(10);
const FLAT_OUT: Duration = Duration::from_secs(5);

/// What became of the guesses of a phase.
#[derive(Default)]
struct Tally {
    failed: u64,
    blocked: u64,
    latencies: Vec<Duration>,
    elapsed: Duration,
}

impl Tally {
    fn answers(&self) -> u64 {
        self.failed + self.blocked
    }

    fn rate(&self) -> f64 {
        self.answers() as f64 / self.elapsed.as_secs_f64()
    }

    fn add(&mut self, other: Tally) {
        self.failed += other.failed;
        self.blocked += other.blocked;
        self.latencies.extend(other.latencies);
        self.elapsed = self.elapsed.max(other.elapsed);
    }

    fn report(&mut self, name: &str) {
        self.latencies.sort();
        let at = |share: f64| {
            let last = self.latencies.len() - 1;
            self.latencies[(last as f64 * share) as usize].as_micros()
        };
        println!(
            "{name}: {:.0} guesses/s ({} answered 403, {} answered 423), \
             latency µs median {} p99 {} max {}",
            self.rate(),
            self.failed,
            self.blocked,
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}

/// Lines that reached syslog.
#[derive(Default)]
struct Lines {
    failed: AtomicU64,
    blocked: AtomicU64,
}

fn main() -> ExitCode {
    let dir = tempfile::tempdir().unwrap();
    let lines: &'static Lines = Box::leak(Box::default());
    read_syslog(&dir.path().join("log"), lines);
    let mut server = start(dir.path());
    let socket = dir.path().join("fmd.sock");
    register(&socket);

    let gap = Duration::from_secs(1) * CONNECTIONS / STEADY_RATE;
    let mut steady = phase(&socket, STEADY, Some(gap));
    steady.report("steady");
    let mut flat_out = phase(&socket, FLAT_OUT, None);
    flat_out.report("flat out");

    let missing = missing_lines(&steady, &flat_out, lines);
    println!("lines missing in syslog: {missing}");
    server.kill().unwrap();
    server.wait().unwrap();
    let held = steady.rate() >= f64::from(STEADY_RATE) * 0.99;
    match held && missing == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Every line was sent before its guess was answered, so what isn't counted
/// soon after the last answer is lost.
fn missing_lines(steady: &Tally, flat_out: &Tally, lines: &Lines) -> u64 {
    let expected = steady.answers() + flat_out.answers();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let failed = lines.failed.load(Ordering::SeqCst);
        let blocked = lines.blocked.load(Ordering::SeqCst);
        let missing = expected - failed - blocked;
        if missing == 0 {
            assert_eq!(failed, steady.failed + flat_out.failed);
        }
        if missing == 0 || Instant::now() > deadline {
            return missing;
        }
        thread::yield_now();
    }
}

fn read_syslog(path: &Path, lines: &'static Lines) {
    let socket = UnixDatagram::bind(path).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..length]);
            if line.contains("\"failed login attempt\"") {
                lines.failed.fetch_add(1, Ordering::SeqCst);
            } else if line.contains("\"blocked login attempt\"") {
                lines.blocked.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
}

fn start(dir: &Path) -> std::process::Child {
    let socket = dir.join("fmd.sock");
    std::fs::write(
        dir.join("config.yml"),
        format!(
            "UnixSocketPath: {}\nRemoteIpHeader: X-Real-IP\n",
            socket.display()
        ),
    )
    .unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_fmd-embedded"))
        .arg("serve")
        .arg("--config")
        .arg(dir.join("config.yml"))
        .arg("--db-dir")
        .arg(dir.join("db"))
        .arg("--syslog")
        .arg(dir.join("log"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < deadline, "the server doesn't answer");
        thread::yield_now();
    }
    child
}

fn register(socket: &Path) {
    let mut connection = Connection::open(socket);
    for account in 0..ACCOUNTS {
        let body = format!(r#"{{"RequestedUsername":"user{account}","HashedPassword":"right"}}"#);
        assert_eq!(connection.put("device", &body), 200);
    }
}

fn phase(socket: &Path, duration: Duration, gap: Option<Duration>) -> Tally {
    let next_account = AtomicU64::new(0);
    let mut total = Tally::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(|| guess(socket, duration, gap, &next_account)))
            .collect();
        for thread in threads {
            total.add(thread.join().unwrap());
        }
    });
    total
}

fn guess(socket: &Path, duration: Duration, gap: Option<Duration>, next: &AtomicU64) -> Tally {
    let mut connection = Connection::open(socket);
    let mut tally = Tally::default();
    let start = Instant::now();
    let mut due = start;
    while start.elapsed() < duration {
        if let Some(gap) = gap {
            due += gap;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let account = next.fetch_add(1, Ordering::Relaxed) % ACCOUNTS;
        let body = format!(r#"{{"IDT":"user{account}","Data":"wrong"}}"#);
        let sent = Instant::now();
        match connection.put("requestAccess", &body) {
            403 => tally.failed += 1,
            423 => tally.blocked += 1,
            status => panic!("answered {status}"),
        }
        tally.latencies.push(sent.elapsed());
    }
    tally.elapsed = start.elapsed();
    tally
}

/// A keep-alive connection.
struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        Connection {
            stream: BufReader::new(stream),
        }
    }

    /// Sends a request and returns the status of its answer.
    fn put(&mut self, endpoint: &str, body: &str) -> u16 {
        let request = format!(
            "PUT /api/v1/{endpoint} HTTP/1.1\r\nHost: bench\r\nX-Real-IP: 203.0.113.7\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line[9..12].parse().unwrap();
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let header = line.trim_end().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        self.stream.read_exact(&mut vec![0; length]).unwrap();
        status
    }
}
