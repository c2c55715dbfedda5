//! The images of a run: found under a name that tells their content, or built.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::models::ImageSummary;
use bollard::query_parameters::{
    BuildImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use bytes::Bytes;
use futures::StreamExt;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::compose::{Build, Compose};
use super::engine::explain;
use super::project::{self, Bundle};
use super::sources::{BASE, MADE_BY_SUITE, base, cache, exists, pull};
use crate::rootfs;
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

/// Finds or builds every image, one process at a time, and each process once.
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
    let images = find(docker, bundle, fmd_server).await?;
    found.push((key, images.clone()));
    Ok(images)
}

async fn find(docker: &Docker, bundle: &Bundle, fmd_server: &FmdServer) -> Result<Images> {
    let _lock = lock().await?;
    let base = base(docker, bundle).await?;
    let suite_binary = std::env::current_exe().context("finding the suite's own binary")?;
    let suite = binary_image(docker, bundle, &base, SUITE, &suite_binary).await?;
    let server = match fmd_server {
        FmdServer::Embedded => Some(suite.clone()),
        FmdServer::Binary(path) => Some(binary_image(docker, bundle, &base, BINARY, path).await?),
        FmdServer::Image => None,
    };
    let version = format!("suite-{}", hash(&[&bundle.hash(), &base]));
    let mut variables = ports();
    variables.extend(server.map(|image| ("FMD_SERVER_IMAGE".to_owned(), image)));
    variables.insert("FMD_STACK_BASE".to_owned(), base.clone());
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
            Some(build) => build_image(docker, image, build, bundle.context()?).await?,
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
            .chain([images.suite.clone(), base])
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

/// Two processes building the same image would do it twice.
async fn lock() -> Result<Flock<File>> {
    let path = rootfs::folder()?.join("images.lock");
    tokio::task::spawn_blocking(move || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("making {}", parent.display()))?;
        }
        let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .context("waiting for the images")
    })
    .await
    .context("waiting for the images")?
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
        hash(&[&containerfile, base, &path, &state])
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
        build_image(
            docker,
            &image,
            &build,
            tar.into_inner().context("writing a build context")?,
        )
        .await?;
    }
    Ok(image)
}

/// Builds an image unless it is there; its name tells its content.
async fn build_image(docker: &Docker, image: &str, build: &Build, context: Vec<u8>) -> Result<()> {
    if exists(docker, image).await? {
        return Ok(());
    }
    eprintln!("Building image {image}");
    let args: HashMap<_, _> = build.args.clone().into_iter().collect();
    let labels = HashMap::from([(MADE_BY_SUITE.to_owned(), cache()?)]);
    let options = BuildImageOptionsBuilder::new()
        .dockerfile(&build.dockerfile)
        .t(image)
        .buildargs(&args)
        .labels(&labels)
        .rm(true)
        .forcerm(true)
        .build();
    let body = bollard::body_full(Bytes::from(context));
    let mut steps = docker.build_image(options, None, Some(body));
    let mut log = String::new();
    while let Some(step) = steps.next().await {
        let failed = |error: String| {
            anyhow::anyhow!(
                "building {image}: {error}\n{}",
                crate::testbed::last_lines(&log, 12)
            )
        };
        match step {
            Ok(info) => log.push_str(&info.stream.unwrap_or_default()),
            Err(error) => return Err(failed(explain(&error, "the engine").to_string())),
        }
    }
    Ok(())
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
    let _lock = lock().await?;
    // The base last: it can't go before what was built on it.
    let images = ours(docker)
        .await?
        .into_iter()
        .flat_map(|image| image.repo_tags);
    let (bases, built): (Vec<_>, Vec<_>) = images.partition(|name| name.starts_with(BASE));
    for name in built.into_iter().chain(bases) {
        remove_image(docker, &name).await;
    }
    Ok(())
}

fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    project::short(hash)
}
