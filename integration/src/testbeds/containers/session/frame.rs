//! What passes between the suite and its agent in a container: a line of JSON, and after it as many
//! bytes as it announces.

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A command to be run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    pub id: u64,
    pub argv: Vec<String>,
    pub deadline_ms: u64,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    pub id: u64,
    pub news: News,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum News {
    /// It has been read, and is run now; nothing is attached.
    Taken,
    /// It has ended; attached are what it wrote to standard output, the first `stdout` bytes, and to
    /// standard error.
    Ended { status: i32, stdout: usize },
    /// It did not end before its deadline and was killed; nothing is attached.
    Late,
}

#[derive(Serialize, Deserialize)]
struct Head<T> {
    attached: usize,
    frame: T,
}

/// Writes a frame with what is attached to it.
pub async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &T,
    attached: &[u8],
) -> Result<()> {
    let head = Head {
        attached: attached.len(),
        frame,
    };
    let mut bytes = serde_json::to_vec(&head).context("encoding a frame")?;
    bytes.push(b'\n');
    bytes.extend_from_slice(attached);
    to.write_all(&bytes).await.context("writing a frame")?;
    to.flush().await.context("writing a frame")
}

/// Reads a frame and what is attached to it; `None` at the end.
///
/// # Errors
/// Something else than a frame comes, such as an engine's word on why nothing was started.
pub async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
) -> Result<Option<(T, Vec<u8>)>> {
    let mut line = String::new();
    if from.read_line(&mut line).await.context("reading a frame")? == 0 {
        return Ok(None);
    }
    let Ok(Head { attached, frame }) = serde_json::from_str(&line) else {
        bail!("{}", line.trim());
    };
    let mut bytes = vec![0; attached];
    from.read_exact(&mut bytes)
        .await
        .context("reading what is attached to a frame")?;
    Ok(Some((frame, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_what_it_writes() {
        let mut bytes = Vec::new();
        for attached in [&b"line\nline\0"[..], b""] {
            let asked = Asked {
                id: 7,
                argv: vec!["echo".to_owned(), "a\nb".to_owned()],
                deadline_ms: 1,
            };
            write(&mut bytes, &asked, attached).await.unwrap();
        }
        let mut rest = &bytes[..];
        let (asked, attached) = read::<Asked>(&mut rest).await.unwrap().unwrap();
        assert_eq!((asked.id, asked.argv[1].as_str()), (7, "a\nb"));
        assert_eq!(attached, b"line\nline\0");
        assert!(read::<Asked>(&mut rest).await.unwrap().is_some());
        assert!(read::<Asked>(&mut rest).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn tells_what_came_instead() {
        let mut text = &b"exec failed: no such file\n"[..];
        let error = read::<Told>(&mut text).await.unwrap_err();
        assert_eq!(error.to_string(), "exec failed: no such file");
    }
}
