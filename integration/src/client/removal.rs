//! Removing an account that a scenario made on a deployment which stays.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::Client;
use serde_json::{Value, json};

use super::plan::{Outcome, Removal, Request, Requests};
use super::requests::{attempt, client};

/// Distance between two tries: nginx lets one login a second pass.
const AGAIN: Duration = Duration::from_millis(1000);

/// Removes the account; returns once it is gone.
///
/// # Errors
/// Still not after the plan's time: the error quotes the last answer.
pub async fn remove(plan: Removal) -> Result<()> {
    let mut requests = Requests::new(&plan.url, Vec::new());
    requests.server = plan.server;
    let client = client(&requests, 0)?;
    let end = Instant::now() + Duration::from_millis(plan.within_ms);
    let mut tries = tokio::time::interval(AGAIN);
    loop {
        tries.tick().await;
        let last = match once(&client, &plan).await? {
            None => return Ok(()),
            Some(outcome) => outcome,
        };
        if Instant::now() >= end {
            bail!("account {} is still there: {last}", plan.account);
        }
    }
}

/// Tries once; `None` when the account is gone, else what kept it.
async fn once(client: &Client, plan: &Removal) -> Result<Option<Outcome>> {
    if let Some(token) = &plan.token {
        match delete(client, &plan.url, token).await? {
            Outcome::Answered { status: 200, .. } => return Ok(None),
            // FMD Server has been restarted since: the token is no more, and no lock either.
            Outcome::Answered { status: 401, .. } => {}
            other => return Ok(Some(other)),
        }
    }
    let login = json!({
        "IDT": plan.account, "Data": plan.password, "SessionDurationSeconds": 60,
    });
    let login = Request::new("PUT", "/api/v1/requestAccess").json(&login);
    match attempt(client, &plan.url, 0, &login).await?.outcome {
        Outcome::Answered { status: 404, .. } => Ok(None),
        Outcome::Answered { status: 200, body } => {
            let body: Value = serde_json::from_str(&body).context("reading the access token")?;
            let token = body["Data"]
                .as_str()
                .context("no access token in the answer")?;
            match delete(client, &plan.url, token).await? {
                Outcome::Answered { status: 200, .. } => Ok(None),
                other => Ok(Some(other)),
            }
        }
        other => Ok(Some(other)),
    }
}

async fn delete(client: &Client, url: &str, token: &str) -> Result<Outcome> {
    let request = Request::new("POST", "/api/v1/device").json(&json!({ "IDT": token, "Data": "" }));
    Ok(attempt(client, url, 0, &request).await?.outcome)
}
