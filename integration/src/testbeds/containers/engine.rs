//! The container engine: the way to it, and what its refusals mean.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::errors::Error;

/// API of Docker Engine 20.10, the oldest that is supported.
const OLDEST_API: (u32, u32) = (1, 41);

/// Where an engine listens unless `DOCKER_HOST` says otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Connects to the engine of `DOCKER_HOST`, or Docker's usual socket, and checks its version.
///
/// # Errors
/// No engine, no permission, or an engine too old: each with the way out.
pub async fn connect() -> Result<Docker> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| format!("unix://{DEFAULT_SOCKET}"));
    if let Some(socket) = host.strip_prefix("unix://") {
        check_socket(Path::new(socket))?;
    }
    let docker = Docker::connect_with_defaults().with_context(|| format!("DOCKER_HOST={host}"))?;
    let version = docker
        .version()
        .await
        .map_err(|error| explain(&error, "asking for its version"))
        .with_context(|| {
            format!(
                "no container engine answers at {host}: start Docker or Podman, or set DOCKER_HOST"
            )
        })?;
    let api = version.api_version.unwrap_or_default();
    ensure!(
        number(&api).is_some_and(|api| api >= OLDEST_API),
        "the container engine at {host} is too old (version {}, API {api}): Docker Engine 20.10 or Podman 4 is needed",
        version.version.unwrap_or_default()
    );
    Ok(docker)
}

/// Whether the engine is Podman, by its own word.
pub async fn is_podman(docker: &Docker) -> Result<bool> {
    let version = docker.version().await;
    let version = version.map_err(|error| explain(&error, "asking for its version"))?;
    let mut components = version.components.into_iter().flatten();
    Ok(components.any(|component| component.name.contains("Podman")))
}

fn check_socket(socket: &Path) -> Result<()> {
    let shown = socket.display();
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            std::io::ErrorKind::PermissionDenied => anyhow::anyhow!(
                "no permission to use the container engine at {shown}: run as root or as a member of the group \
                 that owns the socket (`usermod -aG docker USER`, then log in anew; that group is as good as \
                 root), use rootless Podman (DOCKER_HOST=unix://$XDG_RUNTIME_DIR/podman/podman.sock), or use \
                 --testbed namespaces, which needs no engine"
            ),
            std::io::ErrorKind::NotFound => anyhow::anyhow!(
                "no container engine: there is no {shown}. Install Docker (20.10 or newer) or Podman, or set \
                 DOCKER_HOST, or use --testbed namespaces, which needs none"
            ),
            _ => anyhow::Error::new(error).context(format!(
                "the container engine at {shown} does not answer: is it running? (`systemctl start docker`)"
            )),
        }),
    }
}

fn number(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Podman's state between `running` and `exited`, of which Docker's API and so bollard know nothing.
const STOPPED: &str = "unknown variant `stopped`";

/// Whether a container could not be looked at because it has ended this moment.
pub fn is_between(error: &Error) -> bool {
    error.to_string().contains(STOPPED)
}

/// Whether a network could not be made because another one went at this moment: Podman 4 looks at
/// all interfaces of the host one by one.
pub fn is_disturbed(error: &Error) -> bool {
    error.to_string().contains("no such network interface")
}

/// An engine's refusal, in words that help.
pub fn explain(error: &dyn fmt::Display, doing: &str) -> anyhow::Error {
    let text = error.to_string();
    anyhow::anyhow!("{doing}: {}{}", text, Hint(&text))
}

/// The way out of the refusals that have one.
struct Hint<'a>(&'a str);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |part: &str| self.0.contains(part);
        if has("no space left") || has("ENOSPC") {
            f.write_str(". The engine's disk is full: `docker system df` shows what fills it; about 500 MB are needed")
        } else if has("address already in use") || has("port is already allocated") {
            f.write_str(". The port is taken: end what listens there, or choose others with FMD_HTTP_PORT and FMD_HTTPS_PORT")
        } else if has(STOPPED) {
            f.write_str(". That is Podman's word for a container that has just ended: `podman events --since 1m --filter event=died` shows which")
        } else if has("could not find an available")
            || has("address pools have been fully subnetted")
        {
            f.write_str(". The engine has no address range left for a network: fewer `--jobs` need fewer, and `docker network prune` removes unused ones")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Hint, OLDEST_API, number};

    #[test]
    fn versions_compare_by_number() {
        assert!(number("1.41").unwrap() >= OLDEST_API);
        assert!(number("1.9").unwrap() < OLDEST_API);
        assert!(number("2.0").unwrap() >= OLDEST_API);
        assert_eq!(number("nonsense"), None);
    }

    #[test]
    fn a_taken_port_and_a_full_disk_have_a_way_out() {
        let taken = Hint("listen tcp4 0.0.0.0:80: bind: address already in use").to_string();
        assert!(taken.contains("FMD_HTTP_PORT"), "{taken}");
        let full = Hint("write /x: no space left on device").to_string();
        assert!(full.contains("docker system df"), "{full}");
    }
}
