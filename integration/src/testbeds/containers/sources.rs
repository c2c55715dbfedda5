//! Where images come from that are not built here: the engine, a registry, or the suite's own root
//! filesystem.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use tokio::io::AsyncReadExt;

use super::compose::Compose;
use super::engine::explain;
use super::project::Bundle;
use super::reference;
use crate::rootfs;

/// Marks images that the suite made for itself; the value is the cache folder they belong to, so
/// that one user's `clean` leaves another's alone.
pub const MADE_BY_SUITE: &str = "fmd-stack.suite";

/// The root filesystem, where no registry has Debian's image.
pub const BASE: &str = "localhost/fmd-stack/base";

/// A registry that does not answer within this time can't be reached.
const PULL_WITHIN: Duration = Duration::from_secs(120);

/// The image that the others build on: the compose file's, or the suite's root filesystem.
pub async fn base(docker: &Docker, bundle: &Bundle) -> Result<String> {
    if let Some(named) = std::env::var("FMD_STACK_BASE")
        .ok()
        .filter(|name| !name.is_empty())
    {
        pull(docker, &named).await.context("FMD_STACK_BASE")?;
        return Ok(named);
    }
    let compose = Compose::parse(&bundle.name, &bundle.compose, &BTreeMap::new())?;
    let mut bases = compose
        .services
        .values()
        .filter_map(|service| service.build.as_ref()?.args.get("BASE"));
    let debian = bases.next().context("no service is built from a BASE")?;
    let imported = format!("{BASE}:{}", rootfs::key(&rootfs::STACK));
    for image in [debian, &imported] {
        if exists(docker, image).await? {
            return Ok(image.clone());
        }
    }
    if let Err(error) = pull(docker, debian).await {
        eprintln!(
            "No {debian} from a registry ({}): using the suite's own root filesystem.",
            error.root_cause()
        );
        import(docker, &imported).await?;
        return Ok(imported);
    }
    Ok(debian.clone())
}

/// Whether the engine has the image.
pub async fn exists(docker: &Docker, image: &str) -> Result<bool> {
    match docker.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(bollard::errors::Error::DockerResponseServerError {
            status_code: 404, ..
        }) => Ok(false),
        Err(error) => Err(explain(&error, &format!("looking for image {image}"))),
    }
}

/// Makes sure that an image is there.
pub async fn pull(docker: &Docker, image: &str) -> Result<()> {
    if exists(docker, image).await? {
        return Ok(());
    }
    let options = CreateImageOptionsBuilder::new()
        .from_image(&reference::whole(image))
        .build();
    eprintln!("Pulling {image}");
    let pulling = docker
        .create_image(Some(options), None, None)
        .try_for_each(|_| async { Ok(()) });
    let way_out = "reach its registry, `docker load` the image from elsewhere, or leave out --fmd-server upstream";
    match tokio::time::timeout(PULL_WITHIN, pulling).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            Err(explain(&error, "pulling it").context(format!("{image} is not here: {way_out}")))
        }
        Err(_) => bail!(
            "{image} is not here and was not pulled within {} s: {way_out}",
            PULL_WITHIN.as_secs()
        ),
    }
}

/// Imports the root filesystem of the namespaces testbed as an image.
async fn import(docker: &Docker, image: &str) -> Result<()> {
    let rootfs = rootfs::ensure(&rootfs::STACK).await?;
    let file = tokio::fs::File::open(&rootfs.tar)
        .await
        .with_context(|| format!("opening {}", rootfs.tar.display()))?;
    let label = format!("LABEL {MADE_BY_SUITE}=\"{}\"", cache()?);
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        // With its tag: Podman 4 takes no other.
        .repo(image)
        .changes(vec![label])
        .build();
    let body = bollard::body_try_stream(chunks(file));
    let importing = docker
        .create_image(Some(options), Some(body), None)
        .try_for_each(|_| async { Ok(()) });
    importing
        .await
        .map_err(|error| explain(&error, &format!("importing {}", rootfs.tar.display())))
}

fn chunks(file: tokio::fs::File) -> impl Stream<Item = std::io::Result<Bytes>> {
    futures::stream::try_unfold(file, |mut file| async move {
        let mut chunk = vec![0; 1 << 20];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok((read > 0).then(|| (Bytes::from(chunk), file)))
    })
}

/// The cache folder that this user's images belong to.
pub fn cache() -> Result<String> {
    Ok(rootfs::folder()?.to_string_lossy().into_owned())
}
