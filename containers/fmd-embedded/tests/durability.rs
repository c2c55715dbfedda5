//! Nothing that was acknowledged is lost by SIGKILL.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::{Program, Request};

const KILLS: usize = 3;
const WRITERS: usize = 4;
/// Acknowledgements to wait for before each kill.
const ENOUGH: usize = 60;

#[test]
fn whatever_was_acknowledged_is_there_after_sigkill() {
    let mut dir = tempfile::tempdir().unwrap();
    let acknowledged: Mutex<Vec<String>> = Mutex::default();
    for round in 0..KILLS {
        let mut program = Program::serve(dir, "MaxSavedLoc: 100000\n");
        let before = acknowledged.lock().unwrap().len();
        let killed = AtomicBool::new(false);
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (program, acknowledged, killed) = (&program, &acknowledged, &killed);
                scope.spawn(move || {
                    // Both an account and its password are writes, too.
                    for n in 0.. {
                        let name = format!("r{round}w{writer}n{n}");
                        match register(program, &name) {
                            true => acknowledged.lock().unwrap().push(name),
                            false => break,
                        }
                    }
                    assert!(killed.load(Ordering::SeqCst), "refused while alive");
                });
            }
            while acknowledged.lock().unwrap().len() < before + ENOUGH {
                thread::yield_now();
            }
            killed.store(true, Ordering::SeqCst);
            let pid = program.child.id().to_string();
            let kill = std::process::Command::new("kill")
                .args(["-KILL", &pid])
                .status();
            assert!(kill.unwrap().success());
        });
        program.child.wait().unwrap();
        dir = std::mem::replace(&mut program.dir, tempfile::tempdir().unwrap());
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= KILLS * ENOUGH);
    let program = Program::serve(dir, "");
    for name in acknowledged {
        let ask = format!(r#"{{"IDT":"{name}"}}"#);
        let answer = program
            .send(&Request::new("PUT", "/salt").body(ask))
            .unwrap();
        assert_eq!(answer.field("Data"), name, "acknowledged and lost");
    }
}

/// Registers an account with its name for a salt.
fn register(program: &Program, name: &str) -> bool {
    let body = format!(r#"{{"RequestedUsername":"{name}","Salt":"{name}","HashedPassword":"h"}}"#);
    let answer = program.send(&Request::new("PUT", "/device").body(body));
    answer.is_ok_and(|answer| answer.status == 200)
}
