//! The services' containers: starting, ending, and when each is ready.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    KillContainerOptionsBuilder, LogsOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use futures::TryStreamExt;
use futures::future::try_join_all;

use super::compose::Compose;
use super::engine::{explain, is_between};
use super::launch::Run;
use super::node::{ContainerNode, Folder, User};
use super::session::Sessions;
use crate::testbed::{Action, Addresses, Command, Node, Service, last_lines};

/// Nothing takes this long; a loaded machine may, and ten thousand bans to restore.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Distances between two looks. Each costs an engine 50 ms of processor time, which the service
/// that is waited for could use.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// Podman needs less for its own clean-up after a container that has ended.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// What FMD Server says of its socket, or of its port.
const LISTENING: &str = "listening on";

/// The four containers.
#[derive(Debug, Clone)]
pub struct Services {
    pub docker: Docker,
    pub run: Run,
    pub addresses: Addresses,
    pub compose: Compose,
    /// The folders of this machine that a service has.
    pub folders: HashMap<Service, Vec<Folder>>,
    pub sessions: Sessions,
}

/// What a service is waited for by.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// It does its own work.
    Work,
    /// Its health check succeeds.
    Health,
}

impl Services {
    /// A service's container as a node. All are on the server, so all have its addresses, except
    /// FMD Server, which has its own network.
    pub fn node(&self, service: Service) -> ContainerNode {
        let definition = self.compose.service(service.name());
        let has_agent = definition.is_ok_and(|one| one.build.is_some());
        ContainerNode {
            docker: self.docker.clone(),
            name: service.name().to_owned(),
            container: self.run.full(service.name()),
            addresses: self.addresses,
            user: User::Root,
            folders: self.folders.get(&service).cloned().unwrap_or_default(),
            sessions: has_agent.then(|| self.sessions.clone()),
        }
    }

    /// Does something to a service.
    pub async fn control(&self, service: Service, action: Action) -> Result<()> {
        let container = self.run.full(service.name());
        let docker = &self.docker;
        match action {
            Action::Start => self.start(service).await,
            Action::Stop => self.stop(service).await,
            Action::Restart => {
                self.stop(service).await?;
                self.start(service).await
            }
            Action::Kill => {
                let options = KillContainerOptionsBuilder::new().signal("KILL").build();
                let killed = docker.kill_container(&container, Some(options)).await;
                killed.map_err(|error| explain(&error, &format!("killing {service}")))
            }
        }
    }

    async fn start(&self, service: Service) -> Result<()> {
        let container = self.run.full(service.name());
        let started = self
            .docker
            .start_container(&container, None::<StartContainerOptions>)
            .await;
        started.map_err(|error| explain(&error, &format!("starting {service}")))?;
        self.wait_ready(service).await
    }

    async fn stop(&self, service: Service) -> Result<()> {
        let within = self
            .compose
            .service(service.name())?
            .stops_within()
            .as_secs();
        let options = StopContainerOptionsBuilder::new()
            .t(i32::try_from(within).unwrap_or(i32::MAX))
            .build();
        let stopped = self
            .docker
            .stop_container(&self.run.full(service.name()), Some(options))
            .await;
        stopped.map_err(|error| explain(&error, &format!("ending {service}")))
    }

    /// Waits until a service does its work; an error with its last lines when it dies instead.
    pub async fn wait_ready(&self, service: Service) -> Result<()> {
        self.wait(service, Sign::Work).await
    }

    async fn wait(&self, service: Service, sign: Sign) -> Result<()> {
        let end = Instant::now() + READY_WITHIN;
        let mut pause = FIRST_PAUSE;
        let failed = loop {
            let state = self.inspect(service).await?;
            if let Err(error) = check_alive(service, &state) {
                break error;
            }
            let ready = match sign {
                Sign::Work => self.is_ready(service, &state).await?,
                Sign::Health => self.is_healthy(service).await?,
            };
            if ready {
                return Ok(());
            }
            if Instant::now() >= end {
                break self.late(service).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LAST_PAUSE);
        };
        Err(failed.context(format!(
            "{service}'s last lines:\n{}",
            self.log(service).await?
        )))
    }

    /// The error of a service that is not ready in time, with what its health check says.
    async fn late(&self, service: Service) -> anyhow::Error {
        let within = READY_WITHIN.as_secs();
        let late = format!("{service} was not ready within {within} s");
        let definition = self.compose.service(service.name()).ok();
        let check = definition.and_then(|one| one.healthcheck.as_ref()?.command().ok());
        let Some(check) = check else {
            return anyhow::anyhow!(late);
        };
        match self.node(service).run(Command::new(check)).await {
            Ok(said) => anyhow::anyhow!("{late}; {} says: {}", check.join(" "), said.text().trim()),
            Err(error) => error.context(late),
        }
    }

    /// How a service's container is; one that has just ended has its place in that only a moment
    /// later where Podman runs it.
    async fn inspect(&self, service: Service) -> Result<ContainerInspectResponse> {
        let container = self.run.full(service.name());
        let end = Instant::now() + ENDED_WITHIN;
        loop {
            let found = self.docker.inspect_container(&container, None).await;
            match found {
                Err(error) if is_between(&error) && Instant::now() < end => {
                    tokio::time::sleep(LAST_PAUSE).await;
                }
                found => {
                    return found
                        .map_err(|error| explain(&error, &format!("looking at {service}")));
                }
            }
        }
    }

    /// Waits until all services do their work, and the compose file's own health checks say so.
    pub async fn wait_all_ready(&self) -> Result<()> {
        try_join_all(Service::ALL.map(|service| self.wait_ready(service))).await?;
        // nginx's looks at the others too.
        self.wait(Service::Nginx, Sign::Health).await
    }

    async fn is_ready(&self, service: Service, found: &ContainerInspectResponse) -> Result<bool> {
        match service {
            Service::Journal => {
                let takes_lines = ["journalctl", "--sync"].map(str::to_owned);
                Ok(self.succeeds(service, &takes_lines).await && self.is_healthy(service).await?)
            }
            // Its own image may have no shell.
            Service::FmdServer => self.said(service, LISTENING, &last_end(found)).await,
            // Its health is the others' too, which may be down on purpose.
            Service::Nginx => {
                let takes_connections =
                    ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/80"].map(str::to_owned);
                Ok(self.succeeds(service, &takes_connections).await)
            }
            Service::Fail2ban => self.is_healthy(service).await,
        }
    }

    /// What the compose file's health check says; a service without one is healthy.
    async fn is_healthy(&self, service: Service) -> Result<bool> {
        match &self.compose.service(service.name())?.healthcheck {
            Some(check) => Ok(self.succeeds(service, check.command()?).await),
            None => Ok(true),
        }
    }

    /// Whether a command succeeds in a service's container; one that restarts is not ready either.
    async fn succeeds(&self, service: Service, command: &[String]) -> bool {
        let command = Command::new(command).deadline(Duration::from_secs(5));
        let node = ContainerNode {
            user: User::Own,
            ..self.node(service)
        };
        node.run(command).await.is_ok_and(|output| output.success())
    }

    /// Whether a service's container runs.
    pub async fn is_running(&self, service: Service) -> Result<bool> {
        let state = self.inspect(service).await?.state;
        Ok(
            state
                .is_some_and(|state| state.running == Some(true) && state.restarting != Some(true)),
        )
    }

    /// Whether the service has written this since a time (as [`last_end`] gives it).
    async fn said(&self, service: Service, words: &str, since: &str) -> Result<bool> {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .build();
        let text = self.logs(service, options).await?;
        Ok(text.lines().any(|line| {
            line.contains(words) && line.split(' ').next().is_some_and(|time| time >= since)
        }))
    }

    /// The last lines of a service's output.
    pub async fn log(&self, service: Service) -> Result<String> {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail("40")
            .build();
        Ok(last_lines(&self.logs(service, options).await?, 40))
    }

    async fn logs(
        &self,
        service: Service,
        options: bollard::query_parameters::LogsOptions,
    ) -> Result<String> {
        let chunks = self
            .docker
            .logs(&self.run.full(service.name()), Some(options));
        let chunks: Vec<_> = chunks
            .try_collect()
            .await
            .with_context(|| format!("reading the log of {service}"))?;
        Ok(chunks
            .into_iter()
            .map(|chunk| String::from_utf8_lossy(&chunk.into_bytes()).into_owned())
            .collect())
    }
}

/// When a container last ended: RFC 3339 without the `Z`, so that times compare as text, whose
/// fraction has as many digits as it needs. What it wrote since then is of its present life. Not
/// `started_at`: the engine takes that time after the program has begun to write.
fn last_end(found: &ContainerInspectResponse) -> String {
    let state = found.state.as_ref();
    let finished = state.and_then(|state| state.finished_at.as_deref());
    finished
        .unwrap_or_default()
        .trim_end_matches('Z')
        .to_owned()
}

/// An error when a service has ended, or was started anew because it had.
fn check_alive(service: Service, found: &ContainerInspectResponse) -> Result<()> {
    let state = found.state.clone().unwrap_or_default();
    let restarts = found.restart_count.unwrap_or(0);
    let running = state.running == Some(true) && state.restarting != Some(true);
    // fail2ban ends by itself when nginx gets another network namespace, and is started anew.
    let follows = service == Service::Fail2ban && (1..5).contains(&restarts);
    if (running && restarts == 0) || follows {
        return Ok(());
    }
    bail!(
        "{service} ended while starting, with status {}",
        state.exit_code.unwrap_or(0)
    )
}
