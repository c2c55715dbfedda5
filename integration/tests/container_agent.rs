//! The suite's agent in a container, by what passes over its standard input and output.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

struct Agent {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Agent {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_fmd-stack"))
            .arg("container-agent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the suite starts");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { process, output }
    }

    fn ask(&mut self, id: u64, script: &str, deadline_ms: u64, stdin: &[u8]) {
        let frame = json!({"id": id, "argv": ["sh", "-c", script], "deadline_ms": deadline_ms});
        let head = json!({"attached": stdin.len(), "frame": frame});
        let input = self.process.stdin.as_mut().expect("a pipe");
        writeln!(input, "{head}").expect("the agent reads");
        input.write_all(stdin).expect("the agent reads");
    }

    /// The next frame, and what is attached to it.
    fn told(&mut self) -> (Value, Vec<u8>) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a frame");
        let head: Value = serde_json::from_str(&line).expect("JSON");
        let mut attached = vec![0; head["attached"].as_u64().expect("a number") as usize];
        self.output.read_exact(&mut attached).expect("all of it");
        (head["frame"].clone(), attached)
    }

    /// Takes the next frame for the word that a command was taken.
    fn taken(&mut self, id: u64) {
        assert_eq!(self.told().0, json!({"id": id, "news": "Taken"}));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn output_and_status() {
    let mut agent = Agent::start();
    let script = "cat; printf wrong >&2; exit 3";
    agent.ask(1, script, 10_000, b"line\n\0");
    agent.taken(1);
    let (frame, attached) = agent.told();
    let ended = json!({"Ended": {"status": 3, "stdout": 6}});
    assert_eq!(frame, json!({"id": 1, "news": ended}));
    assert_eq!(attached, b"line\n\0wrong");
}

#[test]
fn several_at_once() {
    let mut agent = Agent::start();
    agent.ask(1, "sleep 1", 10_000, b"");
    agent.ask(2, "true", 10_000, b"");
    agent.taken(1);
    agent.taken(2);
    assert_eq!(agent.told().0["id"], 2);
    assert_eq!(agent.told().0["id"], 1);
}

#[test]
fn late_commands_are_killed_with_what_they_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alive");
    let script = format!(
        "(while :; do date >{0}; sleep 0.05; done) & wait",
        file.display()
    );
    let mut agent = Agent::start();
    agent.ask(1, &script, 500, b"");
    agent.taken(1);
    assert_eq!(agent.told().0, json!({"id": 1, "news": "Late"}));
    std::thread::sleep(Duration::from_millis(200));
    std::fs::remove_file(&file).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!file.exists(), "what the command started goes on");
}

#[test]
fn ends_with_its_input() {
    let mut agent = Agent::start();
    agent.ask(1, "sleep 60", 60_000, b"");
    agent.taken(1);
    let started = Instant::now();
    drop(agent.process.stdin.take());
    assert!(agent.process.wait().unwrap().success());
    assert!(started.elapsed() < Duration::from_secs(10));
}
