//! Bytes on connections, for what no HTTP client can be made to send: requests that never end,
//! streams that are opened and reset.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use super::plan::{Dripped, FIRST_BYTES, Raw};
use super::requests::print_line;

/// Opens the plan's connections, feeds each of them and prints what became of it.
pub async fn drip(plan: Raw) -> Result<()> {
    let mut connections = JoinSet::new();
    for _ in 0..plan.connections {
        connections.spawn(one(plan.clone()));
    }
    while let Some(done) = connections.join_next().await {
        print_line(&done.context("a connection's task ended early")?)?;
    }
    Ok(())
}

async fn one(plan: Raw) -> Dripped {
    let mut seen = Dripped {
        connected: false,
        sent: 0,
        received: 0,
        first: Vec::new(),
        closed: false,
    };
    let end = tokio::time::Instant::from_std(Instant::now() + Duration::from_millis(plan.for_ms));
    // The deadline is the plan's end and no failure: what was seen until then counts.
    let _ = timeout_at(end, feed(&plan, &mut seen)).await;
    seen
}

/// Writes and reads until the connection ends; an error means that it did.
async fn feed(plan: &Raw, seen: &mut Dripped) {
    let Ok(mut stream) = TcpStream::connect(SocketAddr::new(plan.address, plan.port)).await else {
        seen.closed = true;
        return;
    };
    seen.connected = true;
    let (mut from, mut to) = stream.split();
    let mut ticks = interval(Duration::from_millis(plan.every_ms.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut piece = &plan.opening;
    let mut answer = [0; 4096];
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if to.write_all(piece).await.is_err() {
                    break;
                }
                seen.sent += piece.len();
                piece = &plan.then;
            }
            read = from.read(&mut answer) => match read {
                Ok(count) if count > 0 => {
                    seen.received += count;
                    let room = FIRST_BYTES - seen.first.len();
                    seen.first.extend(answer[..count].iter().take(room));
                }
                _ => break,
            },
        }
    }
    seen.closed = true;
}
