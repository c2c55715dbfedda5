//! `fmd-stack demo`: the story of an attack, told while it happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use tokio::sync::Notify;

use super::Where;
use crate::report;
use crate::scenario::Stage;
use crate::stack::{self, Cut, JAIL, JailStatus, MAXRETRY};

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    place: Where,
    /// Leave the stack up until Ctrl-C, and say how to look inside
    #[arg(long, conflicts_with = "json")]
    keep: bool,
    /// Print one JSON object instead of the story
    #[arg(long)]
    json: bool,
}

/// The Ctrl-C that `--keep` waits for: an end as promised, no interruption.
#[derive(Debug, Default)]
pub struct Goodbye {
    awaited: AtomicBool,
    said: Notify,
}

impl Goodbye {
    /// Tells who waits for it; false when nobody does.
    pub fn say(&self) -> bool {
        self.said.notify_one();
        self.awaited.load(Ordering::Relaxed)
    }

    async fn wait(&self) {
        self.awaited.store(true, Ordering::Relaxed);
        self.said.notified().await;
    }
}

/// Tells the story, or prints it as JSON.
struct Narrator {
    json: bool,
    started: Instant,
}

impl Narrator {
    fn tell(&self, text: &str) {
        if !self.json {
            report::say(&format!(
                "{:6.2} s  {text}",
                self.started.elapsed().as_secs_f64()
            ));
        }
    }

    fn say_what_is_next(&self, kept: bool) {
        if self.json {
            return;
        }
        report::say("Everything the demo started has ended.");
        if !kept {
            report::say(
                "`demo --keep` leaves it up to look inside; `test` proves it claim by claim.",
            );
        }
    }

    fn quote(&self, text: &str) {
        if !self.json {
            for line in text.trim_end().lines() {
                report::say(&format!("            {line}"));
            }
        }
    }
}

/// What the demo saw.
struct Story {
    /// From nothing to a stack that is ready.
    start: Duration,
    cut: Cut,
    status: JailStatus,
    log: Vec<String>,
}

/// Runs the command; an error when any part of the story does not come true.
pub async fn run(options: Options, goodbye: &Goodbye) -> Result<bool> {
    let choice = options.place.choice().await?;
    choice.prepare().await?;
    let narrator = Narrator {
        json: options.json,
        started: Instant::now(),
    };
    narrator.tell(&format!(
        "Starting FMD Server, nginx and fail2ban on testbed {}",
        choice.kind
    ));
    let stage = Stage::new(choice.start(choice.spec("demo")?).await?);
    let testbed = stage.testbed();
    narrator.tell(&format!(
        "Ready. FMD Server: {}, at {}",
        testbed.fmd_server(),
        testbed.url()
    ));
    let story = tell(&stage, &narrator).await;
    match &story {
        Ok(story) => close(&stage, &narrator, story),
        Err(error) => eprintln!("fmd-stack: the story did not come true: {error:#}"),
    }
    if options.keep {
        keep(&stage, goodbye).await?;
    }
    stage.testbed().stop().await.context("cleaning up")?;
    narrator.say_what_is_next(options.keep);
    Ok(story.is_ok())
}

async fn tell(stage: &Stage, narrator: &Narrator) -> Result<Story> {
    let start = narrator.started.elapsed();
    let attacker = stage.person("attacker").await?;
    let bystander = stage.person("bystander").await?;
    bystander.register("bob").await?;
    bystander.log_in("bob").await?;
    narrator.tell(&format!(
        "bystander {} registers account bob and logs in",
        bystander.address()
    ));
    let count = MAXRETRY;
    let address = attacker.address();
    narrator.tell(&format!(
        "attacker {address} guesses {count} wrong passwords for bob"
    ));
    let cut = stack::guess_until_cut(&attacker, count, |_| "bob".to_owned()).await?;
    let delay = cut.delay().as_secs_f64();
    narrator.tell(&format!(
        "attacker is cut off: {}, {delay:.2} s after the last failure",
        cut.cut.outcome
    ));
    let status = stack::prove_banned(stage, &attacker, JAIL).await?;
    narrator.tell(
        "its address is in the jail's list and in the firewall's set; 5 more tries: no answer",
    );
    bystander.log_in("bob").await?;
    narrator.tell("bystander logs in as before");
    // On a deployment others have failed as well.
    let account = format!("\"{}\"", stack::on_server("bob"));
    let log = stage.journal().entries("fmd-server").await?;
    stage.fail2ban().unban(JAIL, address).await?;
    stack::prove_not_banned(stage, &attacker).await?;
    narrator.tell(&format!(
        "fail2ban-client set {JAIL} unbanip {address}: attacker is served again"
    ));
    Ok(Story {
        start,
        cut,
        status,
        log: log
            .into_iter()
            .filter(|line| line.contains("failed login") && line.contains(&account))
            .collect(),
    })
}

fn close(stage: &Stage, narrator: &Narrator, story: &Story) {
    if narrator.json {
        let text = json!({
            "testbed": stage.testbed().name(),
            "fmd_server": stage.testbed().fmd_server(),
            "start_to_ready_seconds": story.start.as_secs_f64(),
            "seconds": narrator.started.elapsed().as_secs_f64(),
            "answers": story.cut.guesses.iter().map(|guess| guess.outcome.to_string()).collect::<Vec<_>>(),
            "last_failure_to_refusal_seconds": story.cut.delay().as_secs_f64(),
            "status_while_banned": story.status.text,
            "log": story.log,
        });
        report::say(&format!("{text:#}"));
        return;
    }
    report::say("\nThe log lines that led to the ban:");
    narrator.quote(&story.log.join("\n"));
    report::say(&format!(
        "\nfail2ban-client status {JAIL}, while the ban stood:"
    ));
    narrator.quote(&story.status.text);
    let delay = story.cut.delay().as_secs_f64();
    report::say(&format!(
        "\nFrom the last failure to a refused connection: {delay:.2} s."
    ));
}

async fn keep(stage: &Stage, goodbye: &Goodbye) -> Result<()> {
    let testbed = stage.testbed();
    report::say("\nThe stack stays up. To look inside (as the same user):");
    for node in [
        testbed.server(),
        testbed.client("attacker").await?,
        testbed.client("bystander").await?,
    ] {
        report::say(&format!(
            "  {} ({}):\n    {}",
            node.name(),
            node.addresses().v4,
            node.shell()
        ));
    }
    report::say("Ctrl-C ends it and leaves nothing behind.");
    goodbye.wait().await;
    Ok(())
}
