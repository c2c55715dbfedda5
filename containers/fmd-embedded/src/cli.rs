//! The command line: upstream's, with `--syslog` added.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::api::UPSTREAM_VERSION;
use crate::config::{self, Flags};
use crate::log::{Event, Logger, Stderr};
use crate::server::Server;

/// What this build calls itself, so that nobody takes it for upstream's.
pub const BUILD: &str = concat!(
    "fmd-embedded ",
    env!("CARGO_PKG_VERSION"),
    " of fmd-stack, not upstream's FMD Server"
);

/// A small FMD Server (API v1) for places where upstream's can't be had.
#[derive(Parser)]
#[command(name = "fmd-embedded", disable_version_flag = true)]
struct Cli {
    /// Print what this is and which version it answers as
    #[arg(short = 'V', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(Serve),
    /// Print the version the server answers as, and what it really is
    Version,
}

#[derive(Args)]
struct Serve {
    /// Configuration file [default: /etc/fmd-server/config.yml or ./config.yml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the database
    #[arg(short, long, value_name = "DIR")]
    db_dir: Option<PathBuf>,
    /// Directory of static files to serve instead of the built-in page
    #[arg(short, long, value_name = "DIR")]
    web_dir: Option<PathBuf>,
    /// Write JSON to standard error; syslog always gets JSON
    #[arg(long)]
    log_json: bool,
    /// The syslog socket (upstream knows only the default)
    #[arg(long, value_name = "SOCKET", default_value = "/dev/log")]
    syslog: PathBuf,
}

/// Runs the server's command line.
///
/// Exits with 0 after SIGTERM or SIGINT, 1 when the server can't run, 2 when
/// the command line makes no sense.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.command {
        _ if cli.version => say(&format!("{BUILD} (answers as {UPSTREAM_VERSION}, API v1)")),
        Some(Command::Version) => say(&format!("{UPSTREAM_VERSION} ({BUILD})")),
        Some(Command::Serve(serve)) => run(&serve),
        None => {
            let help = "fmd-embedded: say what to do: serve, version, or --help";
            let _ = writeln!(std::io::stderr(), "{help}");
            ExitCode::from(2)
        }
    }
}

fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(serve: &Serve) -> ExitCode {
    let log = Arc::new(Logger::new(stderr(serve.log_json), serve.syslog.clone()));
    match try_run(serve, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let event = Event::fatal("cannot run the server");
            log.write(&event.text("error", format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn stderr(json: bool) -> Stderr {
    if json {
        return Stderr::Json;
    }
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Stderr::Pretty { colour }
}

fn try_run(serve: &Serve, log: &Arc<Logger>) -> Result<()> {
    let flags = Flags {
        config: serve.config.clone(),
        db_dir: serve.db_dir.clone(),
        web_dir: serve.web_dir.clone(),
    };
    let loaded = config::load(&flags, &std::env::vars_os().collect())?;
    for remark in &loaded.remarks {
        log.write(remark);
    }
    let started = Event::info("starting FMD Server (embedded build)")
        .text("version", UPSTREAM_VERSION)
        .text("build", BUILD)
        .text(
            "dbDir",
            loaded.settings.database_dir.to_string_lossy().as_bytes(),
        );
    log.write(&started);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let server = Server::bind(loaded.settings, Arc::clone(log))?;
        let stop = async {
            let name = tokio::select! {
                _ = terminate.recv() => "terminated",
                _ = interrupt.recv() => "interrupt",
            };
            let event = Event::info("received signal, stopping server");
            log.write(&event.text("signal", name));
        };
        server.run(stop).await;
        anyhow::Ok(())
    })?;
    // Pushes under way are not waited for: phones ask by themselves, too.
    runtime.shutdown_background();
    log.write(&Event::info("stopped FMD Server"));
    Ok(())
}
