//! Removing what runs made: of one run, of this process, of processes that are gone.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder, StopContainerOptionsBuilder,
};
use futures::future::join_all;
use tokio::time::Instant;

use super::owner::{OWNER, Owner, RUN};
use super::project;

/// An engine that is still at work on a container refuses to remove it or its network at first.
const PATIENCE: Duration = Duration::from_secs(20);

/// A network on which nothing is left may be counted as used for a moment more.
const MISCOUNTED: Duration = Duration::from_secs(3);

/// Distance between two tries.
const POLL: Duration = Duration::from_millis(100);

/// What to remove: everything with a label of this value.
#[derive(Debug, Clone)]
pub struct Mark(String);

impl Mark {
    /// What was made for a run.
    pub fn run(run: &str) -> Self {
        Self(format!("{RUN}={run}"))
    }

    /// What a process made.
    pub fn owner(owner: &str) -> Self {
        Self(format!("{OWNER}={owner}"))
    }
}

/// Removes everything with this mark, containers first, and waits until it is gone.
///
/// # Errors
/// Nothing more has gone for [`PATIENCE`]; the error names one of the engine's refusals. A network
/// that the engine takes for used with nothing on it is no error: it is told, and left.
pub async fn remove(docker: &Docker, mark: &Mark) -> Result<()> {
    kill(docker, mark).await?;
    let mut left = usize::MAX;
    let mut progress = Instant::now();
    loop {
        let refusals = remove_once(docker, mark).await?;
        if refusals.len() < left {
            left = refusals.len();
            progress = Instant::now();
        }
        let waited = progress.elapsed();
        let (miscounted, others): (Vec<_>, Vec<_>) =
            refusals.into_iter().partition(|one| one.is_miscounted);
        match others.into_iter().next() {
            Some(refusal) if waited >= PATIENCE => {
                return Err(refusal.error)
                    .context("the engine does not let go of what the run made");
            }
            None if miscounted.is_empty() || waited >= MISCOUNTED => {
                miscounted.iter().for_each(tell_miscounted);
                return Ok(());
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Docker 20.10 was seen with such a network once in some thousand runs; it counts anew when it
/// starts (libnetwork's reconcileEndpointCnts), and nothing else has it do so.
fn tell_miscounted(refusal: &Refusal) {
    eprintln!(
        "A network stays behind: the engine takes it for used, and says that nothing is on it ({}). Restart the \
         engine, and the next run removes it.",
        refusal.error.root_cause()
    );
}

/// Why something is still there.
struct Refusal {
    error: anyhow::Error,
    /// Whether it is a network with nothing on it that the engine takes for used.
    is_miscounted: bool,
}

/// Kills every container with this mark: Podman would give each ten seconds to end by itself before
/// it removes it, Docker none.
pub async fn kill(docker: &Docker, mark: &Mark) -> Result<()> {
    let at_once = StopContainerOptionsBuilder::new().t(0).build();
    let containers = find(docker, &mark.0).await?.containers;
    let killed = join_all(containers.into_iter().map(|one| {
        let at_once = at_once.clone();
        async move { docker.stop_container(&one.id, Some(at_once)).await }
    }));
    // What can't be killed can't be removed either, and that is told.
    drop(killed.await);
    Ok(())
}

/// One pass, containers first since the others are in use by them. The answer lists what is still
/// there, each as the refusal to remove it.
async fn remove_once(docker: &Docker, mark: &Mark) -> Result<Vec<Refusal>> {
    let found = find(docker, &mark.0).await?;
    let force = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    let removed = join_all(found.containers.into_iter().map(|one| {
        let force = force.clone();
        async move {
            let removed = docker.remove_container(&one.id, Some(force)).await;
            refused(removed, "removing a container")
        }
    }));
    let mut refusals: Vec<_> = removed.await.into_iter().flatten().collect();
    let networks = found.networks.into_iter();
    let removed = join_all(networks.map(|one| remove_network(docker, one.id)));
    refusals.extend(removed.await.into_iter().flatten());
    let force = RemoveVolumeOptionsBuilder::new().force(true).build();
    let removed = join_all(found.volumes.into_iter().map(|one| {
        let force = force.clone();
        async move {
            let removed = docker.remove_volume(&one.id, Some(force)).await;
            refused(removed, "removing a volume")
        }
    }));
    refusals.extend(removed.await.into_iter().flatten());
    Ok(refusals)
}

async fn remove_network(docker: &Docker, id: String) -> Option<Refusal> {
    let refusal = refused(docker.remove_network(&id).await, "removing a network")?;
    let is_used = refusal.error.root_cause().to_string().contains(IS_USED);
    let is_miscounted = is_used
        && docker
            .inspect_network(&id, None)
            .await
            .is_ok_and(|network| network.containers.unwrap_or_default().is_empty());
    Some(Refusal {
        is_miscounted,
        ..refusal
    })
}

/// Docker's refusal to remove a network.
const IS_USED: &str = "has active endpoints";

/// A container, a network or a volume.
struct Thing {
    id: String,
    owner: Option<String>,
}

impl Thing {
    fn new(id: Option<String>, labels: Option<HashMap<String, String>>) -> Option<Self> {
        let owner = labels.and_then(|mut labels| labels.remove(OWNER));
        Some(Self { id: id?, owner })
    }
}

/// What an engine has with a label.
struct Found {
    containers: Vec<Thing>,
    networks: Vec<Thing>,
    volumes: Vec<Thing>,
}

/// Everything with this label, `KEY` or `KEY=VALUE`.
async fn find(docker: &Docker, label: &str) -> Result<Found> {
    let filter = HashMap::from([("label", vec![label])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filter)
        .build();
    let containers = docker.list_containers(Some(options)).await;
    let options = ListNetworksOptionsBuilder::new().filters(&filter).build();
    let networks = docker.list_networks(Some(options)).await;
    let options = ListVolumesOptionsBuilder::new().filters(&filter).build();
    let volumes = docker.list_volumes(Some(options)).await;
    let containers = containers.context("listing containers")?.into_iter();
    let networks = networks.context("listing networks")?.into_iter();
    let volumes = volumes.context("listing volumes")?.volumes;
    let volumes = volumes.unwrap_or_default().into_iter();
    Ok(Found {
        containers: containers
            .filter_map(|one| Thing::new(one.id, one.labels))
            .collect(),
        networks: networks
            .filter_map(|one| Thing::new(one.id, one.labels))
            .collect(),
        volumes: volumes
            .filter_map(|one| Thing::new(Some(one.name), Some(one.labels)))
            .collect(),
    })
}

/// `None` when it is gone, whoever removed it.
fn refused(result: Result<(), Error>, doing: &'static str) -> Option<Refusal> {
    match result {
        Ok(())
        | Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => None,
        Err(error) => Some(Refusal {
            error: anyhow::Error::new(error).context(doing),
            is_miscounted: false,
        }),
    }
}

/// Removes what processes made that are gone, such as after SIGKILL or a power cut.
pub async fn sweep(docker: &Docker) -> Result<()> {
    let here = Owner::this()?;
    for label in owners(docker).await? {
        if Owner::parse(&label).is_some_and(|owner| owner.is_gone(here)) {
            eprintln!(
                "Removing what an earlier run that was killed has left in the container engine."
            );
            remove(docker, &Mark::owner(&label)).await?;
        }
    }
    project::sweep(here)
}

/// The owners of all that is labelled with one.
async fn owners(docker: &Docker) -> Result<Vec<String>> {
    let found = find(docker, OWNER).await?;
    let things = found.containers.into_iter().chain(found.networks);
    let mut owners: Vec<_> = things
        .chain(found.volumes)
        .filter_map(|thing| thing.owner)
        .collect();
    owners.sort();
    owners.dedup();
    Ok(owners)
}
