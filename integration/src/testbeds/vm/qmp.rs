//! qemu's control socket: JSON lines, see "QEMU Machine Protocol" in qemu's documentation.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{interval, timeout};

/// No command used here takes longer, on a loaded machine either.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// A connection to a running qemu.
#[derive(Debug)]
pub struct Qmp {
    lines: Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

impl Qmp {
    /// Speaks over this stream, once the protocol's negotiation is over.
    pub async fn on(stream: UnixStream) -> Result<Self> {
        let (read, write) = stream.into_split();
        let mut qmp = Self {
            lines: BufReader::new(read).lines(),
            write,
        };
        qmp.next().await?;
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Runs a command and returns its answer.
    pub async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = format!(
            "{}\n",
            json!({ "execute": command, "arguments": arguments })
        );
        self.write
            .write_all(line.as_bytes())
            .await
            .with_context(|| format!("telling qemu {command}"))?;
        loop {
            let mut answer = self.next().await?;
            if let Some(error) = answer.get("error") {
                bail!(
                    "qemu refuses {command}: {}",
                    error["desc"].as_str().unwrap_or("no reason given")
                );
            }
            // Events come in between.
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    async fn next(&mut self) -> Result<Value> {
        let line = timeout(DEADLINE, self.lines.next_line())
            .await
            .context("qemu does not answer")?;
        let line = line
            .context("reading from qemu")?
            .context("qemu has ended")?;
        serde_json::from_str(&line).with_context(|| format!("qemu said {line:?}"))
    }

    /// Stops the machine and writes its state, without its memory, to a file in qemu's folder.
    ///
    /// The memory is a file already, shared with it (`x-ignore-shared` leaves it out).
    pub async fn freeze(&mut self, file: &str) -> Result<()> {
        self.execute("stop", json!({})).await?;
        self.leave_memory_out().await?;
        self.execute("migrate", json!({ "uri": format!("exec:cat >{file}") }))
            .await?;
        self.wait("query-migrate", &["completed"], &["failed", "cancelled"])
            .await?;
        self.execute("quit", json!({})).await.map(drop)
    }

    /// Reads a state that [`Qmp::freeze`] wrote and lets the machine run on.
    pub async fn resume(&mut self, file: &str) -> Result<()> {
        self.leave_memory_out().await?;
        self.execute(
            "migrate-incoming",
            json!({ "uri": format!("exec:cat {file}") }),
        )
        .await?;
        self.wait("query-status", &["paused", "running"], &["internal-error"])
            .await?;
        self.execute("cont", json!({})).await.map(drop)
    }

    async fn leave_memory_out(&mut self) -> Result<()> {
        let capability = json!({ "capability": "x-ignore-shared", "state": true });
        let arguments = json!({ "capabilities": [capability] });
        self.execute("migrate-set-capabilities", arguments)
            .await
            .map(drop)
    }

    async fn wait(&mut self, query: &str, good: &[&str], bad: &[&str]) -> Result<()> {
        let mut ticks = interval(POLL);
        timeout(DEADLINE, async {
            loop {
                ticks.tick().await;
                let answer = self.execute(query, json!({})).await?;
                let status = answer["status"].as_str().unwrap_or_default();
                if good.contains(&status) {
                    return Ok(());
                }
                if bad.contains(&status) {
                    bail!("{query} says {answer}");
                }
            }
        })
        .await
        .with_context(|| format!("{query} did not change"))?
    }
}
