//! What a client is told to do, and what it answers: JSON, so that any node can run it.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A task for the client on a node, read from standard input (passwords are in it).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plan {
    /// Send requests; one [`Attempt`] a line comes back.
    Requests(Requests),
    /// Try every TCP port of an address; one [`OpenPort`] a line comes back.
    Scan { address: IpAddr, from: u16, to: u16 },
    /// Take requests on a port and say what came; one [`Received`] a line comes back.
    Listen {
        port: u16,
        count: usize,
        within_ms: u64,
    },
    /// Feed bytes to connections; one [`Dripped`] a connection comes back.
    Raw(Raw),
    /// Remove an account from FMD Server.
    Remove(Removal),
}

/// An account to remove. One that isn't there counts as removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Removal {
    /// Such as `http://203.0.113.1`.
    pub url: String,
    /// As in [`Requests::server`].
    pub server: Option<IpAddr>,
    /// Its name.
    pub account: String,
    /// The hash that its owner logs in with.
    pub password: String,
    /// A token from an earlier login, for an account that is locked by now.
    pub token: Option<String>,
    /// How long it may take until a ban of this node is lifted.
    pub within_ms: u64,
}

/// Bytes to feed to several connections at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Raw {
    /// The server's address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// How many connections.
    pub connections: usize,
    /// Sent first.
    pub opening: Vec<u8>,
    /// Sent again and again after that.
    pub then: Vec<u8>,
    /// At this distance.
    pub every_ms: u64,
    /// For this long.
    pub for_ms: u64,
}

/// As many bytes as tell which protocol is spoken: an HTTP/2 frame's head (RFC 9113).
pub const FIRST_BYTES: usize = 9;

/// What became of a connection that was fed bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dripped {
    /// Whether it was accepted.
    pub connected: bool,
    /// Bytes sent.
    pub sent: usize,
    /// Bytes that came back.
    pub received: usize,
    /// The first of them, up to [`FIRST_BYTES`].
    pub first: Vec<u8>,
    /// Whether the server ended it before the time was over.
    pub closed: bool,
}

/// A series of requests to one server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Requests {
    /// Such as `http://203.0.113.1`.
    pub url: String,
    /// Where the URL's host is, instead of asking a resolver, if it is a name.
    pub server: Option<IpAddr>,
    /// The requests, sent one after the other unless `connections` is above 1.
    pub requests: Vec<Request>,
    /// Whether connections are kept open between requests.
    pub connection: Connection,
    /// How many connections share the work.
    pub connections: usize,
    /// Source address, where the node has several.
    pub source: Option<IpAddr>,
    /// No answer for this long counts as [`Outcome::TimedOut`].
    pub timeout_ms: u64,
    /// Stop at the first request that gets no answer.
    pub stop_when_cut: bool,
    /// Pause of each connection after an answer.
    pub pause_ms: u64,
}

/// One HTTP request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Such as `PUT`.
    pub method: String,
    /// Such as `/api/v1/version`.
    pub path: String,
    /// Headers in their order; a name may stand twice.
    pub headers: Vec<(String, String)>,
    /// The body, sent as `application/json` if there is one.
    pub body: Option<String>,
    /// Another kind of connection than the plan's.
    #[serde(default)]
    pub connection: Option<Connection>,
    /// Sent again and again, at this distance, until the outcome is a refusal.
    pub until_refused_every_ms: Option<u64>,
    /// At the latest this long after the first.
    pub until_refused_within_ms: u64,
}

/// Whether connections are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connection {
    /// A new connection for each request.
    Fresh,
    /// One connection for all, as long as the server keeps it open.
    Kept,
}

/// One request that was sent, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// Index of the request in the plan.
    pub request: usize,
    /// When it was sent, seconds since the Unix epoch by the node's clock.
    pub at: f64,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// An HTTP answer, its body cut at 64 KiB.
    Answered { status: u16, body: String },
    /// The connection was refused (a reject rule, or nobody listens).
    Refused,
    /// No answer in time (a drop rule, or a stalled connection).
    TimedOut,
    /// The connection was closed or reset before an answer.
    Closed,
    /// No route, or forbidden by a rule on the way.
    Unreachable,
    /// Something else, in words.
    Failed(String),
}

impl Outcome {
    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Outcome::Answered { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether no answer came because packets did not pass.
    pub fn is_cut(&self) -> bool {
        matches!(
            self,
            Outcome::Refused | Outcome::TimedOut | Outcome::Closed | Outcome::Unreachable
        )
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Answered { status, .. } => write!(f, "{status}"),
            Outcome::Refused => f.write_str("connection refused"),
            Outcome::TimedOut => f.write_str("no answer in time"),
            Outcome::Closed => f.write_str("connection closed"),
            Outcome::Unreachable => f.write_str("host unreachable"),
            Outcome::Failed(why) => f.write_str(why),
        }
    }
}

/// A port that accepted a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPort {
    /// Its number.
    pub port: u16,
}

/// A request that came in while listening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Where it came from.
    pub from: IpAddr,
    /// Its first line, such as `POST /push HTTP/1.1`.
    pub request: String,
    /// Its body.
    pub body: String,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
            connection: None,
            until_refused_every_ms: None,
            until_refused_within_ms: 0,
        }
    }

    /// The same with a JSON body.
    pub fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string());
        self
    }

    /// The same with one more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same on the connection that is kept for all such requests.
    pub fn kept(mut self) -> Self {
        self.connection = Some(Connection::Kept);
        self
    }

    /// The same, repeated until it is refused.
    pub fn until_refused(mut self, every: Duration, within: Duration) -> Self {
        self.until_refused_every_ms = Some(millis(every));
        self.until_refused_within_ms = millis(within);
        self
    }
}

impl Requests {
    /// Requests on fresh connections, one after the other, with 8 s of patience each (an emulated machine is slow).
    pub fn new(url: &str, requests: Vec<Request>) -> Self {
        Self {
            url: url.to_owned(),
            server: None,
            requests,
            connection: Connection::Fresh,
            connections: 1,
            source: None,
            timeout_ms: 8000,
            stop_when_cut: false,
            pause_ms: 0,
        }
    }

    /// The same over one kept connection.
    pub fn kept(mut self) -> Self {
        self.connection = Connection::Kept;
        self
    }

    /// The same with a pause after each answer.
    pub fn paced(mut self, pause: Duration) -> Self {
        self.pause_ms = millis(pause);
        self
    }

    /// The same over several connections at once.
    pub fn over(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }
}

/// Whole milliseconds of a duration.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
