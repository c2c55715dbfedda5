//! The services of the stack as units of the machine's systemd.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::testbed::{Action, Command, File, FileTree, Node, Service};

/// Seconds within which a unit has to be ready; emulated, fail2ban needs two.
const READY_WITHIN: u32 = 60;

/// Starts or restarts units and waits until a condition holds. Arguments: unit, seconds, condition,
/// and what to tell systemctl.
///
/// One command: a connection's further ones cost a quarter of a second each under emulation.
const START: &str = r#"
unit=$1 within=$2 ready=$3; shift 3
now() { cut -d. -f1 /proc/uptime; }
late() {
    echo "$unit is $(systemctl show --value --property=ActiveState,SubState "$unit" | paste -sd' '). Its last lines:" >&2
    journalctl --no-pager --quiet --lines=12 --output=cat --unit="$unit" >&2
    exit 1
}
systemctl "$@" || late
end=$(($(now) + within))
until eval "$ready"; do
    if systemctl --quiet is-failed "$unit" || [ "$(now)" -gt "$end" ]; then late; fi
    sleep 0.1
done
"#;

/// Writes the files of an archive, deletes those named, and has systemd read units anew if `$1` says
/// so.
const APPLY: &str = r#"
reload=$1; shift
tar --extract --directory=/
for file in "$@"; do rm -f -- "/$file"; done
if [ "$reload" = true ]; then systemctl daemon-reload; fi
"#;

/// The unit of a service.
pub fn unit(service: Service) -> &'static str {
    match service {
        Service::Journal => "systemd-journald",
        Service::FmdServer => "fmd-server",
        Service::Nginx => "nginx",
        Service::Fail2ban => "fail2ban",
    }
}

/// A shell condition that holds once the service is ready, as an operator would tell.
fn ready(service: Service) -> &'static str {
    match service {
        Service::Journal => "[ -S /run/systemd/journal/dev-log ]",
        Service::FmdServer => "[ -S /run/fmd-server/fmd-server.sock ]",
        Service::Nginx => "systemctl --quiet is-active nginx",
        Service::Fail2ban => "fail2ban-client ping >/dev/null 2>&1",
    }
}

/// Starts, stops, restarts or kills a unit; after a start it is ready.
pub async fn control(server: &dyn Node, service: Service, action: Action) -> Result<()> {
    let words: &[&str] = match action {
        Action::Start => &["start"],
        Action::Stop => &["stop"],
        Action::Restart => &["restart"],
        // As a crash: the kernel, out of memory for one, ends the main process and no other.
        Action::Kill => &["kill", "--kill-whom=main", "--signal=KILL"],
    };
    let units = units(service, action);
    let argv: Vec<&str> = words.iter().chain(units).copied().collect();
    match action {
        Action::Start | Action::Restart => start(server, service, &argv).await,
        Action::Stop | Action::Kill => tell(server, service, &argv).await,
    }
}

/// The units an action is for.
fn units(service: Service, action: Action) -> &'static [&'static str] {
    match (service, action) {
        // Its sockets would start it again.
        (Service::Journal, Action::Stop | Action::Start) => &[
            "systemd-journald.socket",
            "systemd-journald-dev-log.socket",
            "systemd-journald",
        ],
        (Service::Journal, _) => &["systemd-journald"],
        (Service::FmdServer, _) => &["fmd-server"],
        (Service::Nginx, _) => &["nginx"],
        (Service::Fail2ban, _) => &["fail2ban"],
    }
}

async fn tell(server: &dyn Node, service: Service, words: &[&str]) -> Result<()> {
    let argv = ["systemctl"].iter().chain(words).copied();
    let output = server.run(Command::new(argv)).await?;
    if !output.success() {
        let log = log(server, service).await?;
        let unit = unit(service);
        output
            .ok()
            .with_context(|| format!("the journal of {unit}:\n{log}"))?;
    }
    Ok(())
}

async fn start(server: &dyn Node, service: Service, words: &[&str]) -> Result<()> {
    let seconds = READY_WITHIN.to_string();
    let args: Vec<&str> = [unit(service), &seconds, ready(service)]
        .into_iter()
        .chain(words.iter().copied())
        .collect();
    // systemd's own patience with a start comes first.
    let deadline = std::time::Duration::from_secs(u64::from(READY_WITHIN) + 120);
    let command = Command::shell(START, &args).deadline(deadline);
    let output = server.run(command).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.success(), "starting {service}: {}", errors.trim());
    Ok(())
}

/// The last lines of a unit's journal.
pub async fn log(server: &dyn Node, service: Service) -> Result<String> {
    let unit = format!("--unit={}", unit(service));
    let argv = [
        "journalctl",
        "--no-pager",
        "--quiet",
        "--lines=40",
        "--output=short-precise",
        &unit,
    ];
    Ok(server.run(Command::new(argv)).await?.ok()?.text())
}

/// Turns a running machine's configuration from `from` into `to`: writes what differs and restarts
/// the services it concerns.
pub async fn reconfigure(server: &dyn Node, from: &FileTree, to: &FileTree) -> Result<()> {
    let differs = |(path, file): &(&str, &File)| from.get(path) != Some(*file);
    let written: Vec<_> = to.iter().filter(differs).collect();
    let is_gone = |path: &&str| to.get(path).is_none();
    let gone: Vec<_> = from.iter().map(|(path, _)| path).filter(is_gone).collect();
    let changed = || written.iter().map(|(path, _)| *path).chain(gone.clone());
    if changed().next().is_none() {
        return Ok(());
    }
    let reload = changed().any(|path| path.starts_with("etc/systemd/system/"));
    let args: Vec<&str> = [if reload { "true" } else { "false" }]
        .into_iter()
        .chain(gone.iter().copied())
        .collect();
    let command = Command::shell(APPLY, &args).stdin(archive(&written)?);
    let applied = server.run(command).await?.ok();
    applied.context("writing the configuration")?;
    let concerned: BTreeSet<Service> = changed().filter_map(concerned).collect();
    for service in concerned {
        control(server, service, Action::Restart).await?;
    }
    Ok(())
}

/// Files as a tar archive.
fn archive(files: &[(&str, &File)]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, file) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(file.mode);
        header.set_size(u64::try_from(file.bytes.len())?);
        archive
            .append_data(&mut header, path, file.bytes.as_slice())
            .with_context(|| format!("packing {path}"))?;
    }
    archive.into_inner().context("packing the configuration")
}

/// The service that reads a file at its start.
fn concerned(path: &str) -> Option<Service> {
    const READERS: [(&str, Service); 11] = [
        ("etc/systemd/journald.conf.d/", Service::Journal),
        ("etc/systemd/system/fmd-server.service", Service::FmdServer),
        ("etc/systemd/system/nginx.service", Service::Nginx),
        ("etc/systemd/system/fail2ban.service", Service::Fail2ban),
        ("etc/fmd-server/", Service::FmdServer),
        ("etc/nginx/", Service::Nginx),
        ("usr/lib/fmd-stack/nginx", Service::Nginx),
        ("etc/fail2ban/", Service::Fail2ban),
        ("etc/fmd-stack/", Service::Fail2ban),
        ("usr/lib/fmd-stack/", Service::Fail2ban),
        ("usr/lib/python3/", Service::Fail2ban),
    ];
    READERS
        .iter()
        .find(|(prefix, _)| path.starts_with(prefix))
        .map(|(_, service)| *service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_who_reads_what() {
        assert_eq!(
            concerned("etc/nginx/fmd-stack/http.conf"),
            Some(Service::Nginx)
        );
        assert_eq!(
            concerned("etc/fail2ban/jail.d/zz.local"),
            Some(Service::Fail2ban)
        );
        assert_eq!(
            concerned("etc/systemd/system/fail2ban.service.d/x.conf"),
            Some(Service::Fail2ban)
        );
        assert_eq!(concerned("etc/sysusers.d/fmd-server.conf"), None);
    }
}
