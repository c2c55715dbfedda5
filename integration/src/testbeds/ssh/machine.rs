//! What is brought to a machine, and what is learned from it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::node::SshNode;
use crate::testbed::{Command, Node};

/// Copies this very program to a client.
pub async fn copy_suite(client: &SshNode) -> Result<()> {
    let own = std::env::current_exe().context("finding the suite's own binary")?;
    let bytes = std::fs::read(&own).with_context(|| format!("reading {}", own.display()))?;
    let copy = Command::shell(r#"cat >"$1"; chmod 700 "$1""#, &[&client.suite])
        .stdin(bytes)
        .deadline(Duration::from_secs(300));
    client.run(copy).await?.ok().context("copying the suite")?;
    let run = client
        .run(Command::new([&client.suite, "--version"]))
        .await?;
    ensure!(
        run.success(),
        "{} can't run this suite, a program for {} that was linked here ({}): {}. Run a suite that \
         was built for the clients, such as a static one (target x86_64-unknown-linux-musl)",
        client.line.destination,
        std::env::consts::ARCH,
        own.display(),
        String::from_utf8_lossy(&run.stderr).trim()
    );
    Ok(())
}

/// TCP ports on which the server listens with programs that are not of the stack.
pub async fn ports_beside(server: &SshNode) -> Result<Vec<u16>> {
    let text = server
        .run(Command::new(["ss", "-Hltnp"]))
        .await?
        .ok()?
        .text();
    Ok(listeners(&text))
}

/// What `ss -Hltnp` prints: the local address and port are its fourth column.
fn listeners(text: &str) -> Vec<u16> {
    let of_the_stack = |line: &str| line.contains("\"fmd-") || line.contains("\"nginx\"");
    let port = |line: &str| {
        line.split_whitespace()
            .nth(3)?
            .rsplit(':')
            .next()?
            .parse()
            .ok()
    };
    text.lines()
        .filter(|line| !of_the_stack(line))
        .filter_map(port)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::listeners;

    #[test]
    fn ports_that_are_not_of_the_stack() {
        let text = "LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:((\"nginx\",pid=7,fd=5))\n\
                    LISTEN 0 128 [::]:22 [::]:* users:((\"sshd\",pid=9,fd=3))\n\
                    LISTEN 0 128 *:8080 *:* users:((\"fmd-server\",pid=8,fd=3))\n";
        assert_eq!(listeners(text), [22]);
    }
}
