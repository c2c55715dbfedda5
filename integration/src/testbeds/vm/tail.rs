//! The last lines that a process writes, for error messages.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How many lines are kept.
const LINES: usize = 40;

/// What a process that has just ended wrote is read within this time.
const REST: Duration = Duration::from_secs(1);

/// The last lines of a stream, read while it is written.
#[derive(Debug)]
pub struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Tail {
    /// Reads a stream from now on.
    pub fn of(stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let lines = Arc::default();
        let reader = stream.map(|stream| tokio::spawn(read(stream, Arc::clone(&lines))));
        Self { lines, reader }
    }

    /// The lines so far; of a stream that is ending, all.
    pub async fn text(&mut self) -> String {
        if let Some(reader) = &mut self.reader
            && timeout(REST, reader).await.is_ok()
        {
            self.reader = None;
        }
        let lines = self.lines.lock();
        let lines = lines.map(|lines| Vec::from(lines.clone()));
        lines.unwrap_or_default().join("\n")
    }
}

async fn read(stream: impl AsyncRead + Unpin, keep: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let Ok(mut kept) = keep.lock() else { return };
        if kept.len() == LINES {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_line_is_there_however_late_it_is_read() {
        let (mut write, read) = tokio::io::duplex(1 << 16);
        let mut tail = Tail::of(Some(read));
        let text: String = (0..50).map(|n| format!("line {n}\n")).collect();
        tokio::io::AsyncWriteExt::write_all(&mut write, text.as_bytes())
            .await
            .unwrap();
        drop(write);
        let text = tail.text().await;
        assert!(
            text.starts_with("line 10\n") && text.ends_with("line 49"),
            "{text}"
        );
    }
}
