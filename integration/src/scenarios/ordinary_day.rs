//! A day of the app, the web page and other clients.
//!
//! `ordinary_day.jsonl` has every request of it with the time of day and the status expected. What
//! fmd-api does was recorded between version 3.2.0 of it and the embedded server; what the app and the
//! web page do is written down from their sources, since neither runs here. All of it comes from one
//! address, and the day is pressed into a minute and a half: a pause lasts until nginx has given back
//! what was asked for before it, as it has after any pause of the day itself. A household with this much
//! in one findtime is far from ordinary, and must still not be noticed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use crate::client::Request;
use crate::scenario::{MostlyWaits, Scenario, Stage};
use crate::stack::{
    LOGIN_BACK, NGINX_JAIL, Person, Session, TOKEN_JAIL, on_server, password_of, prove_not_banned,
};
use crate::testbed::{Break, Fault};

/// The day, a request a line.
const DAY: &str = include_str!("ordinary_day.jsonl");

const NAME: &str = "ordinary-day";

/// The shortest pause between two times of the day.
const PAUSE: Duration = Duration::from_secs(1);

inventory::submit! { MostlyWaits(NAME) }

inventory::submit! {
    Scenario {
        name: NAME,
        proves: "a day of ordinary use, expired sessions and typing errors included, is not noticed",
        settings: &[],
        needs: &[],
        clients: 1,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "token-threshold-too-low",
                breaks: Break::Write {
                    file: "etc/fail2ban/jail.d/zz-fault.local",
                    content: "[fmd-server-token]\nmaxretry = 4\n",
                },
                noticed_as: "at 12:",
            },
            Fault {
                name: "limit-too-low",
                breaks: Break::Replace {
                    file: "etc/nginx/fmd-stack/server.conf",
                    find: "limit_req zone=fmd_guess burst=4 nodelay;",
                    with: "limit_req zone=fmd_guess burst=1 nodelay;",
                },
                noticed_as: "answered with 429",
            },
        ],
    }
}

/// One request of the day.
#[derive(Deserialize)]
struct Event {
    at: String,
    who: String,
    method: String,
    path: String,
    body: Option<Value>,
    /// `None` where the answer depends on FMD Server's version.
    expect: Option<u16>,
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    let session = owner.log_in("alice").await?;
    let day: Vec<Event> = DAY
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect::<Result<_>>()?;
    for moment in day.chunk_by(|one, next| one.at == next.at) {
        play(&owner, &session, moment)
            .await
            .with_context(|| format!("at {}", moment[0].at))?;
        sleep(PAUSE.max(LOGIN_BACK * logins(moment))).await;
    }
    prove_not_banned(stage, &owner).await?;
    for jail in [NGINX_JAIL, TOKEN_JAIL] {
        let failed = stage.fail2ban().status(jail).await?.total_failed;
        stage.note(format!("{failed} refused answers in the count of {jail}"));
    }
    Ok(())
}

/// How many of the requests nginx counts as a guess (etc/nginx/fmd-stack/http.conf).
fn logins(moment: &[Event]) -> u32 {
    let doors = ["salt", "requestAccess", "login"];
    let counts = |event: &&Event| doors.iter().any(|door| event.path.ends_with(door));
    moment.iter().filter(counts).map(|_| 1).sum()
}

async fn play(owner: &Person, session: &Session, moment: &[Event]) -> Result<()> {
    let requests = moment.iter().map(|event| request(event, session)).collect();
    let attempts = owner.send(owner.requests(requests)).await?;
    for (event, attempt) in moment.iter().zip(attempts) {
        let status = attempt
            .outcome
            .status()
            .with_context(|| format!("{} {}: {}", event.who, event.path, attempt.outcome))?;
        ensure!(
            status == event.expect.unwrap_or(status) && status != 429,
            "{} {} {} answered with {status}",
            event.who,
            event.method,
            event.path
        );
    }
    Ok(())
}

fn request(event: &Event, session: &Session) -> Request {
    let path = event
        .path
        .replace("/alice/", &format!("/{}/", on_server("alice")));
    let request = Request::new(&event.method, &path);
    let Some(body) = &event.body else {
        return request;
    };
    let text = body
        .to_string()
        .replace("$TOKEN", &session.token)
        .replace("$EXPIRED", "0123456789abcdef")
        .replace("$PASSWORD", &password_of("alice"))
        .replace("\"alice\"", &format!("{:?}", on_server("alice")));
    Request {
        body: Some(text),
        ..request
    }
}
