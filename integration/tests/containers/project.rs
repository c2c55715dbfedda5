//! The shipped bundle as its user has it, started by Compose under a name of its own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::engine::docker;
use crate::support::said;

/// What a user takes: the folder `containers/` without what stands there for developers.
const BUNDLE: [&str; 8] = [
    ".dockerignore",
    ".env.example",
    "compose.host-journal.yaml",
    "compose.yaml",
    "fail2ban",
    "journal",
    "nginx",
    "rootfs",
];

const SERVICES: [&str; 3] = ["nginx", "journal", "fail2ban"];

/// The words that start Compose here, version 2 or 1.
pub fn program() -> Option<&'static [&'static str]> {
    const PROGRAMS: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    let answers = |program: &&&[&str]| {
        let mut version = Command::new(program[0]);
        version.args(&program[1..]).arg("version");
        version.output().is_ok_and(|output| output.status.success())
    };
    PROGRAMS.iter().find(answers).copied()
}

/// A copy of the bundle with an `.env`; what Compose makes of it is removed when this is dropped.
pub struct Project {
    folder: TempDir,
    name: String,
    pub http_port: u16,
    pub https_port: u16,
}

impl Project {
    /// Copies the bundle and writes its `.env`, with a certificate.
    pub fn new(base: &str, fmd_server: &str, host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../containers");
        let mut copy = Command::new("cp");
        copy.arg("-a").args(BUNDLE.map(|item| bundle.join(item)));
        assert!(copy.arg(folder.path()).status().unwrap().success());
        let project = Self {
            folder,
            name: name(),
            http_port: free_port(),
            https_port: free_port(),
        };
        project.install_certificate();
        project.configure(&[
            ("COMPOSE_PROJECT_NAME", &project.name),
            ("FMD_HOST", host),
            ("FMD_HTTP_PORT", &project.http_port.to_string()),
            ("FMD_HTTPS_PORT", &project.https_port.to_string()),
            ("FMD_TLS_DIR", "./tls"),
            ("FMD_SERVER_IMAGE", fmd_server),
            ("FMD_STACK_BASE", base),
            ("FMD_STACK_IMAGES", &format!("localhost/{}", project.name)),
            // Another installation on this machine may have the shipped range.
            ("FMD_SUBNET_V6", &project.subnet()),
        ]);
        project
    }

    /// As the how-to says: a folder that group 65532 may read. Root alone may give files away.
    fn install_certificate(&self) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/https");
        let to = self.folder.path().join("tls");
        fs::create_dir(&to).unwrap();
        for file in ["fullchain.pem", "privkey.pem"] {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
        let mut open = Command::new("chmod");
        open.args(["-R", "a+rX"]).arg(self.folder.path());
        assert!(open.status().unwrap().success());
    }

    fn configure(&self, settings: &[(&str, &str)]) {
        let lines = settings
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"));
        fs::write(self.folder.path().join(".env"), lines.collect::<String>()).unwrap();
    }

    fn subnet(&self) -> String {
        format!("fd5e:6d64:{:x}:1::/64", std::process::id() & 0xffff)
    }

    /// Runs Compose in the bundle's folder.
    pub fn run(&self, args: &[&str]) -> Output {
        let program = program().expect("neither `docker compose` nor docker-compose is installed");
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(args);
        // Only what stands in .env counts.
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        for kept in ["DOCKER_HOST", "HOME"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        command.current_dir(self.folder.path()).output().unwrap()
    }

    /// Runs Compose, which has to succeed, and returns what it prints.
    #[track_caller]
    pub fn compose(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The container of a service.
    #[track_caller]
    pub fn container(&self, service: &str) -> String {
        self.compose(&["ps", "--quiet", service]).trim().to_owned()
    }

    /// The network of nginx and its clients.
    pub fn front(&self) -> String {
        format!("{}_front", self.name)
    }

    /// The label by which everything of this project can be found.
    pub fn label(&self) -> String {
        format!("label=com.docker.compose.project={}", self.name)
    }

    /// Takes everything down again, and the images that were built.
    #[track_caller]
    pub fn remove(&self) {
        let down = self.run(&["down", "--volumes", "--timeout", "5"]);
        for service in SERVICES {
            let image = format!("localhost/{}/{service}:0.1.0", self.name);
            let _ = Command::new("docker").args(["rmi", &image]).output();
        }
        assert!(down.status.success(), "{}", said(&down));
    }

    /// Fails unless nothing of the project is left in the engine.
    #[track_caller]
    pub fn assert_gone(&self) {
        for list in [&["ps", "--all"][..], &["network", "ls"], &["volume", "ls"]] {
            let left = docker(&[list, &["--quiet", "--filter", &self.label()]].concat());
            assert!(left.is_empty(), "{list:?}: {left}");
        }
        let images = docker(&["images", "--quiet", &format!("localhost/{}/*", self.name)]);
        assert!(images.is_empty(), "images: {images}");
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // A second time where all went well, for nothing; and whatever went wrong.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.remove()));
    }
}

/// A name that no other project has: taking one down takes down all of that name.
fn name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("fmd-stack-compose-{}-{count}", std::process::id())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    listener.local_addr().unwrap().port()
}
