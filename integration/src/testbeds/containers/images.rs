//! The images of a run: found under a name that tells their content, or built.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::models::ImageSummary;
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder};
use tokio::sync::Mutex;

use super::build;
use super::compose::{Build, Compose};
use super::janitor;
use super::project::{self, Bundle};
use super::sources::{BASE, MADE_BY_SUITE, base, cache, exists, pull};
use crate::testbed::FmdServer;

/// The suite's own binary: the clients, and the embedded FMD Server.
const SUITE: &str = "localhost/fmd-stack/suite";

/// Another FMD Server binary.
const BINARY: &str = "localhost/fmd-stack/fmd-server";

/// How the suite's binary and FMD Server get into an image.
const BINARY_CONTAINERFILE: &str = "fmd-embedded/Containerfile";

/// Images that no run has needed for so long are removed.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// The images of this process's runs.
#[derive(Debug, Clone)]
pub struct Images {
    bundle: Bundle,
    /// What they are called in the compose file.
    variables: BTreeMap<String, String>,
    /// The image of the clients.
    pub suite: String,
    /// Which FMD Server runs, for reports.
    pub fmd_server: String,
}

/// Finds or builds every image, one process at a time, and each process once. Whatever ends this,
/// nothing half-built stays.
///
/// # Errors
/// An image can be neither found nor pulled nor built; the compose file is wrong.
pub async fn prepare(docker: &Docker, bundle: &Bundle, fmd_server: &FmdServer) -> Result<Images> {
    static FOUND: Mutex<Vec<(String, Images)>> = Mutex::const_new(Vec::new());
    let key = format!("{} {} {fmd_server:?}", bundle.hash(), bundle.compose);
    let mut found = FOUND.lock().await;
    if let Some((_, images)) = found.iter().find(|(known, _)| *known == key) {
        return Ok(images.clone());
    }
    janitor::hire()?;
    janitor::begin(janitor::IMAGES);
    let images = find(docker, bundle, fmd_server).await;
    janitor::end(janitor::IMAGES);
    let images = images?;
    found.push((key, images.clone()));
    Ok(images)
}

async fn find(docker: &Docker, bundle: &Bundle, fmd_server: &FmdServer) -> Result<Images> {
    let _lock = build::lock().await?;
    // First what a killed run has left, and in the end what a build that failed has.
    build::remove_anonymous(docker).await?;
    let found = find_each(docker, bundle, fmd_server).await;
    let removed = build::remove_anonymous(docker).await;
    // The first error is the one to show.
    found.and_then(|images| removed.map(|()| images))
}

async fn find_each(docker: &Docker, bundle: &Bundle, fmd_server: &FmdServer) -> Result<Images> {
    let base = base(docker, bundle).await?;
    let marked = build::marked(docker, &base).await?;
    let suite_binary = std::env::current_exe().context("finding the suite's own binary")?;
    let suite = binary_image(docker, bundle, &marked, SUITE, &suite_binary).await?;
    let server = match fmd_server {
        FmdServer::Embedded => Some(suite.clone()),
        FmdServer::Binary(path) => Some(binary_image(docker, bundle, &marked, BINARY, path).await?),
        FmdServer::Image => None,
    };
    let version = format!("suite-{}", project::hash(&[&bundle.hash(), &marked]));
    let mut variables = ports();
    variables.extend(server.map(|image| ("FMD_SERVER_IMAGE".to_owned(), image)));
    variables.insert("FMD_STACK_BASE".to_owned(), marked.clone());
    variables.insert("FMD_STACK_VERSION".to_owned(), version);
    let mut images = Images {
        bundle: bundle.clone(),
        variables,
        suite,
        fmd_server: String::new(),
    };
    let compose = images.parse(BTreeMap::new())?;
    for (name, service) in &compose.services {
        let image = service.image.as_deref().context("no image")?;
        match &service.build {
            Some(build) => build::image_named(docker, image, build, bundle.context()?).await?,
            None => pull(docker, image)
                .await
                .with_context(|| format!("the image of {name}"))?,
        }
    }
    images.fmd_server = describe(fmd_server, &compose)?;
    let named = compose
        .services
        .values()
        .filter_map(|one| one.image.clone());
    retire(
        docker,
        &named
            .chain([images.suite.clone(), marked, base])
            .collect::<Vec<_>>(),
    )
    .await;
    Ok(images)
}

impl Images {
    /// The compose file with the images in place, and this IPv6 range for nginx's network.
    pub fn compose(&self, subnet: &str) -> Result<Compose> {
        let subnet = ("FMD_SUBNET_V6".to_owned(), subnet.to_owned());
        self.parse(BTreeMap::from([subnet]))
    }

    fn parse(&self, mut variables: BTreeMap<String, String>) -> Result<Compose> {
        variables.extend(self.variables.clone());
        Compose::parse(&self.bundle.name, &self.bundle.compose, &variables)
    }
}

fn describe(fmd_server: &FmdServer, compose: &Compose) -> Result<String> {
    Ok(match fmd_server {
        FmdServer::Embedded => {
            format!(
                "{}, standing in for the compose file's image",
                fmd_embedded::BUILD
            )
        }
        FmdServer::Binary(path) => format!("FMD Server from {}", path.display()),
        FmdServer::Image => compose
            .service("fmd-server")?
            .image
            .clone()
            .unwrap_or_default(),
    })
}

/// The published ports: chosen by the engine, unless the caller's environment names them.
fn ports() -> BTreeMap<String, String> {
    let port = |name: &str| {
        (
            name.to_owned(),
            std::env::var(name).unwrap_or_else(|_| "0".to_owned()),
        )
    };
    BTreeMap::from(["FMD_HTTP_PORT", "FMD_HTTPS_PORT"].map(port))
}

/// The image of a program, which is in it under `/usr/bin/fmd-server`.
async fn binary_image(
    docker: &Docker,
    bundle: &Bundle,
    base: &str,
    repo: &str,
    program: &Path,
) -> Result<String> {
    let meta = program
        .metadata()
        .with_context(|| format!("--fmd-server {}: no such program", program.display()))?;
    let changed = meta
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    let containerfile = bundle.text(BINARY_CONTAINERFILE)?;
    let path = program.to_string_lossy();
    // Hashing the program itself would take longer than the rest of a start.
    let state = format!("{} {}", meta.len(), changed.as_nanos());
    let image = format!(
        "{repo}:suite-{}",
        project::hash(&[&containerfile, base, &path, &state])
    );
    if !exists(docker, &image).await? {
        let bytes = tokio::fs::read(program)
            .await
            .with_context(|| format!("reading {}", program.display()))?;
        let mut tar = tar::Builder::new(Vec::new());
        project::append(
            &mut tar,
            BINARY_CONTAINERFILE,
            0o644,
            containerfile.as_bytes(),
        )?;
        project::append(&mut tar, "fmd-server", 0o755, &bytes)?;
        let args = BTreeMap::from([("BASE".to_owned(), base.to_owned())]);
        let build = Build {
            context: ".".to_owned(),
            dockerfile: BINARY_CONTAINERFILE.to_owned(),
            args,
        };
        build::image_named(
            docker,
            &image,
            &build,
            tar.into_inner().context("writing a build context")?,
        )
        .await?;
    }
    Ok(image)
}

/// The images that belong to this cache folder.
async fn ours(docker: &Docker) -> Result<Vec<ImageSummary>> {
    let filter = HashMap::from([("label", vec![format!("{MADE_BY_SUITE}={}", cache()?)])]);
    let options = ListImagesOptionsBuilder::new().filters(&filter).build();
    docker
        .list_images(Some(options))
        .await
        .context("listing images")
}

/// Removes images that the suite made long ago; one that is in use or in `needed` stays.
async fn retire(docker: &Docker, needed: &[String]) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    for image in ours(docker).await.unwrap_or_default() {
        let age = now.saturating_sub(u64::try_from(image.created).unwrap_or(now));
        let is_needed = image.repo_tags.iter().any(|tag| needed.contains(tag));
        if age > KEPT_FOR.as_secs() && !is_needed {
            remove_image(docker, &image.id).await;
        }
    }
}

async fn remove_image(docker: &Docker, id: &str) {
    let options = RemoveImageOptionsBuilder::new().force(false).build();
    // Refused while a container uses it, which is as it should be.
    let _ = docker.remove_image(id, Some(options), None).await;
}

/// Removes every image that the suite made for itself.
pub async fn clean(docker: &Docker) -> Result<()> {
    let _lock = build::lock().await?;
    build::remove_anonymous(docker).await?;
    let images = ours(docker).await?.into_iter();
    let mut names: Vec<_> = images.flat_map(|image| image.repo_tags).collect();
    // None goes before what was built on it.
    names.sort_by_key(|name| (name.starts_with(BASE), name.starts_with(build::MARKED)));
    for name in names {
        remove_image(docker, &name).await;
    }
    Ok(())
}
