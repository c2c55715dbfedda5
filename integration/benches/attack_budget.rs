//! `cargo bench --bench attack_budget`: the set-up FMD Server documents beside ours, both in one run,
//! as the Markdown table that docs/explanation/attack-budget.md keeps. Words after `--` choose parts:
//! `guesses`, `latency`, `bans`, `restore`, `bystander`.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fmd_stack::client::{Attempt, Plan, Request, Requests};
use fmd_stack::scenario::Stage;
use fmd_stack::stack::{DOORS, PRIVATE_REGISTRATION, Person, guess_until_cut, wait_for};
use fmd_stack::testbed::{Action, Command, FmdServer, Service, Spec};
use fmd_stack::testbeds::{Choice, Kind};
use fmd_stack::{cli, sandbox};

/// Guesses in store at each door; whoever makes them all was never stopped.
const STORE: usize = 20_000;
const CONNECTIONS: usize = 8;
const BANS: usize = 1000;
/// Bans in fail2ban's database when it starts.
const KEPT: usize = 10_000;
const RESTORED_WITHIN: Duration = Duration::from_secs(120);

/// Fills the table that fail2ban restores bans from (`getCurrentBans` in its database.py).
const REMEMBER: &str = r#"
import sqlite3, sys, time
rows = [
    (f"198.18.{n >> 8}.{n & 255}", "fmd-server", int(time.time()), 86400, 1, '{"matches": [], "failures": 5}')
    for n in range(int(sys.argv[1]))
]
with sqlite3.connect("/var/lib/fail2ban/fail2ban.sqlite3") as database:
    database.executemany("INSERT INTO bips (ip, jail, timeofban, bantime, bancount, data) VALUES (?, ?, ?, ?, ?, ?)", rows)
"#;

const LATENCY_RUNS: usize = 40;
const PAGES: usize = 1000;
const PAGE_EVERY: Duration = Duration::from_millis(10);
/// Guesses in store for those who are known to be stopped.
const MORE_THAN_ENOUGH: usize = 2000;
/// One after the other over the time the pages take: each is at full speed until he is banned.
const ATTACKERS: usize = 8;

/// The jail and filter of FMD Server's documentation, with the threshold of ours.
const DOCUMENTED: &[(&str, &str)] = &[
    (
        "etc/fail2ban/filter.d/fmd-server.conf",
        "[Definition]\nfailregex = ^.*\"remoteIp\":\"<ADDR>:?\\d*\".*\"message\":\"(?:failed|blocked) login attempt\".*$\n",
    ),
    (
        "etc/fail2ban/jail.d/fmd-server.conf",
        "[sshd]\nenabled = false\n[fmd-server]\nenabled = true\nbackend = systemd[journalflags=1]\n\
         journalmatch = SYSLOG_IDENTIFIER=fmd-server\nmaxretry = 5\nport = 80,443\n\
         banaction = nftables[type=multiport]\n",
    ),
    (
        "etc/nginx/fmd-stack/server.conf",
        "location / {\n    include /etc/nginx/fmd-stack/proxy.conf;\n}\n",
    ),
];

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let program = Path::new(&program).file_name().and_then(OsStr::to_str);
    // The sandbox and its nodes run this very program, as they run the suite's.
    if matches!(program, Some("fmd-server" | "fmd-embedded")) {
        return fmd_embedded::main(std::env::args_os());
    }
    match args.next().as_deref().and_then(OsStr::to_str) {
        Some(sandbox::OPENER) => return sandbox::opener_main(),
        Some(sandbox::INIT) => return sandbox::init_main(),
        Some("client") => return cli::main(),
        _ => {}
    }
    let measured = tokio::runtime::Runtime::new()
        .context("starting tokio")
        .and_then(|runtime| {
            runtime.block_on(async {
                let documented = measure(DOCUMENTED).await.context("the documented set-up")?;
                let ours = measure(&[]).await.context("ours")?;
                anyhow::Ok((documented, ours))
            })
        });
    match measured {
        Ok((documented, ours)) => {
            println!("{}", table(&documented, &ours));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("attack_budget: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One column of the table: what is measured, and the figure as text.
type Column = Vec<(String, String)>;

async fn measure(changes: &[(&str, &str)]) -> Result<Column> {
    let mut column = Vec::new();
    if wanted("guesses") {
        for door in DOORS {
            let stage = start(changes).await?;
            let answered = answered_guesses(&stage, door.guess)
                .await
                .context(door.name)?;
            stage.testbed().stop().await?;
            column.push((format!("answered guesses: {}", door.name), answered));
        }
    }
    if wanted("latency") {
        let stage = start(changes).await?;
        let (median, high) = latency(&stage).await.context("latency")?;
        stage.testbed().stop().await?;
        let what = "last failure to refused connection, median";
        column.push((what.to_owned(), format!("{median:.2} s")));
        column.push((
            "the same, 95th percentile".to_owned(),
            format!("{high:.2} s"),
        ));
    }
    if wanted("bans") {
        let stage = start(changes).await?;
        let rate = bans_a_second(&stage).await.context("bans a second")?;
        stage.testbed().stop().await?;
        column.push((
            format!("bans a second, {BANS} addresses at once"),
            format!("{rate:.0}"),
        ));
    }
    if wanted("restore") {
        let stage = start(changes).await?;
        let took = restored(&stage).await.context("bans restored")?;
        stage.testbed().stop().await?;
        column.push((format!("{KEPT} bans restored at start"), took));
    }
    if wanted("bystander") {
        let stage = start(changes).await?;
        let (idle, attacked) = bystander(&stage).await.context("the bystander")?;
        stage.testbed().stop().await?;
        column.push((
            "bystander's 99th percentile, idle".to_owned(),
            format!("{idle:.1} ms"),
        ));
        let what = format!("the same, {ATTACKERS} attackers one after the other");
        column.push((what, format!("{attacked:.1} ms")));
    }
    Ok(column)
}

/// Whether the command line asks for a part; all of them without words on it.
fn wanted(part: &str) -> bool {
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .peekable();
    words.peek().is_none() || words.any(|word| word == part)
}

/// The shipped stack with some files replaced. Registration is private in both.
async fn start(changes: &[(&str, &str)]) -> Result<Stage> {
    let choice = Choice::new(Kind::Namespaces, FmdServer::Embedded);
    choice.prepare().await?;
    let mut spec: Spec = choice.spec("attack-budget")?;
    for (path, content) in changes.iter().chain([&PRIVATE_REGISTRATION]) {
        spec.files.insert(path, content.as_bytes());
    }
    Ok(Stage::new(choice.start(spec).await?))
}

/// Answers to guesses at full speed; nginx's own 429 is none.
async fn answered_guesses(stage: &Stage, guess: fn(usize) -> Request) -> Result<String> {
    register(stage, 5).await?;
    let attacker = stage.person("attacker").await?;
    let attempts = full_speed(&attacker, guess, STORE).await?;
    let answered = attempts
        .iter()
        .filter(|attempt| attempt.outcome.status().is_some_and(|status| status != 429))
        .count();
    Ok(match answered {
        STORE => format!("all of {STORE}"),
        _ => answered.to_string(),
    })
}

async fn register(stage: &Stage, accounts: usize) -> Result<()> {
    let owner = stage.person("owner").await?;
    for number in 0..accounts {
        owner.register(&format!("account{number}")).await?;
    }
    Ok(())
}

async fn full_speed(
    attacker: &Person,
    guess: fn(usize) -> Request,
    store: usize,
) -> Result<Vec<Attempt>> {
    attacker.send(flat_out(attacker, guess, store)).await
}

fn flat_out(attacker: &Person, guess: fn(usize) -> Request, store: usize) -> Requests {
    let mut plan = attacker
        .requests((0..store).map(guess).collect())
        .kept()
        .over(CONNECTIONS);
    plan.stop_when_cut = true;
    plan
}

/// The same as a command that makes no claim on the server's processors: elsewhere, an attacker brings
/// his own. His client runs when nobody else wants to (`SCHED_IDLE`), which leaves him all that is left
/// over.
fn from_elsewhere(attacker: &Person, guess: fn(usize) -> Request) -> Result<Command> {
    let plan = serde_json::to_vec(&Plan::Requests(flat_out(attacker, guess, MORE_THAN_ENOUGH)))?;
    let argv = ["chrt", "--idle", "0", attacker.node().suite(), "client"];
    let command = Command::new(argv).stdin(plan);
    Ok(command.deadline(Duration::from_secs(120)))
}

/// Median and 95th percentile, in seconds.
async fn latency(stage: &Stage) -> Result<(f64, f64)> {
    let mut delays = Vec::new();
    for run in 0..LATENCY_RUNS {
        let attacker = stage.person(&format!("attacker{run}")).await?;
        let account = format!("account{run}");
        // Not by the attacker: nginx counts it with the guesses.
        let owner = stage.person(&format!("owner{run}")).await?;
        owner.register(&account).await?;
        let cut = guess_until_cut(&attacker, 5, |_| account.clone()).await?;
        delays.push(cut.delay().as_secs_f64());
    }
    Ok((percentile(&mut delays, 50), percentile(&mut delays, 95)))
}

/// Failures of many addresses arrive at once; the clock stops when the last one's ban stands.
async fn bans_a_second(stage: &Stage) -> Result<f64> {
    let mut lines = String::new();
    for number in (0..5).flat_map(|_| 0..BANS) {
        writeln!(
            lines,
            r#"{{"level":"warn","userid":"alice","remoteIp":"198.18.{}.{}","time":"","message":"failed login attempt"}}"#,
            number >> 8,
            number & 255
        )?;
    }
    let journal = stage.testbed().service_node(Service::Journal);
    let log =
        Command::new(["logger", "--tag", "fmd-server", "--priority", "user.warn"]).stdin(lines);
    let started = Instant::now();
    journal.run(log).await?.ok()?;
    wait_for("all bans", Duration::from_secs(60), async || {
        Ok((stage.firewall().banned().await?.len() >= BANS).then_some(()))
    })
    .await?;
    Ok(BANS as f64 / started.elapsed().as_secs_f64())
}

/// From the start of fail2ban, with bans in its database, to the last one in the firewall.
async fn restored(stage: &Stage) -> Result<String> {
    let (testbed, node) = (
        stage.testbed(),
        stage.testbed().service_node(Service::Fail2ban),
    );
    testbed.control(Service::Fail2ban, Action::Stop).await?;
    let remember = Command::new(["python3", "-c", REMEMBER, &KEPT.to_string()]);
    node.run(remember).await?.ok()?;
    let started = Instant::now();
    testbed.control(Service::Fail2ban, Action::Start).await?;
    let all = wait_for("all bans", RESTORED_WITHIN, async || {
        Ok((stage.firewall().banned().await?.len() >= KEPT).then_some(()))
    })
    .await;
    Ok(match all {
        Ok(()) => format!("{:.1} s", started.elapsed().as_secs_f64()),
        Err(_) => format!("over {} s", RESTORED_WITHIN.as_secs()),
    })
}

/// 99th percentiles of a page's time in milliseconds: idle, and while others attack.
async fn bystander(stage: &Stage) -> Result<(f64, f64)> {
    register(stage, 5).await?;
    let bystander = stage.person("bystander").await?;
    let pages = || {
        bystander
            .requests(vec![Request::new("GET", "/"); PAGES])
            .kept()
            .paced(PAGE_EVERY)
    };
    let idle = bystander.send(pages()).await?;
    let mut attacks = Vec::new();
    for number in 0..ATTACKERS {
        let attacker = stage.person(&format!("attacker{number}")).await?;
        let command = from_elsewhere(&attacker, DOORS[0].guess)?;
        attacks.push((attacker, command));
    }
    let attacks = attacks
        .into_iter()
        .zip(0u32..)
        .map(async |((attacker, command), number)| {
            tokio::time::sleep(PAGE_EVERY * PAGES as u32 / ATTACKERS as u32 * number).await;
            attacker.node().run(command).await?.ok().map(drop)
        });
    let (attacked, attacks) =
        tokio::join!(bystander.send(pages()), futures::future::join_all(attacks));
    attacks.into_iter().collect::<Result<Vec<_>>>()?;
    let times = |attempts: Vec<Attempt>| -> Result<f64> {
        let served = attempts
            .iter()
            .all(|attempt| attempt.outcome.status() == Some(200));
        anyhow::ensure!(served, "a page was not served");
        Ok(percentile(
            &mut attempts
                .iter()
                .map(|attempt| attempt.took_ms)
                .collect::<Vec<_>>(),
            99,
        ))
    };
    Ok((times(idle)?, times(attacked?)?))
}

fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or(f64::NAN)
}

fn table(documented: &Column, ours: &Column) -> String {
    let mut text = String::from("| | documented set-up | fmd-stack |\n|---|---|---|\n");
    for ((what, theirs), (_, ours)) in documented.iter().zip(ours) {
        text.push_str(&format!("| {what} | {theirs} | {ours} |\n"));
    }
    text
}
