//! Loss of the syslog socket, and its return.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use fmd_embedded::log::{Event, Logger, Stderr};
use support::{Program, Request, Syslog};

fn wrong_login(program: &Program) -> u16 {
    let body = r#"{"IDT":"alice","Data":"no"}"#;
    let request = Request::new("PUT", "/requestAccess").body(body);
    program.send(&request).unwrap().status
}

#[test]
fn loss_is_reported_once_and_the_way_back_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let syslog = Syslog::bind(&path);
    let program = Program::serve(dir, "");
    let body = r#"{"RequestedUsername":"alice"}"#;
    program
        .send(&Request::new("PUT", "/device").body(body))
        .unwrap();
    syslog.drain();
    assert_eq!(wrong_login(&program), 403);
    assert_eq!(syslog.drain().len(), 1);

    drop(syslog);
    std::fs::remove_file(&path).unwrap();
    for _ in 0..3 {
        assert_eq!(wrong_login(&program), 403);
    }
    assert_eq!(program.stderr().matches("lost syslog").count(), 1);

    let syslog = Syslog::bind(&path);
    assert_eq!(wrong_login(&program), 403);
    assert_eq!(syslog.drain().len(), 1);
    assert_eq!(
        program
            .stderr()
            .matches("syslog is back linesLost=3")
            .count(),
        1
    );
}

#[test]
fn a_restart_of_the_daemon_between_two_lines_loses_neither() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let syslog = Syslog::bind(&path);
    let logger = Logger::new(Stderr::Silent, path.clone());
    logger.write(&Event::info("before"));
    assert!(syslog.next().contains("before"));
    drop(syslog);
    std::fs::remove_file(&path).unwrap();
    let syslog = Syslog::bind(&path);
    logger.write(&Event::info("after"));
    assert!(syslog.next().contains("after"));
}

#[test]
fn a_daemon_that_is_slow_to_read_loses_nothing() {
    const LINES: usize = 5_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let syslog = Syslog::bind(&path);
    let logger = Arc::new(Logger::new(Stderr::Silent, path));
    let writer = std::thread::spawn(move || {
        for n in 0..LINES {
            let number = i64::try_from(n).unwrap();
            logger.write(&Event::info("line").number("n", number));
        }
    });
    // The socket holds a few datagrams only; the writer waits for the reader.
    for n in 0..LINES {
        assert!(syslog.next().contains(&format!("\"n\":{n},")));
    }
    writer.join().unwrap();
}
