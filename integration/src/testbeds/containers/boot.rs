//! The order in which the containers start: the one the compose file asks for.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use testcontainers::{ContainerAsync, GenericImage};

use super::compose::{Condition, Service as Definition};
use super::launch::Launch;
use super::services::Services;
use crate::testbed::Service;

/// Starts every container, those that depend on nothing at once and the others after them.
pub async fn boot(
    launch: &Launch<'_>,
    services: &Services,
) -> Result<Vec<ContainerAsync<GenericImage>>> {
    let mut handles = Vec::new();
    let mut started: Vec<&str> = Vec::new();
    let mut waiting: Vec<(&str, &Definition)> = launch
        .compose
        .services
        .iter()
        .map(|(name, definition)| (name.as_str(), definition))
        .collect();
    while !waiting.is_empty() {
        let (next, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, definition)| {
            definition
                .dependencies()
                .iter()
                .all(|name| started.contains(name))
        });
        ensure!(
            !next.is_empty(),
            "services of the compose file depend on each other in a circle"
        );
        started.extend(next.iter().map(|(name, _)| name));
        let starting = next
            .into_iter()
            .map(|(name, definition)| start(launch, services, name, definition));
        handles.extend(try_join_all(starting).await?);
        waiting = later;
    }
    Ok(handles)
}

/// Starts one container once what it waits for is reached.
async fn start(
    launch: &Launch<'_>,
    services: &Services,
    name: &str,
    definition: &Definition,
) -> Result<ContainerAsync<GenericImage>> {
    for (dependency, state) in definition.depends_on.iter().flatten() {
        match state.condition {
            Condition::ServiceHealthy => services.wait_ready(named(dependency)?).await?,
        }
    }
    let started = launch.start(name, definition).await;
    if started.is_err() {
        // Where what it depends on has died, that is the error to tell.
        for dependency in definition.dependencies() {
            services.wait_ready(named(dependency)?).await?;
        }
    }
    started
}

/// The service that has this name in the compose file.
pub fn named(name: &str) -> Result<Service> {
    let mut all = Service::ALL.into_iter();
    all.find(|service| service.name() == name)
        .with_context(|| format!("the stack has no service {name}"))
}
