//! Running mmdebstrap.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{Recipe, tools};
use crate::testbed::last_lines;

/// What no testbed reads: it would make up a third of the tree.
const EXCLUDE: [&str; 5] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
];

/// Writes the root filesystem of a recipe to the tar file `tar`, showing progress on standard error.
///
/// # Errors
/// mmdebstrap fails (no network, disk full, …); its last lines are quoted.
pub async fn bootstrap(recipe: &Recipe, tar: &Path) -> Result<()> {
    let started = Instant::now();
    let progress = Progress::new(recipe);
    let mut child = command(recipe, tar)?
        .spawn()
        .context("starting mmdebstrap")?;
    let stderr = child
        .stderr
        .take()
        .context("mmdebstrap has no standard error")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut log = String::new();
    while let Some(line) = lines.next_line().await.context("reading from mmdebstrap")? {
        if let Some(step) = line.strip_prefix("I: ") {
            progress.step(step);
        }
        log.push_str(&line);
        log.push('\n');
    }
    let status = child.wait().await.context("waiting for mmdebstrap")?;
    progress.end();
    if !status.success() {
        bail!(
            "mmdebstrap failed ({status}). It needs Debian's package archive and about 600 MB below {}. \
             Its last lines:\n{}",
            tar.parent().unwrap_or(tar).display(),
            last_lines(&log, 8)
        );
    }
    eprintln!(
        "Made the root filesystem {} in {:.0} s.",
        recipe.name,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn command(recipe: &Recipe, tar: &Path) -> Result<Command> {
    let mmdebstrap = tools::find("mmdebstrap").context("mmdebstrap is not in PATH")?;
    // Whatever ends this process, mmdebstrap is asked to end too, and then clears up after itself.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(mmdebstrap);
    command.args(["--mode=unshare", "--variant=minbase", "--format=tar"]);
    command.arg(format!("--include={}", recipe.packages.join(",")));
    for path in EXCLUDE {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    if !recipe.script.is_empty() {
        command.arg(format!("--customize-hook={}", hook(&recipe.script)));
    }
    command.arg(recipe.suite).arg(tar);
    // mmdebstrap's own temporary folder is as large as its result, so root's goes to the cache. An
    // ordinary user's has to be open to mmdebstrap's own ids, which a home (mode 0700) is not.
    if nix::unistd::getuid().is_root() {
        command.env("TMPDIR", tar.parent().context("the cache has no folder")?);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Ok(command)
}

/// A shell command that runs a script in the root filesystem `$1`.
///
/// policy-rc.d keeps the packages it installs from starting their services here.
fn hook(script: &str) -> String {
    let script = format!(
        "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; \
         export DEBIAN_FRONTEND=noninteractive\n{script}\nrm /usr/sbin/policy-rc.d"
    );
    format!("chroot \"$1\" sh -euc '{}'", script.replace('\'', r"'\''"))
}

/// A line that changes on a terminal, plain lines elsewhere.
struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    fn new(recipe: &Recipe) -> Self {
        let packages = recipe.packages.len();
        eprintln!(
            "Making the root filesystem {} once: Debian {} with {packages} packages, about 30 s.",
            recipe.name, recipe.suite
        );
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {elapsed}  {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self {
            bar,
            started: Instant::now(),
        }
    }

    fn step(&self, step: &str) {
        if self.bar.is_hidden() {
            eprintln!("  {:>3.0} s  {step}", self.started.elapsed().as_secs_f64());
        } else {
            self.bar.set_message(step.to_owned());
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
