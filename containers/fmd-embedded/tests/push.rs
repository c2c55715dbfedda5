//! Wake-up pushes: what is sent, and that nothing waits for it.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use support::{DEADLINE, TestServer};

const SETTINGS: &str = "RemoteIpHeader: X-Real-IP\n";

/// A push server that answers every request the same way.
struct PushServer {
    url: String,
    requests: Receiver<String>,
}

impl PushServer {
    fn start(answer: impl Fn(u16) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                stream.write_all(answer(port).as_bytes()).unwrap();
                if tell.send(request).is_err() {
                    break;
                }
            }
        });
        let url = format!("http://127.0.0.1:{port}");
        PushServer { url, requests }
    }

    fn next(&self) -> String {
        self.requests.recv_timeout(DEADLINE).expect("no push came")
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    while !bytes.ends_with(b"}") {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            length => bytes.extend_from_slice(&buffer[..length]),
        }
    }
    String::from_utf8(bytes).unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// An account with a push URL; its token.
fn account(server: &TestServer, url: &str) -> String {
    let token = server.token("alice");
    let body = serde_json::json!({"IDT": token, "Data": url}).to_string();
    assert_eq!(server.put("push", body).status, 200);
    server.syslog.drain();
    token
}

fn command(server: &TestServer, token: &str) {
    let body = format!(r#"{{"IDT":"{token}","Data":"ring"}}"#);
    assert_eq!(server.post("command", body).status, 200);
}

#[test]
fn a_command_wakes_the_phone() {
    let server = TestServer::start(SETTINGS);
    let phone = PushServer::start(|_| OK.to_owned());
    let token = account(&server, &format!("{}/UP?token=x", phone.url));
    command(&server, &token);
    let request = phone.next().to_lowercase();
    assert!(
        request.starts_with("post /message?token=x http/1.1\r\n"),
        "{request}"
    );
    for header in ["content-encoding: aes128gcm", "ttl: 86400", "urgency: high"] {
        assert!(request.contains(header), "{request}");
    }
    assert!(
        request.contains("user-agent: fmd-server/0.15.0 (fmd-embedded "),
        "{request}"
    );
    assert!(
        request.ends_with(r#"{"message":"fmd app wakeup","priority":5}"#),
        "{request}"
    );
}

#[test]
fn a_lock_wakes_the_phone() {
    let server = TestServer::start(SETTINGS);
    let phone = PushServer::start(|_| OK.to_owned());
    account(&server, &format!("{}/x", phone.url));
    for _ in 0..7 {
        server.log_in("alice", "no");
    }
    assert!(phone.next().starts_with("POST /x "));
}

#[test]
fn a_push_server_that_never_answers_holds_up_nobody() {
    let server = TestServer::start(SETTINGS);
    // Accepts, by its backlog, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let token = account(&server, &url);
    // More than may be under way and waiting: the rest is logged, not waited for.
    for _ in 0..300 {
        command(&server, &token);
    }
    let lines = server.syslog.drain();
    let too_many = "too many pushes are waiting";
    assert!(
        lines.iter().any(|line| line.contains(too_many)),
        "{lines:?}"
    );
}

#[test]
fn redirects_stay_on_the_host() {
    let server = TestServer::start(SETTINGS);
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = elsewhere.local_addr().unwrap();
    let phone = PushServer::start(move |_| {
        format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{target}/stolen\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
    });
    let token = account(&server, &format!("{}/x", phone.url));
    command(&server, &token);
    phone.next();
    // A second push comes after the first one's end at the latest.
    command(&server, &token);
    phone.next();
    elsewhere.set_nonblocking(true).unwrap();
    assert!(
        elsewhere.accept().is_err(),
        "followed a redirect to another host"
    );
}

#[test]
fn a_redirect_on_the_same_host_is_followed() {
    let server = TestServer::start(SETTINGS);
    let phone = PushServer::start(|port| {
        format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{port}/new\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
    });
    let token = account(&server, &format!("{}/old", phone.url));
    command(&server, &token);
    assert!(phone.next().starts_with("POST /old "));
    assert!(phone.next().starts_with("POST /new "));
}

#[test]
fn a_push_that_fails_is_logged_as_upstream_logs_it() {
    let server = TestServer::start(SETTINGS);
    let token = account(&server, "http://127.0.0.1:9/UP?token=x");
    command(&server, &token);
    let line = server.syslog.next();
    let expected = "{\"level\":\"error\",\"error\":\"Post \\\"http://127.0.0.1:9/message?token=x\\\": \
                    dial tcp 127.0.0.1:9: connect: connection refused\",\"userid\":\"alice\",\"time\":";
    assert!(line.contains(expected), "{line}");
    assert!(
        line.starts_with("<11>") && line.contains("failed to send push to user"),
        "{line}"
    );
}

#[test]
fn a_push_url_that_is_none_is_logged_before_the_answer() {
    let server = TestServer::start(SETTINGS);
    let token = account(&server, "foo");
    command(&server, &token);
    let lines = server.syslog.drain();
    assert!(
        lines[0].contains("unsupported protocol scheme"),
        "{lines:?}"
    );
}
