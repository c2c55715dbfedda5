//! The services of the stack as units of the machine's systemd.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::testbed::{Action, Command, FileTree, Node, Service};

/// Seconds within which a unit has to be ready; emulated, fail2ban needs two.
const READY_WITHIN: u32 = 60;

/// Waits until a condition holds. Arguments: unit, seconds, condition.
const AWAIT: &str = r#"
unit=$1 ready=$3
now() { cut -d. -f1 /proc/uptime; }
end=$(($(now) + $2))
until eval "$ready"; do
    if systemctl --quiet is-failed "$unit" || [ "$(now)" -gt "$end" ]; then
        echo "$unit is $(systemctl show --value --property=ActiveState,SubState "$unit" | paste -sd' '). Its last lines:" >&2
        journalctl --no-pager --quiet --lines=12 --output=cat --unit="$unit" >&2
        exit 1
    fi
    sleep 0.1
done
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
    let unit = unit(service);
    let words: &[&str] = match action {
        Action::Start => &["start"],
        Action::Stop => &["stop"],
        Action::Restart => &["restart"],
        // Not the main process alone: nginx's others would serve on until systemd ends them.
        Action::Kill => &["kill", "--kill-whom=all", "--signal=KILL"],
    };
    let units: &[&str] = match (service, action) {
        // Its sockets would start it again.
        (Service::Journal, Action::Stop) => &[
            "systemd-journald.socket",
            "systemd-journald-dev-log.socket",
            "systemd-journald",
        ],
        (Service::Journal, Action::Start) => &[
            "systemd-journald.socket",
            "systemd-journald-dev-log.socket",
            "systemd-journald",
        ],
        _ => &[unit],
    };
    let argv = ["systemctl"].iter().chain(words).chain(units).copied();
    let output = server.run(Command::new(argv)).await?;
    if !output.success() {
        let log = log(server, service).await?;
        output
            .ok()
            .with_context(|| format!("the journal of {unit}:\n{log}"))?;
    }
    match action {
        Action::Start | Action::Restart => await_ready(server, service).await,
        Action::Stop | Action::Kill => Ok(()),
    }
}

async fn await_ready(server: &dyn Node, service: Service) -> Result<()> {
    let seconds = READY_WITHIN.to_string();
    let command = Command::shell(AWAIT, &[unit(service), &seconds, ready(service)]);
    let deadline = std::time::Duration::from_secs(u64::from(READY_WITHIN) + 20);
    let output = server.run(command.deadline(deadline)).await?;
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
    let mut changed = Vec::new();
    for (path, file) in to.iter() {
        if from.get(path) != Some(file) {
            server
                .write(&format!("/{path}"), &file.bytes, file.mode)
                .await?;
            changed.push(path);
        }
    }
    for (path, _) in from.iter() {
        if to.get(path).is_none() {
            server
                .run(Command::new(["rm", "-f", "--", &format!("/{path}")]))
                .await?
                .ok()?;
            changed.push(path);
        }
    }
    if changed
        .iter()
        .any(|path| path.starts_with("etc/systemd/system/"))
    {
        server
            .run(Command::new(["systemctl", "daemon-reload"]))
            .await?
            .ok()?;
    }
    let concerned: BTreeSet<Service> = changed.iter().filter_map(|path| concerned(path)).collect();
    for service in concerned {
        control(server, service, Action::Restart).await?;
    }
    Ok(())
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
