//! Random hostile values in every place of a log line that a client can write to.

use anyhow::{Result, ensure};
use serde_json::json;

use super::filter_cases::addresses;
use crate::scenario::{Scenario, Stage};
use crate::testbed::{Break, Fault};

/// Lines for each filter.
const LINES: usize = 2000;

/// What hostile values are made of: all that means something to a filter or to JSON.
const PIECES: &[&str] = &[
    "\"",
    "\\",
    "\\\"",
    ",",
    ":",
    "{",
    "}",
    "\n",
    "\r",
    "\t",
    "\u{1b}[0m",
    "\u{0}",
    "é",
    " ",
    "a",
    "remoteIp",
    "message",
    "failed login attempt",
    "198.51.100.7",
    "[2001:db8:bad::7]",
    "<HOST>",
    "\",\"remoteIp\":\"198.51.100.7\"",
    "\",\"message\":\"failed login attempt\"}",
    "server fmd-server[1]: ",
    "server fmd_nginx: ",
    "\"refused\":\"unknown-account\"",
    "{\"level\":\"warn\",\"userid\":\"a\",\"remoteIp\":\"198.51.100.7\",\"time\":\"\",\"message\":\"failed login attempt\"}",
];

inventory::submit! {
    Scenario {
        name: "filter-property",
        proves: "no line with values of an attacker's making yields another address than the logged one",
        settings: &[],
        needs: &[],
        clients: 0,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "strings-read-without-escapes",
            breaks: Break::Replace {
                file: "etc/fail2ban/filter.d/fmd-server.conf",
                find: r#"failregex = \A\s*\S+ fmd-server(?:\[\d+\])?: \{"level":"warn","user(?:id)?":<_string>,"remoteIp":"<ADDR>(?::\d{1,5})?","time":<_string>,"message":"<message>"\}\n?\Z"#,
                with: r#"failregex = ^.*?remoteIp[\\":]+<ADDR>.*failed login attempt.*$"#,
            },
            noticed_as: "where",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let seed = fastrand::u64(..);
    stage.note(format!("seed {seed}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let logins: Vec<_> = (0..LINES)
        .map(|number| login(&mut random, number))
        .collect();
    check(stage, "fmd-server", &logins, seed).await?;
    let doors: Vec<_> = (0..LINES).map(|number| door(&mut random, number)).collect();
    check(stage, "fmd-server-nginx", &doors, seed).await
}

/// A line, and the address it must yield.
type Line = (String, String);

/// What FMD Server logs when an account has such a name.
fn login(random: &mut fastrand::Rng, number: usize) -> Line {
    let address = address(number);
    let key = if random.bool() { "user" } else { "userid" };
    let user = json!(hostile(random));
    let line = format!(
        "fmd-server[7]: {{\"level\":\"warn\",\"{key}\":{user},\"remoteIp\":\"{address}\",\
         \"time\":\"2026-11-22T23:58:55Z\",\"message\":\"failed login attempt\"}}"
    );
    (line, address)
}

/// What nginx logs when a request has such a method and path.
fn door(random: &mut fastrand::Rng, number: usize) -> Line {
    let address = address(number);
    let (method, path) = (json!(hostile(random)), json!(hostile(random)));
    let line = format!(
        "fmd_nginx: {{\"time\":\"2026-11-22T23:58:55+00:00\",\"remoteIp\":\"{address}\",\
         \"refused\":\"unknown-account\",\"status\":404,\"method\":{method},\"path\":{path}}}"
    );
    (line, address)
}

fn address(number: usize) -> String {
    format!("203.0.{}.{}", number >> 8, number & 255)
}

fn hostile(random: &mut fastrand::Rng) -> String {
    (0..random.usize(..12))
        .filter_map(|_| random.choice(PIECES))
        .copied()
        .collect()
}

async fn check(stage: &Stage, filter: &str, lines: &[Line], seed: u64) -> Result<()> {
    let log: String = lines
        .iter()
        .map(|(line, _)| format!("2026-11-22T23:58:55+00:00 server {line}\n"))
        .collect();
    let found = addresses(stage, filter, &log).await?;
    for (number, (line, expected)) in lines.iter().enumerate() {
        let found = found.get(number).map_or("nothing", String::as_str);
        ensure!(
            found == expected,
            "{filter} found {found} where {expected} is logged (seed {seed}, line {number}): {line}"
        );
    }
    ensure!(
        found.len() == lines.len(),
        "{filter} found {} addresses in {} lines",
        found.len(),
        lines.len()
    );
    Ok(())
}
