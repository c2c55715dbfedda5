//! The services of the stack without an init system: Debian's `start-stop-daemon` starts and ends
//! them, as its init scripts do.

use anyhow::{Context, Result};

use super::units;
use crate::testbed::{Action, Command, Node, Service, Unit};

/// Below this every service has NAME.pid and NAME.log.
const FOLDER: &str = "/run/fmd-stack";

/// FMD Server's identity: upstream's image runs as 65532; nginx's group may use the socket.
const AS_FMD_SERVER: [&str; 5] = [
    "/usr/bin/setpriv",
    "--reuid=65532",
    "--regid=www-data",
    "--clear-groups",
    "--",
];

/// The seeded fault of a fail2ban that can't change the firewall.
const WITHOUT_NET_ADMIN: [&str; 4] = [
    "/usr/bin/setpriv",
    "--bounding-set=-net_admin",
    "--inh-caps=-net_admin",
    "--",
];

/// Seconds within which a service has to be ready. It takes half a second; a loaded machine longer.
const READY_WITHIN: u32 = 20;

/// Starts a service and waits until it is ready; prints its log and fails when it dies or is late.
///
/// Arguments: name, seconds, preparation, readiness test, program, arguments.
const START: &str = r#"
name=$1 within=$2 prepare=$3 ready=$4; shift 4
pid=/run/fmd-stack/$name.pid log=/run/fmd-stack/$name.log
mkdir -p /run/fmd-stack
if [ -e "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null; then exit 0; fi
: >"$log"
eval "$prepare" >>"$log" 2>&1 || { cat "$log" >&2; exit 3; }
program=$1; shift
start-stop-daemon --start --quiet --background --make-pidfile --pidfile "$pid" --output "$log" \
  --chdir / --startas "$program" -- "$@"
end=$(($(date +%s) + within))
until eval "$ready"; do
  if ! kill -0 "$(cat "$pid" 2>/dev/null || echo 0)" 2>/dev/null; then
    echo "$name ended while starting. Its last lines:" >&2; tail -n 12 "$log" >&2; exit 4
  fi
  if [ "$(date +%s)" -gt "$end" ]; then
    echo "$name was not ready within $within s. Its last lines:" >&2; tail -n 12 "$log" >&2; exit 5
  fi
  sleep 0.01
done
"#;

/// Ends a service with a signal and waits until it has ended. Arguments: name, signal, whether to
/// insist.
const END: &str = r#"
pid=/run/fmd-stack/$1.pid
[ -e "$pid" ] || exit 0
start-stop-daemon --stop --quiet --oknodo --pidfile "$pid" --remove-pidfile --retry "$2"
"#;

/// How one service is started.
pub struct Daemon {
    /// Shell words that run before it.
    pub prepare: String,
    /// A shell condition that holds once it is ready.
    pub ready: &'static str,
    /// The program and its arguments.
    pub argv: Vec<String>,
}

/// What the services' command lines depend on.
#[derive(Debug, Clone)]
pub struct Services {
    /// Path of FMD Server on the server node.
    pub fmd_server: &'static str,
    /// The fail2ban server: the launcher of the overlay, or the packaged one.
    pub fail2ban: String,
    /// Whether fail2ban keeps CAP_NET_ADMIN.
    pub fail2ban_net_admin: bool,
    /// How services are started, where the configuration says so.
    pub units: Vec<(Service, Unit)>,
}

impl Services {
    /// Does something to a service.
    pub async fn control(&self, server: &dyn Node, service: Service, action: Action) -> Result<()> {
        match action {
            Action::Start => self.start(server, service).await,
            Action::Stop => end(server, service, "TERM/5/KILL/2").await,
            Action::Kill => end(server, service, "KILL/2").await,
            Action::Restart => {
                end(server, service, "TERM/5/KILL/2").await?;
                self.start(server, service).await
            }
        }
    }

    async fn start(&self, server: &dyn Node, service: Service) -> Result<()> {
        let mut daemon = self.daemon(service);
        if let Some((_, unit)) = self.units.iter().find(|(named, _)| *named == service) {
            daemon = units::daemon(service, unit, daemon);
        }
        if service == Service::Fail2ban && !self.fail2ban_net_admin {
            let words = WITHOUT_NET_ADMIN.map(str::to_owned);
            daemon.argv.splice(0..0, words);
        }
        let within = READY_WITHIN.to_string();
        let fixed = [service.name(), &within, &daemon.prepare, daemon.ready];
        let args: Vec<&str> = fixed
            .into_iter()
            .chain(daemon.argv.iter().map(String::as_str))
            .collect();
        let output = server.run(Command::shell(START, &args)).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.success(), "starting {service}: {}", errors.trim());
        Ok(())
    }

    fn daemon(&self, service: Service) -> Daemon {
        let words =
            |words: &[&str]| -> Vec<String> { words.iter().map(|&word| word.to_owned()).collect() };
        match service {
            Service::Journal => Daemon {
                prepare: "rm -f /run/systemd/journal/socket /run/systemd/journal/stdout \
                          /run/systemd/journal/dev-log".to_owned(),
                // A socket file alone may be that of a journald that has died.
                ready: "logger --socket /run/systemd/journal/dev-log --tag fmd-stack 'journal is ready' 2>/dev/null",
                argv: words(&["/usr/lib/systemd/systemd-journald"]),
            },
            Service::FmdServer => Daemon {
                prepare: "install -d -o 65532 -g www-data -m 2750 /run/fmd-server; \
                          install -d -o 65532 -g 65532 -m 700 /var/lib/fmd-server /var/lib/fmd-server/db; \
                          rm -f /run/fmd-server/*.sock".to_owned(),
                // 8080 is upstream's default where a configuration names no socket.
                ready: "[ -S /run/fmd-server/fmd-server.sock ] || ss -Hltn 'sport = :8080' | grep -q .",
                argv: [words(&AS_FMD_SERVER), words(&self.fmd_server_argv())].concat(),
            },
            Service::Nginx => Daemon {
                prepare: "rm -f /run/nginx.pid; nginx -q -t".to_owned(),
                ready: "[ -s /run/nginx.pid ] && ss -Hltn | grep -q .",
                argv: words(&["/usr/lib/fmd-stack/nginx"]),
            },
            Service::Fail2ban => Daemon {
                prepare: "mkdir -p /run/fail2ban; rm -f /run/fail2ban/fail2ban.sock /run/fail2ban/fail2ban.pid".to_owned(),
                // fail2ban-client says so once every jail has started.
                ready: "grep -q 'Server ready' /run/fmd-stack/fail2ban.log",
                argv: words(&[&self.fail2ban, "-xf", "start"]),
            },
        }
    }

    fn fmd_server_argv(&self) -> [&str; 6] {
        let (config, db) = ("/etc/fmd-server/config.yml", "/var/lib/fmd-server/db");
        [self.fmd_server, "serve", "--config", config, "--db-dir", db]
    }
}

async fn end(server: &dyn Node, service: Service, signals: &str) -> Result<()> {
    let command = Command::shell(END, &[service.name(), signals]);
    server
        .run(command)
        .await?
        .ok()
        .with_context(|| format!("ending {service}"))?;
    Ok(())
}

/// The last lines of a service's own output, and of fail2ban's log where that goes to the journal.
const LOG: &str = r#"
tail -n 40 "$1"
journalctl --quiet --no-pager --lines 1000 | grep -F " $2." | tail -n 40
"#;

/// The last lines that a service wrote.
pub async fn log(server: &dyn Node, service: Service) -> Result<String> {
    let path = format!("{FOLDER}/{service}.log");
    let command = Command::shell(LOG, &[&path, service.name()]);
    Ok(server.run(command).await?.ok()?.text())
}
