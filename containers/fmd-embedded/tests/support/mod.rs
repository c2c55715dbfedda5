//! A server inside the test, on a port and a syslog socket of its own, and a
//! client that sends exactly the bytes it is told to.

// Every test binary uses a different part of this; clippy allows unwrap in
// test functions, but not in what they call.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fmd_embedded::Server;
use fmd_embedded::config::{self, Flags, Listen};
use fmd_embedded::log::{Logger, Stderr};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// How long anything in a test may take before the test fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A running server; dropping it stops it.
pub struct TestServer {
    pub address: SocketAddr,
    pub syslog: Syslog,
    pub dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// A server with the settings of a configuration file's text.
    pub fn start(yaml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let syslog = Syslog::bind(&dir.path().join("log"));
        let file = dir.path().join("config.yml");
        std::fs::write(&file, yaml).unwrap();
        let flags = Flags {
            config: Some(file),
            db_dir: Some(dir.path().join("db")),
            web_dir: None,
        };
        let mut settings = config::load(&flags, &config::Environment::new())
            .unwrap()
            .settings;
        settings.listen = Listen::Tcp { port: 0 };
        let logger = Arc::new(Logger::new(Stderr::Silent, dir.path().join("log")));
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let server = Server::bind(settings, logger).unwrap();
                tell.send(server.address().unwrap().port()).unwrap();
                server.run(async { drop(stopped.await) }).await;
            });
            runtime.shutdown_background();
        });
        let port = told.recv_timeout(DEADLINE).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        syslog.drain();
        TestServer {
            address,
            syslog,
            dir,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Sends a request on a connection of its own.
    pub fn send(&self, request: &Request) -> Response {
        let mut stream = self.connect();
        stream.write_all(&request.bytes()).unwrap();
        Response::read(&mut stream)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// PUT of a JSON body to an endpoint of `/api/v1`.
    pub fn put(&self, endpoint: &str, body: impl Into<Vec<u8>>) -> Response {
        self.send(&Request::new("PUT", &format!("/api/v1/{endpoint}")).body(body))
    }

    /// POST of a JSON body to an endpoint of `/api/v1`.
    pub fn post(&self, endpoint: &str, body: impl Into<Vec<u8>>) -> Response {
        self.send(&Request::new("POST", &format!("/api/v1/{endpoint}")).body(body))
    }

    /// Registers an account whose password is `right`.
    pub fn register(&self, name: &str) {
        let body = format!(
            r#"{{"Salt":"s","HashedPassword":"right","PubKey":"PUB","PrivKey":"PRIV","RequestedUsername":"{name}"}}"#
        );
        let response = self.put("device", body);
        assert_eq!(response.status, 200, "{}", response.text());
    }

    pub fn log_in(&self, name: &str, password: &str) -> Response {
        let body = format!(r#"{{"IDT":"{name}","Data":"{password}"}}"#);
        self.put("requestAccess", body)
    }

    /// Registers an account, logs in and returns the token.
    pub fn token(&self, name: &str) -> String {
        self.register(name);
        self.log_in(name, "right").field("Data")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the server panicked");
        }
    }
}

/// The real program, in a directory of its own.
pub struct Program {
    pub dir: TempDir,
    pub child: Child,
}

impl Program {
    /// Starts `fmd-embedded serve` on a unix socket, with these settings, and
    /// waits until it answers.
    pub fn serve(dir: TempDir, yaml: &str) -> Self {
        let socket = dir.path().join("fmd.sock");
        let file = dir.path().join("config.yml");
        let yaml = format!("UnixSocketPath: {}\n{yaml}", socket.display());
        std::fs::write(&file, yaml).unwrap();
        let child = program()
            .arg("serve")
            .arg("--config")
            .arg(&file)
            .arg("--db-dir")
            .arg(dir.path().join("db"))
            .arg("--syslog")
            .arg(dir.path().join("log"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let program = Program { dir, child };
        let deadline = Instant::now() + DEADLINE;
        while program.connect().is_err() {
            assert!(Instant::now() < deadline, "{}", program.stderr());
            std::thread::yield_now();
        }
        program
    }

    pub fn connect(&self) -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(self.dir.path().join("fmd.sock"))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    pub fn send(&self, request: &Request) -> std::io::Result<Response> {
        let mut stream = self.connect()?;
        stream.write_all(&request.bytes())?;
        Response::try_read(&mut stream)
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }

    /// Asks the program to stop.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program's command, without the settings of whoever runs the tests.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fmd-embedded"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FMD_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1");
    command
}

/// A syslog daemon that remembers.
pub struct Syslog {
    socket: UnixDatagram,
}

impl Syslog {
    pub fn bind(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        Syslog { socket }
    }

    /// The lines that are there: those of an answered request always are.
    pub fn drain(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| self.receive()).collect()
    }

    /// The next line; fails the test if none comes.
    pub fn next(&self) -> String {
        self.socket.set_nonblocking(false).unwrap();
        self.socket.set_read_timeout(Some(DEADLINE)).unwrap();
        self.receive().expect("no line reached syslog")
    }

    fn receive(&self) -> Option<String> {
        let mut buffer = vec![0; 256 * 1024];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }
}

/// A request, to the byte.
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Request {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!(
            "{} {} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n",
            self.method, self.path
        )
        .into_bytes();
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        if let Some(body) = &self.body {
            bytes.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body.iter().flatten());
        bytes
    }
}

/// A response, taken apart.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// Reads until the server hangs up.
    pub fn read(stream: &mut impl Read) -> Self {
        Response::try_read(stream).unwrap()
    }

    /// Reads until the server hangs up; an error if that was too early.
    pub fn try_read(stream: &mut impl Read) -> std::io::Result<Self> {
        let mut bytes = Vec::new();
        // A reset after the answer is no answer lost: the server hung up on a
        // body it didn't want.
        let read = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else {
            read?;
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap()["HTTP/1.1 ".len()..][..3].parse();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Ok(Response {
            status: status.unwrap(),
            headers,
            body: bytes[end + 4..].to_vec(),
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A string field of a JSON object.
    pub fn field(&self, name: &str) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        json[name].as_str().unwrap().to_owned()
    }
}
