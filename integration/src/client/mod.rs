//! The client: the suite's own binary on a client node (`fmd-stack client`).
//!
//! It reads a [`Plan`] from standard input and answers in JSON lines.

mod plan;
mod raw;
mod removal;
mod requests;
mod scan;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::AsyncReadExt;

pub use plan::{
    Attempt, Connection, Dripped, OpenPort, Outcome, Plan, Raw, Received, Removal, Request,
    Requests, millis,
};
pub use requests::KNOCK;

/// Reads a plan from standard input and carries it out.
pub async fn main() -> Result<()> {
    let mut text = String::new();
    tokio::io::stdin()
        .read_to_string(&mut text)
        .await
        .context("reading the plan")?;
    let plan = serde_json::from_str(&text)
        .context("the plan on standard input is not what `fmd-stack client` takes")?;
    match plan {
        Plan::Requests(plan) => requests::send(plan).await,
        Plan::Scan { address, from, to } => scan::scan(address, from, to).await,
        Plan::Listen {
            port,
            count,
            within_ms,
        } => scan::listen(port, count, Duration::from_millis(within_ms)).await,
        Plan::Raw(plan) => raw::drip(plan).await,
        Plan::Remove(plan) => removal::remove(plan).await,
    }
}
