//! One exec per container in which the suite's own binary waits for commands (see [`agent`]).
//!
//! An exec of the engine costs it 70 ms of processor time (runc, its init, the shim), most of what a
//! command needs here; a scenario runs dozens of commands.

pub mod agent;
mod frame;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures::TryStreamExt;
use tokio::io::{AsyncBufRead, AsyncWrite, BufReader};
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio_util::io::StreamReader;

use frame::{Asked, News, Told};

use super::node::{ENVIRONMENT, SUITE, User};
use crate::client::millis;
use crate::testbed::Command;

/// What became of a command.
#[derive(Debug)]
pub enum Ending {
    /// It ended by itself.
    Ended {
        status: i32,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    },
    /// It did not end before its deadline and was killed.
    Late,
    /// Its container ended while it ran.
    ContainerEnded,
    /// The agent ended before it read the command, for this reason.
    NotTaken(String),
}

/// Whose commands a session runs, and where.
type Key = (String, User);

/// The sessions of a run; each is begun by the first command for it, and anew after its container
/// has ended.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<Mutex<HashMap<Key, Arc<OnceCell<Session>>>>>);

impl Sessions {
    /// Runs a command in a container.
    ///
    /// # Errors
    /// The container does not run, or the agent can't be started in it.
    pub async fn run(
        &self,
        docker: &Docker,
        container: &str,
        user: User,
        command: &Command,
    ) -> Result<Ending> {
        let key = (container.to_owned(), user);
        let mut why = String::new();
        // The first session may be one whose container has been restarted since.
        for _ in 0..2 {
            let place = self.place(&key);
            let begun = place.get_or_try_init(|| Session::begin(docker, container, user));
            match begun.await?.ask(command).await {
                Ending::NotTaken(reason) => why = reason,
                ending => return Ok(ending),
            }
            self.forget(&key, &place);
        }
        bail!("the suite's agent does not start there: {why}")
    }

    fn place(&self, key: &Key) -> Arc<OnceCell<Session>> {
        let mut all = lock(&self.0);
        all.entry(key.clone()).or_default().clone()
    }

    fn forget(&self, key: &Key, ended: &Arc<OnceCell<Session>>) {
        let mut all = lock(&self.0);
        if all.get(key).is_some_and(|now| Arc::ptr_eq(now, ended)) {
            all.remove(key);
        }
    }
}

/// A command on its way, and who waits for its ending.
#[derive(Debug)]
struct Ask {
    command: Command,
    waits: oneshot::Sender<Ending>,
}

/// An agent that waits for commands; it ends with this value.
#[derive(Debug)]
struct Session(mpsc::UnboundedSender<Ask>);

impl Session {
    async fn begin(docker: &Docker, container: &str, user: User) -> Result<Self> {
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            user: user.name(),
            env: Some(ENVIRONMENT.map(str::to_owned).to_vec()),
            cmd: Some([SUITE, agent::AGENT].map(str::to_owned).to_vec()),
            ..Default::default()
        };
        let exec = docker.create_exec(container, config).await?;
        let StartExecResults::Attached { output, input } =
            docker.start_exec(&exec.id, None).await?
        else {
            bail!("the engine did not attach");
        };
        let bytes = output
            .map_ok(LogOutput::into_bytes)
            .map_err(io::Error::other);
        let (asks, asked) = mpsc::unbounded_channel();
        tokio::spawn(drive(
            input,
            BufReader::new(StreamReader::new(bytes)),
            asked,
        ));
        Ok(Self(asks))
    }

    async fn ask(&self, command: &Command) -> Ending {
        let (waits, ending) = oneshot::channel();
        let command = command.clone();
        let gone = || Ending::NotTaken("it has ended".to_owned());
        match self.0.send(Ask { command, waits }) {
            Ok(()) => ending.await.unwrap_or_else(|_| gone()),
            Err(_) => gone(),
        }
    }
}

/// A command that the agent was asked to run.
struct Running {
    waits: oneshot::Sender<Ending>,
    taken: bool,
}

/// By the numbers that the commands were given.
type AllRunning = Mutex<HashMap<u64, Running>>;

/// Passes commands to the agent and endings back, until either side ends.
async fn drive(
    input: impl AsyncWrite + Unpin,
    output: impl AsyncBufRead + Unpin,
    asks: mpsc::UnboundedReceiver<Ask>,
) {
    let running = AllRunning::default();
    let ended = tokio::select! {
        ended = pass_on(input, asks, &running) => ended,
        ended = listen(output, &running) => ended,
    };
    let why = match ended {
        Ok(()) => "it has ended".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    for (_, one) in lock(&running).drain() {
        let _ = one.waits.send(match one.taken {
            true => Ending::ContainerEnded,
            false => Ending::NotTaken(why.clone()),
        });
    }
}

async fn pass_on(
    mut input: impl AsyncWrite + Unpin,
    mut asks: mpsc::UnboundedReceiver<Ask>,
    running: &AllRunning,
) -> Result<()> {
    let mut id = 0;
    while let Some(Ask { command, waits }) = asks.recv().await {
        id += 1;
        let asked = Asked {
            id,
            argv: command.argv,
            deadline_ms: millis(command.deadline),
        };
        let taken = false;
        lock(running).insert(id, Running { waits, taken });
        frame::write(&mut input, &asked, &command.stdin).await?;
    }
    Ok(())
}

async fn listen(mut output: impl AsyncBufRead + Unpin, running: &AllRunning) -> Result<()> {
    while let Some((Told { id, news }, mut attached)) = frame::read(&mut output).await? {
        let mut running = lock(running);
        let ending = match news {
            News::Taken => {
                if let Some(one) = running.get_mut(&id) {
                    one.taken = true;
                }
                continue;
            }
            News::Late => Ending::Late,
            News::Ended { status, stdout } => {
                let stderr = attached.split_off(stdout.min(attached.len()));
                let stdout = attached;
                Ending::Ended {
                    status,
                    stdout,
                    stderr,
                }
            }
        };
        if let Some(one) = running.remove(&id) {
            // Whoever asked may have gone.
            let _ = one.waits.send(ending);
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
