//! Starting and stopping services with what the server has for it.

use anyhow::{Result, bail};

use super::node::SshNode;
use crate::testbed::{Action, Command, Node, Service};

/// What starts services on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Debian, NixOS and most others
    Systemd,
    /// Alpine, Gentoo
    OpenRc,
}

/// Prints the manager's name.
const WHICH: &str = r#"
if [ -d /run/systemd/system ]; then echo systemd
elif command -v rc-service >/dev/null; then echo openrc
fi
"#;

/// Waits until fail2ban answers: systemd takes it for started before that. Argument: seconds.
const ANSWERS: &str = r#"
end=$(($(date +%s) + $1))
until fail2ban-client ping >/dev/null 2>&1; do
  if [ "$(date +%s)" -gt "$end" ]; then echo "fail2ban does not answer" >&2; exit 1; fi
  sleep 0.1
done
"#;

impl Manager {
    /// The manager of this server, if there is one.
    pub async fn of(server: &SshNode) -> Result<Option<Self>> {
        let text = server.run(Command::shell(WHICH, &[])).await?.ok()?.text();
        Ok(match text.trim() {
            "systemd" => Some(Manager::Systemd),
            "openrc" => Some(Manager::OpenRc),
            _ => None,
        })
    }

    /// The command for one word of the manager, such as `restart`.
    fn command(self, service: Service, word: &str) -> Command {
        let unit = match service {
            Service::Journal => "systemd-journald",
            other => other.name(),
        };
        match (self, word) {
            (Manager::Systemd, "kill") => {
                Command::new(["systemctl", "kill", "--signal=KILL", unit])
            }
            (Manager::Systemd, word) => Command::new(["systemctl", word, unit]),
            (Manager::OpenRc, word) => Command::new(["rc-service", unit, word]),
        }
    }

    /// Does something to a service, having noted that it has to run again at the end.
    pub async fn control(self, server: &SshNode, service: Service, action: Action) -> Result<()> {
        let word = match action {
            Action::Start => "start",
            Action::Stop => "stop",
            Action::Restart => "restart",
            Action::Kill if self == Manager::Systemd => "kill",
            Action::Kill => bail!("OpenRC has no command that kills a service"),
        };
        if matches!(action, Action::Stop | Action::Kill) {
            server
                .at_end(service.name(), self.command(service, "start"))
                .await?;
        }
        server.run(self.command(service, word)).await?.ok()?;
        if service == Service::Fail2ban && matches!(action, Action::Start | Action::Restart) {
            server.run(Command::shell(ANSWERS, &["20"])).await?.ok()?;
        }
        Ok(())
    }
}
