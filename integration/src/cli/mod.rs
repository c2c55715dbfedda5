//! The command line.

mod demo;
mod test;

use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, ensure};
use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::client;
use crate::rootfs;
use crate::stack::mark_accounts;
use crate::testbed::FmdServer;
use crate::testbeds::{Choice, Deployment, Kind, containers, ssh};

/// Exit status when a scenario failed.
const FAILED: u8 = 1;
/// Exit status for wrong usage and for surroundings in which nothing could be tried.
const UNUSABLE: u8 = 2;

/// Proves that fail2ban, nginx and FMD Server together stop failed logins.
#[derive(Debug, Parser)]
#[command(name = "fmd-stack", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell the whole story once, with real parts: attack, ban, bystander, unban
    Demo(demo::Options),
    /// Run scenarios and show a table of what holds
    Test(test::Options),
    /// Carry out a plan from standard input (used on client nodes)
    #[command(hide = true)]
    Client,
    /// Delete the root filesystems kept in the cache, and the images made from them
    Clean,
}

/// Options that choose the testbed.
#[derive(Debug, Clone, Args)]
pub struct Where {
    /// What the stack runs on
    #[arg(long, value_enum, default_value = "auto")]
    testbed: Wanted,
    /// `embedded`, `upstream` (the image of the compose file), or the path of an FMD Server binary
    #[arg(
        long,
        value_name = "embedded|upstream|PATH",
        default_value = "embedded"
    )]
    fmd_server: String,
    /// Take the configuration from this folder (it holds an etc/) instead of the shipped one
    #[arg(long, value_name = "DIR")]
    rendered: Option<PathBuf>,
    /// Start this compose file instead of the shipped one (testbed containers)
    #[arg(long, value_name = "FILE")]
    compose: Option<PathBuf>,
    #[command(flatten)]
    ssh: ssh::Options,
}

impl Where {
    async fn choice(&self) -> Result<Choice> {
        let over_ssh = self.testbed == Wanted::Kind(Kind::Ssh);
        ensure!(
            over_ssh || !self.ssh.any(),
            "--server, --client and the like name machines for --testbed ssh"
        );
        if over_ssh {
            // Other people's accounts are there.
            mark_accounts(&random_letters()?);
        }
        let fmd_server = match self.fmd_server.as_str() {
            "embedded" => FmdServer::Embedded,
            "upstream" => FmdServer::Image,
            path => FmdServer::Binary(PathBuf::from(path)),
        };
        let kind = match self.testbed {
            Wanted::Kind(kind) => kind,
            Wanted::Auto => Kind::that_works(&fmd_server, self.compose.as_deref()).await?,
        };
        Ok(Choice {
            rendered: self.rendered.clone(),
            compose: self.compose.clone(),
            deployment: Arc::new(Deployment::new(self.ssh.clone())),
            ..Choice::new(kind, fmd_server)
        })
    }
}

/// A kind of testbed, or the choice of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Auto,
    Kind(Kind),
}

impl ValueEnum for Wanted {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<Wanted>> = LazyLock::new(|| {
            let kinds = Kind::value_variants().iter().copied().map(Wanted::Kind);
            std::iter::once(Wanted::Auto).chain(kinds).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Wanted::Auto => Some(PossibleValue::new("auto").help("Namespaces, or else containers")),
            Wanted::Kind(kind) => kind.to_possible_value(),
        }
    }
}

/// Eight letters and digits that no other run has.
fn random_letters() -> Result<String> {
    let id =
        std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("reading a random id")?;
    Ok(id.chars().take(8).collect())
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(UNUSABLE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(cli.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            eprintln!("fmd-stack: {error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn run(command: Command) -> Result<bool> {
    // The only TLS implementation in the binary; an error means it is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let result = runtime.block_on(async {
        let goodbye = demo::Goodbye::default();
        let mut work = pin!(dispatch(command, &goodbye));
        tokio::select! {
            done = &mut work => done,
            signal = interrupted() => match signal? {
                _ if goodbye.say() => work.await,
                signal => Err(anyhow::anyhow!("ended by {signal}")),
            },
        }
    });
    // Dropping what ran has ended its sandboxes; a blocked thread must not hold up the exit.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: Command, goodbye: &demo::Goodbye) -> Result<bool> {
    match command {
        Command::Demo(options) => demo::run(options, goodbye).await,
        Command::Test(options) => test::run(options).await,
        Command::Client => client::main().await.map(|()| true),
        Command::Clean => clean().await.map(|()| true),
    }
}

/// Deletes what is kept from run to run.
async fn clean() -> Result<()> {
    if containers::check().await.is_ok() {
        containers::clean().await?;
    }
    rootfs::clean().await
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() -> Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("watching for SIGHUP")?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    })
}
