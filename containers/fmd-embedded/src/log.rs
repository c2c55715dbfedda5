//! The log: every event goes to standard error and, as JSON, to syslog.
//!
//! Field order, priorities and wording are upstream's, because jails read them.
//! An event has been handed to syslog by the time [`Logger::write`] returns, so
//! no answer to a failed login is on its way before the line about it.

mod console;
mod json;
mod syslog;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use jiff::{Timestamp, Zoned, tz::TimeZone};

use syslog::{Outcome, Syslog};

/// How much an event matters; the number is syslog's severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Fatal = 0,
    Error = 3,
    Warn = 4,
    Info = 6,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Fatal => "fatal",
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    level: Level,
    fields: Vec<(&'static str, Value)>,
    message: &'static str,
}

/// What a field holds.
#[derive(Clone, Debug)]
enum Value {
    /// Bytes, because header values needn't be UTF-8.
    Text(Vec<u8>),
    Number(i64),
}

impl Event {
    pub fn new(level: Level, message: &'static str) -> Self {
        Event {
            level,
            fields: Vec::new(),
            message,
        }
    }

    pub fn fatal(message: &'static str) -> Self {
        Event::new(Level::Fatal, message)
    }

    pub fn error(message: &'static str) -> Self {
        Event::new(Level::Error, message)
    }

    pub fn warn(message: &'static str) -> Self {
        Event::new(Level::Warn, message)
    }

    pub fn info(message: &'static str) -> Self {
        Event::new(Level::Info, message)
    }

    /// Adds a field; fields are logged in the order they were added.
    #[must_use]
    pub fn text(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        let value = Value::Text(value.as_ref().to_vec());
        self.fields.push((name, value));
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, name: &'static str, value: i64) -> Self {
        self.fields.push((name, Value::Number(value)));
        self
    }

    /// The event with its values cut to `limit` bytes.
    fn shortened(&self, limit: usize) -> Event {
        let mut short = self.clone();
        for (_, value) in &mut short.fields {
            if let Value::Text(text) = value {
                text.truncate(limit);
            }
        }
        short
    }
}

/// What goes to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stderr {
    /// Text for people.
    Pretty { colour: bool },
    /// One JSON object a line.
    Json,
    /// Nothing, for servers inside tests and benchmarks.
    Silent,
}

/// Writes events.
pub struct Logger {
    stderr: Stderr,
    zone: TimeZone,
    syslog: Mutex<Syslog>,
}

impl Logger {
    /// A logger for standard error and the syslog socket at `syslog`.
    ///
    /// A socket that isn't there is said on standard output, as upstream does
    /// it, and tried again with every event.
    pub fn new(stderr: Stderr, syslog: PathBuf) -> Self {
        let (syslog, outcome) = Syslog::connect(syslog);
        if let Outcome::Lost(reason) = outcome {
            // Not println!: it panics when standard output is closed.
            let _ = writeln!(
                std::io::stdout(),
                "Failed to connect to syslog: {reason}; fail2ban sees nothing until it is there"
            );
        }
        Logger {
            stderr,
            zone: TimeZone::system(),
            syslog: Mutex::new(syslog),
        }
    }

    /// Writes an event to standard error and syslog.
    pub fn write(&self, event: &Event) {
        let now = Timestamp::now().to_zoned(self.zone.clone());
        self.write_stderr(event, &now);
        let line = json::line(event, &now);
        let mut syslog = self.syslog.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcome = syslog.send(event.level, &now, &line);
        if matches!(outcome, Outcome::TooLong) {
            // An attacker's long header must not keep the line from the jail.
            const LIMIT: usize = 1024;
            outcome = syslog.send(
                event.level,
                &now,
                &json::line(&event.shortened(LIMIT), &now),
            );
        }
        drop(syslog);
        if let Some(report) = report(outcome) {
            self.write_stderr(&report, &now);
        }
    }

    fn write_stderr(&self, event: &Event, now: &Zoned) {
        let line = match self.stderr {
            Stderr::Pretty { colour } => console::line(event, now, colour),
            Stderr::Json => json::line(event, now),
            Stderr::Silent => return,
        };
        // One write, so that lines of several threads don't mix; a closed
        // standard error is no reason to stop serving.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// What is said, on standard error alone, about the way to syslog.
fn report(outcome: Outcome) -> Option<Event> {
    match outcome {
        Outcome::Sent | Outcome::StillLost | Outcome::TooLong => None,
        Outcome::Lost(reason) => Some(
            Event::error("lost syslog, fail2ban sees nothing until it is back")
                .text("error", reason),
        ),
        Outcome::Back { lost } => Some(
            Event::info("syslog is back")
                .number("linesLost", i64::try_from(lost).unwrap_or(i64::MAX)),
        ),
    }
}

/// RFC 3339 with seconds, `Z` for an offset of zero, as Go writes it.
fn rfc3339(now: &Zoned) -> String {
    if now.offset().is_zero() {
        now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    } else {
        now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }
}
