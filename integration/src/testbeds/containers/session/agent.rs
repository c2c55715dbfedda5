//! The suite's own binary in a container (`fmd-stack container-agent`): it runs what it reads from
//! standard input, several commands at once, and ends with it.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufRead, AsyncWrite, BufReader};
use tokio::net::unix::pipe;
use tokio::process::Command as Process;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::frame::{self, Asked, News, Told};
use crate::testbeds::group::{Group, status_number};

/// The agent's word on the command line.
pub const AGENT: &str = "container-agent";

/// A shell's status for what can't be started, and for what is not there.
const NOT_STARTED: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Runs the agent until its standard input ends.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fmd-stack {AGENT}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let (mut input, output) = pipes()?;
        let output = Arc::new(Mutex::new(output));
        while let Some((asked, stdin)) = frame::read::<Asked>(&mut input).await? {
            tell(&output, asked.id, News::Taken, &[]).await?;
            tokio::spawn(answer(asked, stdin, output.clone()));
        }
        Ok(())
    })
}

type Input = Box<dyn AsyncBufRead + Unpin>;
type Output = Box<dyn AsyncWrite + Unpin + Send>;

/// Standard input and output. As pipes, which engines make them, they need no thread of their own: a
/// service's container is allowed few (`pids_limit`).
fn pipes() -> Result<(Input, Output)> {
    let input = io::stdin().as_fd().try_clone_to_owned();
    let output = io::stdout().as_fd().try_clone_to_owned();
    let input = pipe::Receiver::from_owned_fd(input.context("standard input")?);
    let output = pipe::Sender::from_owned_fd(output.context("standard output")?);
    Ok((
        match input {
            Ok(input) => Box::new(BufReader::new(input)),
            Err(_) => Box::new(BufReader::new(tokio::io::stdin())),
        },
        match output {
            Ok(output) => Box::new(output),
            Err(_) => Box::new(tokio::io::stdout()),
        },
    ))
}

async fn answer(asked: Asked, stdin: Vec<u8>, output: Arc<Mutex<Output>>) -> Result<()> {
    let limit = Duration::from_millis(asked.deadline_ms);
    let Ok((status, mut stdout, stderr)) = timeout(limit, run(&asked.argv, &stdin)).await else {
        return tell(&output, asked.id, News::Late, &[]).await;
    };
    let news = News::Ended {
        status,
        stdout: stdout.len(),
    };
    stdout.extend(stderr);
    tell(&output, asked.id, news, &stdout).await
}

/// Runs a command; dropped before its end, all that the command has started is killed.
async fn run(argv: &[String], stdin: &[u8]) -> (i32, Vec<u8>, Vec<u8>) {
    let [program, args @ ..] = argv else {
        return (NOT_FOUND, Vec::new(), b"no command".to_vec());
    };
    let mut process = Process::new(program);
    match Group::run(process.args(args), stdin).await {
        Ok(output) => (status_number(output.status), output.stdout, output.stderr),
        Err(error) => {
            let status = match error.kind() {
                ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_STARTED,
            };
            (
                status,
                Vec::new(),
                format!("{program}: {error}").into_bytes(),
            )
        }
    }
}

async fn tell(output: &Mutex<Output>, id: u64, news: News, attached: &[u8]) -> Result<()> {
    frame::write(&mut *output.lock().await, &Told { id, news }, attached).await
}
