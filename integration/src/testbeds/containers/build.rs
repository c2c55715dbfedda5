//! Building images, and leaving none without a name.
//!
//! An engine's builder makes an image of each step and takes them for its cache: those of a build
//! that fails or is given up stay, anonymous and on nothing that the engine lists. So that ours can
//! be told from others', all are built on an image that has a label, which every step inherits.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::query_parameters::{BuildImageOptionsBuilder, PruneImagesOptionsBuilder};
use bytes::Bytes;
use futures::StreamExt;
use nix::fcntl::{Flock, FlockArg};

use super::compose::Build;
use super::engine::explain;
use super::project;
use super::sources::{MADE_BY_SUITE, cache, exists};
use crate::rootfs;

/// On every image that is built here and on each of its steps; the value is the cache folder, whose
/// lock keeps one process from removing the steps of another's build.
const BUILT: &str = "fmd-stack.built";

/// The base with the label, under this name and its own id.
pub const MARKED: &str = "localhost/fmd-stack/marked";

/// Held while images are built: two processes building the same one would do it twice.
pub async fn lock() -> Result<Flock<File>> {
    let path = lock_file()?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    rootfs::lock(
        path,
        FlockArg::LockExclusive,
        "Another run is building images",
    )
    .await
}

/// The lock, unless another process has it.
pub fn lock_if_free() -> Option<Flock<File>> {
    let file = File::create(lock_file().ok()?).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

fn lock_file() -> Result<PathBuf> {
    Ok(rootfs::folder()?.join("images.lock"))
}

/// What another image is to be built on: this base, marked, so that what is built on it is known.
pub async fn marked(docker: &Docker, base: &str) -> Result<String> {
    let found = docker.inspect_image(base).await;
    let found = found.map_err(|error| explain(&error, &format!("looking for image {base}")))?;
    let id = found.id.context("the base image has no id")?;
    let image = format!("{MARKED}:suite-{}", project::hash(&[&id, &cache()?]));
    let mut tar = tar::Builder::new(Vec::new());
    let containerfile = format!("FROM {base}\n");
    project::append(&mut tar, "Containerfile", 0o644, containerfile.as_bytes())?;
    let build = Build {
        context: ".".to_owned(),
        dockerfile: "Containerfile".to_owned(),
        args: BTreeMap::new(),
    };
    let context = tar.into_inner().context("writing a build context")?;
    image_named(docker, &image, &build, context).await?;
    Ok(image)
}

/// Builds an image unless it is there; its name tells its content. Only with the [`lock`].
pub async fn image_named(
    docker: &Docker,
    image: &str,
    build: &Build,
    context: Vec<u8>,
) -> Result<()> {
    if exists(docker, image).await? {
        return Ok(());
    }
    eprintln!("Building image {image}");
    let args: HashMap<_, _> = build.args.clone().into_iter().collect();
    let cache = cache()?;
    let labels = HashMap::from([MADE_BY_SUITE, BUILT].map(|label| (label, cache.as_str())));
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

/// Removes what builds have left without a name. Only with the [`lock`], while nothing is built.
pub async fn remove_anonymous(docker: &Docker) -> Result<()> {
    let filters = HashMap::from([
        ("dangling", vec!["true".to_owned()]),
        ("label", vec![format!("{BUILT}={}", cache()?)]),
    ]);
    let options = PruneImagesOptionsBuilder::new().filters(&filters).build();
    let pruned = docker.prune_images(Some(options)).await;
    pruned
        .map(drop)
        .map_err(|error| explain(&error, "removing images without a name"))
}
