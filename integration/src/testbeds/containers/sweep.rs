//! Removing what runs made: of one run, of this process, of processes that are gone.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use futures::future::join_all;
use tokio::time::Instant;

use super::owner::{OWNER, Owner, RUN};
use super::project;

/// An engine that is still at work on a container refuses to remove it or its network at first.
const PATIENCE: Duration = Duration::from_secs(20);

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

    fn filter(&self) -> HashMap<&str, Vec<&str>> {
        HashMap::from([("label", vec![self.0.as_str()])])
    }
}

/// Removes everything with this mark, containers first, and waits until it is gone.
///
/// # Errors
/// Something is still there after [`PATIENCE`]; the error names the engine's last refusal.
pub async fn remove(docker: &Docker, mark: &Mark) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let refusals = remove_once(docker, mark).await?;
        let Some(refusal) = refusals.into_iter().next() else {
            return Ok(());
        };
        if Instant::now() >= end {
            return Err(refusal).context("the engine does not let go of what the run made");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// One pass. The answer lists what is still there, each as the refusal to remove it.
async fn remove_once(docker: &Docker, mark: &Mark) -> Result<Vec<anyhow::Error>> {
    let filter = mark.filter();
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filter)
        .build();
    let containers = docker
        .list_containers(Some(options))
        .await
        .context("listing containers")?;
    let force = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    let ids = containers.into_iter().filter_map(|container| container.id);
    let removed = join_all(ids.map(|id| {
        let force = force.clone();
        async move {
            refused(
                docker.remove_container(&id, Some(force)).await,
                "removing a container",
            )
        }
    }));
    let mut refusals: Vec<_> = removed.await.into_iter().flatten().collect();

    let options = ListNetworksOptionsBuilder::new().filters(&filter).build();
    let networks = docker
        .list_networks(Some(options))
        .await
        .context("listing networks")?;
    let ids = networks.into_iter().filter_map(|network| network.id);
    let removed =
        join_all(ids.map(|id| async move {
            refused(docker.remove_network(&id).await, "removing a network")
        }));
    refusals.extend(removed.await.into_iter().flatten());

    let options = ListVolumesOptionsBuilder::new().filters(&filter).build();
    let volumes = docker
        .list_volumes(Some(options))
        .await
        .context("listing volumes")?;
    let force = RemoveVolumeOptionsBuilder::new().force(true).build();
    let names = volumes
        .volumes
        .unwrap_or_default()
        .into_iter()
        .map(|volume| volume.name);
    let removed = join_all(names.map(|name| {
        let force = force.clone();
        async move {
            refused(
                docker.remove_volume(&name, Some(force)).await,
                "removing a volume",
            )
        }
    }));
    refusals.extend(removed.await.into_iter().flatten());
    Ok(refusals)
}

/// `None` when it is gone, whoever removed it.
fn refused(result: Result<(), Error>, doing: &'static str) -> Option<anyhow::Error> {
    match result {
        Ok(())
        | Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => None,
        Err(error) => Some(anyhow::Error::new(error).context(doing)),
    }
}

/// Removes what processes made that are gone, such as after SIGKILL or a power cut.
pub async fn sweep(docker: &Docker) -> Result<()> {
    let here = Owner::this()?;
    let mut owners = owners(docker).await?;
    owners.sort();
    owners.dedup();
    for label in owners {
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
    let filter = HashMap::from([("label", vec![OWNER])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filter)
        .build();
    let containers = docker
        .list_containers(Some(options))
        .await
        .context("listing containers")?;
    let options = ListNetworksOptionsBuilder::new().filters(&filter).build();
    let networks = docker
        .list_networks(Some(options))
        .await
        .context("listing networks")?;
    let options = ListVolumesOptionsBuilder::new().filters(&filter).build();
    let volumes = docker
        .list_volumes(Some(options))
        .await
        .context("listing volumes")?;
    let owner = |labels: Option<HashMap<String, String>>| {
        labels.and_then(|mut labels| labels.remove(OWNER))
    };
    let mut owners: Vec<_> = containers
        .into_iter()
        .filter_map(|container| owner(container.labels))
        .collect();
    owners.extend(
        networks
            .into_iter()
            .filter_map(|network| owner(network.labels)),
    );
    let volumes = volumes.volumes.unwrap_or_default().into_iter();
    owners.extend(volumes.filter_map(|mut volume| volume.labels.remove(OWNER)));
    Ok(owners)
}
