//! Trying ports, and taking requests: the two things HTTP requests can't show.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::plan::{OpenPort, Received};
use super::requests::print_line;

/// Connections tried at once.
const AT_ONCE: usize = 256;

/// A node of the same segment answers within a millisecond; a dropped packet never does.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Tries every TCP port from `from` to `to`, printing those that accept.
pub async fn scan(address: IpAddr, from: u16, to: u16) -> Result<()> {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut tries = JoinSet::new();
    for port in from..=to {
        let permit = permits
            .clone()
            .acquire_owned()
            .await
            .context("waiting for a turn")?;
        tries.spawn(async move {
            let connect = TcpStream::connect(SocketAddr::new(address, port));
            let open = matches!(timeout(PATIENCE, connect).await, Ok(Ok(_)));
            drop(permit);
            (port, open)
        });
    }
    let mut open: Vec<u16> = Vec::new();
    while let Some(tried) = tries.join_next().await {
        let (port, accepts) = tried.context("a port's task ended early")?;
        if accepts {
            open.push(port);
        }
    }
    open.sort_unstable();
    open.into_iter()
        .try_for_each(|port| print_line(&OpenPort { port }))
}

/// Takes up to `count` HTTP requests on a port, answering each with 200, and prints them.
pub async fn listen(port: u16, count: usize, within: Duration) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .await
        .with_context(|| format!("listening on port {port}"))?;
    let taking = async {
        for _ in 0..count {
            let (stream, peer) = listener.accept().await.context("accepting")?;
            print_line(&receive(stream, peer.ip().to_canonical()).await?)?;
        }
        anyhow::Ok(())
    };
    // Fewer than `count` is not an error: the caller counts lines.
    timeout(within, taking).await.unwrap_or(Ok(()))
}

async fn receive(stream: TcpStream, from: IpAddr) -> Result<Received> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream
        .read_line(&mut request)
        .await
        .context("reading a request")?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream
            .read_line(&mut line)
            .await
            .context("reading a header")?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().context("content-length")?;
        }
    }
    let mut body = vec![0; length];
    stream
        .read_exact(&mut body)
        .await
        .context("reading a body")?;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(answer).await.context("answering")?;
    Ok(Received {
        from,
        request: request.trim_end().to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
