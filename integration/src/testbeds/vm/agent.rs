//! The suite's end of the conversation with `guest/usr/lib/fmd-testbed/agent`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// A boot takes 15 to 40 s under emulation, depending on what else the processor has to do.
const BOOT: Duration = Duration::from_secs(180);

/// The agent of a running machine.
#[derive(Debug)]
pub struct Agent(BufReader<UnixStream>);

impl Agent {
    /// Talks over this socket.
    pub fn on(stream: UnixStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// Waits until the services of a booting machine are up.
    ///
    /// # Errors
    /// They are not; the error says what the machine says about it.
    pub async fn ready(&mut self) -> Result<()> {
        match self.line(BOOT).await?.as_str() {
            "ready" => Ok(()),
            "failed:" => {
                let mut why = String::new();
                loop {
                    match self.line(BOOT).await?.as_str() {
                        "." => bail!("the services do not come up:\n{}", why.trim_end()),
                        line => why.push_str(&format!("{line}\n")),
                    }
                }
            }
            other => bail!("the machine's agent says {other:?}"),
        }
    }

    /// Gives the machine the time of day and the key that ssh is to let in.
    pub async fn let_in(&mut self, key: &str) -> Result<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is before 1970")?;
        let line = format!("{} {}\n", now.as_secs(), key.trim());
        self.0
            .write_all(line.as_bytes())
            .await
            .context("writing to the machine's agent")?;
        match self.line(Duration::from_secs(30)).await?.as_str() {
            "done" => Ok(()),
            other => bail!("the machine's agent says {other:?}"),
        }
    }

    async fn line(&mut self, within: Duration) -> Result<String> {
        let mut line = String::new();
        let read = timeout(within, self.0.read_line(&mut line)).await;
        let read =
            read.with_context(|| format!("the machine says nothing for {} s", within.as_secs()))?;
        if read.context("listening to the machine")? == 0 {
            bail!("the machine has ended");
        }
        Ok(line.trim_end().to_owned())
    }
}
