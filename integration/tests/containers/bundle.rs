//! The shipped compose file under Compose itself: what the testbed, which reads the same file, can't
//! show is that Compose reads it alike, that HTTPS works in it, and that its health checks notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fmd_stack::client::{Attempt, Outcome, Plan, Request, Requests};
use serde_json::{Value, json};

use crate::engine::{docker, image_of, is_required};
use crate::project::{Project, program};
use crate::support::kept::Kept;
use crate::support::said;

/// With an upper-case letter, as people write it.
const HOST: &str = "Fmd.example.org";

const SUITE: &str = "/usr/lib/fmd-stack/fmd-stack";

/// Each health check twice: the engine looks every 30 s.
const HEALTHY_WITHIN: Duration = Duration::from_secs(90);

/// Whether Compose is to be tested: it is here and has an engine, or the caller requires it.
pub fn is_to_be_tested(has_engine: bool) -> bool {
    let here = program().is_some();
    if !here {
        eprintln!(
            "What needs Compose is left out: neither `docker compose` nor docker-compose is installed."
        );
    }
    here && has_engine || is_required("compose")
}

pub fn compose_up() {
    let (base, fmd_server) = images();
    let project = Project::new(&base, &fmd_server, HOST);
    project.compose(&["up", "-d"]);
    let attacker = Client::join(&project, &fmd_server, "attacker");
    let owner = Client::join(&project, &fmd_server, "owner");
    attacker_is_banned(&project, &attacker, &owner);
    http_leads_to_https(&project);
    wait_healthy(&project);
    health_checks_notice(&project);
    drop((attacker, owner));
    project.remove();
    project.assert_gone();
}

/// The base of the suite's images, as the how-to finds it, and the embedded FMD Server's image.
fn images() -> (String, String) {
    // Makes them, if need be.
    let demo = Kept::start("containers");
    let fmd_server = image_of(&demo, "fmd-server");
    let debian = "debian:trixie-slim";
    let named = std::env::var("FMD_STACK_BASE").unwrap_or_default();
    let local = docker(&["images", "--quiet", debian]);
    let base = match (named.is_empty(), local.is_empty()) {
        (false, _) => named,
        (true, false) => debian.to_owned(),
        (true, true) => {
            let format = "{{.Repository}}:{{.Tag}}";
            let found = docker(&["images", "--format", format, "localhost/fmd-stack/base"]);
            found.lines().next().expect("a base image").to_owned()
        }
    };
    (base, fmd_server)
}

/// A client on nginx's network.
struct Client(String);

impl Client {
    fn join(project: &Project, image: &str, name: &str) -> Self {
        let container = format!("{}-{name}", project.front());
        let network = project.front();
        let run = ["run", "--detach", "--rm", "--init", "--name", &container];
        let place = ["--network", &network, "--entrypoint", "sleep"];
        docker(&[&run[..], &place, &[image, "infinity"]].concat());
        Self(container)
    }

    fn address(&self) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        docker(&["inspect", "--format", format, &self.0])
            .trim()
            .to_owned()
    }

    /// Sends requests to nginx by HTTPS.
    fn send(&self, project: &Project, requests: Vec<Request>) -> Vec<Outcome> {
        let mut plan = Requests::new("https://fmd.example.org", requests);
        let nginx = Self(project.container("nginx"));
        plan.server = Some(nginx.address().parse().unwrap());
        let plan = serde_json::to_vec(&Plan::Requests(plan)).unwrap();
        let mut client = Command::new("docker")
            .args(["exec", "-i", &self.0, SUITE, "client"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        client.stdin.take().unwrap().write_all(&plan).unwrap();
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let attempt = |line| serde_json::from_str::<Attempt>(line).expect(line);
        text.lines().map(|line| attempt(line).outcome).collect()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Not the project's containers, whose names are hexadecimal.
        if self.0.contains("_front-") {
            let _ = Command::new("docker")
                .args(["rm", "--force", &self.0])
                .output();
        }
    }
}

fn put(path: &str, body: &Value) -> Request {
    Request::new("PUT", path).json(body)
}

fn log_in(password: &str) -> Request {
    let body = json!({ "IDT": "alice", "Data": password, "SessionDurationSeconds": 60 });
    put("/api/v1/requestAccess", &body)
}

fn attacker_is_banned(project: &Project, attacker: &Client, owner: &Client) {
    let account = json!({
        "Salt": "c2FsdA", "HashedPassword": "right", "PubKey": "a key", "PrivKey": "a key",
        "RequestedUsername": "alice", "RegistrationToken": "",
    });
    let statuses =
        |outcomes: Vec<Outcome>| outcomes.iter().map(Outcome::status).collect::<Vec<_>>();
    let registered = owner.send(project, vec![put("/api/v1/device", &account)]);
    assert_eq!(statuses(registered), [Some(200)]);
    let mut guesses = vec![log_in("wrong"); 5];
    let page = Request::new("GET", "/");
    guesses.push(page.until_refused(Duration::from_millis(100), Duration::from_secs(20)));
    let outcomes = attacker.send(project, guesses);
    assert_eq!(statuses(outcomes[..5].to_vec()), [Some(403); 5]);
    assert_eq!(outcomes.last(), Some(&Outcome::Refused));
    let status = [
        "exec",
        "-T",
        "fail2ban",
        "fail2ban-client",
        "status",
        "fmd-server",
    ];
    let status = project.compose(&status);
    assert!(status.contains(&attacker.address()), "{status}");
    assert_eq!(
        statuses(owner.send(project, vec![log_in("right")])),
        [Some(200)]
    );
}

/// What the published HTTP port answers to a request for a host.
fn ask_http(project: &Project, host: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", project.http_port)).unwrap();
    let request = format!(
        "PUT /api/v1/requestAccess?x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // A connection that is closed without an answer is no answer.
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn http_leads_to_https(project: &Project) {
    let answer = ask_http(project, HOST);
    let target = format!(
        "Location: https://fmd.example.org:{}/api/v1/requestAccess?x\r\n",
        project.https_port
    );
    assert!(
        answer.starts_with("HTTP/1.1 301 ") && answer.contains(&target),
        "{answer}"
    );
    // The health check's name is not for others.
    for other in ["localhost", "192.0.2.1"] {
        assert_eq!(ask_http(project, other), "", "{other} is answered");
    }
}

fn wait_healthy(project: &Project) {
    let end = Instant::now() + HEALTHY_WITHIN;
    for service in ["journal", "nginx", "fail2ban"] {
        let container = project.container(service);
        loop {
            let health = docker(&["inspect", "--format", "{{json .State.Health}}", &container]);
            if health.contains(r#""Status":"healthy""#) {
                break;
            }
            assert!(Instant::now() < end, "{service} is not healthy: {health}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// What a service's health check says, and whether it succeeds.
fn check(project: &Project, service: &str) -> (bool, String) {
    let check = format!("/usr/lib/fmd-stack/healthy-{service}");
    let container = project.container(service);
    let output = Command::new("docker")
        .args(["exec", &container, &check])
        .output()
        .unwrap();
    (output.status.success(), said(&output))
}

#[track_caller]
fn assert_unhealthy(project: &Project, service: &str, words: &str) {
    let (healthy, text) = check(project, service);
    assert!(!healthy && text.contains(words), "{service}: {text}");
}

fn health_checks_notice(project: &Project) {
    // FMD Server's lines have given way to newer ones: no reason to say that it is mute.
    let forget = "journalctl --rotate && journalctl --vacuum-files=1";
    project.compose(&["exec", "-T", "journal", "sh", "-c", forget]);
    let (healthy, text) = check(project, "journal");
    assert!(healthy, "journal: {text}");

    let stop_jails = "for jail in $(fail2ban-client status | sed -n 's/.*Jail list://p' | tr -d ,); do \
        fail2ban-client stop $jail; done";
    project.compose(&["exec", "-T", "fail2ban", "sh", "-c", stop_jails]);
    assert_unhealthy(project, "fail2ban", "runs no jail");

    project.compose(&["stop", "fmd-server"]);
    assert_unhealthy(project, "nginx", "does not answer through nginx");
    project.compose(&["stop", "fail2ban"]);
    assert_unhealthy(project, "nginx", "nobody is banned");

    // As after a reboot of the host, where the engine knows no order.
    project.compose(&["stop", "journal"]);
    // The check takes lines of the five seconds before its start for those of its present life.
    std::thread::sleep(Duration::from_secs(6));
    docker(&["start", &stopped(project, "fmd-server")]);
    // The check gives it ten seconds.
    std::thread::sleep(Duration::from_secs(12));
    docker(&["start", &stopped(project, "journal")]);
    let end = Instant::now() + Duration::from_secs(10);
    while !check(project, "journal")
        .1
        .contains("does not write to the journal")
    {
        let (_, text) = check(project, "journal");
        assert!(Instant::now() < end, "journal: {text}");
    }
}

/// A service's container that may be stopped: Compose 2 lists only those that run.
fn stopped(project: &Project, service: &str) -> String {
    let labels = [
        project.label(),
        format!("label=com.docker.compose.service={service}"),
    ];
    let [project, service] = &labels;
    let list = [
        "ps", "--all", "--quiet", "--filter", project, "--filter", service,
    ];
    docker(&list).trim().to_owned()
}

/// The variant is read by Compose, and mounts what it says.
pub fn host_journal_variant() {
    let project = Project::new("none", "none", HOST);
    let files = ["-f", "compose.yaml", "-f", "compose.host-journal.yaml"];
    let text = project.compose(&[&files[..], &["config"]].concat());
    let config: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let mounts =
        |service: &str| serde_json::to_string(&config["services"][service]["volumes"]).unwrap();
    assert!(mounts("fmd-server").contains("/run/systemd/journal/dev-log"));
    for (service, path) in [
        ("nginx", "/run/systemd/journal"),
        ("fail2ban", "/run/log/journal"),
        ("fail2ban", "/var/log/journal"),
        ("fail2ban", "/etc/machine-id"),
    ] {
        let volumes = config["services"][service]["volumes"]
            .as_sequence()
            .unwrap();
        let mount = volumes.iter().find(|mount| mount["target"] == path);
        let mount = mount.unwrap_or_else(|| panic!("{service} has no {path}: {}", mounts(service)));
        assert_eq!(mount["source"], path, "{service}");
        assert_eq!(mount["read_only"], true, "{service}, {path}");
    }
}
