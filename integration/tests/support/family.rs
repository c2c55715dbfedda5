//! A demo that stays up, and whether anything of it is left once it has ended.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;

use super::descendants::{descendants, left_after};
use super::suite;

/// A machine's processes end within this time.
const WITHIN: Duration = Duration::from_secs(5);

/// A demo that stays up, what it has said and what it says.
pub struct Kept {
    child: Child,
    output: BufReader<ChildStdout>,
    said: String,
    errors: NamedTempFile,
}

impl Kept {
    /// Starts one.
    pub fn begin(args: &[&str]) -> Self {
        let errors = NamedTempFile::new().expect("a temporary file");
        let write = File::create(errors.path()).expect("a temporary file");
        let mut child = suite(args)
            .stdout(Stdio::piped())
            .stderr(write)
            .spawn()
            .expect("the demo starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self {
            child,
            output,
            said: String::new(),
            errors,
        }
    }

    /// Waits until it says that it stays up.
    pub fn up(mut self) -> Self {
        while !self.said.contains("Ctrl-C ends it") {
            let read = self.output.read_line(&mut self.said).expect("its output");
            let errors = self.errors();
            assert!(read > 0, "it ended early: {}{errors}", self.said);
        }
        self
    }

    /// Its standard error so far.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.errors.path()).unwrap_or_default()
    }

    /// Runs a shell command on the server, as root, the way that the demo has told.
    pub fn server(&self, command: &str, input: &str) -> Result<String, Failed> {
        let way = self.way("server (")?;
        // A terminal is for people.
        run(&[&way.replace(" -t server", " server"), command], input)
    }

    /// Runs a Python program on the bystander's node.
    pub fn bystander(&self, program: &str) -> Result<String, Failed> {
        let way = self.way("bystander (")?;
        run(&[way.trim_end_matches("bash"), "python3 -"], program)
    }

    /// The command line that the demo gives for looking inside a node.
    fn way(&self, node: &str) -> Result<String, Failed> {
        let mut lines = self.said.lines();
        lines.find(|line| line.trim_start().starts_with(node));
        Ok(lines.next().ok_or("no such node")?.trim().to_owned())
    }

    /// Ends it by a signal; nothing of it may be left then.
    pub fn end_by(mut self, signal: Signal) -> Result<(), Failed> {
        let family = descendants(self.child.id());
        if family.len() < 4 {
            return Err(format!("a machine has more processes than {family:?}").into());
        }
        kill(Pid::from_raw(self.child.id().try_into()?), signal)?;
        self.child.wait()?;
        let left = left_after(&family, WITHIN);
        if !left.is_empty() {
            return Err(format!("still running {WITHIN:?} after the end: {left:?}").into());
        }
        if signal == Signal::SIGKILL {
            // Its folder goes when the next run starts (testbeds/vm/run_folder.rs).
            return Ok(());
        }
        let own = format!("fmd-stack-vm-{}-", self.child.id());
        let names = fs::read_dir(std::env::temp_dir())?.flatten();
        let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        match names.find(|name| name.starts_with(&own)) {
            None => Ok(()),
            Some(left) => Err(format!("{left} was left in the temporary folder").into()),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // A test that failed in between; an error is that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Words as one line of a shell's.
fn run(words: &[&str], input: &str) -> Result<String, Failed> {
    let (way, command) = (words[0], words[1]);
    let line = match way.contains(" ssh ") {
        true => format!("{way} '{}'", command.replace('\'', r"'\''")),
        false => format!("{way} {command}"),
    };
    let mut child = Command::new("sh")
        .args(["-c", &line])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("no input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("`{command}`: {}", super::said(&output)).into())
    }
}
