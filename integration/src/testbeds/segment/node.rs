//! A node of a segment: commands enter its namespaces with `nsenter`.

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use tokio::process::Command as Process;
use tokio::time::timeout;

use super::SUITE;
use crate::testbed::{Addresses, Command, Node, Output};
use crate::testbeds::group::{Group, status_number};

/// The environment of every command: nothing of the caller's gets in.
const ENVIRONMENT: [&str; 4] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "HOME=/root",
    "TERM=dumb",
];

/// A network namespace in a sandbox.
#[derive(Debug, Clone)]
pub struct NamespaceNode {
    pub(super) name: String,
    pub(super) addresses: Addresses,
    /// PID 1 of the sandbox, as this machine numbers it.
    pub(super) init: u32,
}

impl NamespaceNode {
    /// The words that enter the node's namespaces, to be followed by a command.
    pub fn enter(&self) -> Vec<String> {
        let Self { init, name, .. } = self;
        // The segment is init's own network namespace, the nodes' are named as `ip netns` does.
        let net = match name.as_str() {
            "segment" => format!("--net=/proc/{init}/ns/net"),
            node => format!("--net=/proc/{init}/root/run/netns/{node}"),
        };
        let target = init.to_string();
        [
            "nsenter", "--target", &target, "--user", "--mount", "--pid", "--uts", "--ipc", &net,
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

#[async_trait]
impl Node for NamespaceNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn addresses(&self) -> Addresses {
        self.addresses
    }

    fn suite(&self) -> &str {
        SUITE
    }

    fn shell(&self) -> String {
        format!(
            "{} env -i {} bash",
            self.enter().join(" "),
            ENVIRONMENT.join(" ")
        )
    }

    async fn run(&self, command: Command) -> Result<Output> {
        let line = command.line();
        let place = || format!("running `{line}` on {}", self.name);
        let enter = self.enter();
        let mut process = Process::new(&enter[0]);
        process
            .args(&enter[1..])
            .args(["env", "-i"])
            .args(ENVIRONMENT)
            .args(&command.argv);
        let ended = timeout(command.deadline, Group::run(&mut process, &command.stdin));
        match ended.await {
            Ok(output) => {
                let output = output.with_context(place)?;
                Ok(Output {
                    command: line,
                    status: status_number(output.status),
                    stdout: output.stdout,
                    stderr: output.stderr,
                })
            }
            Err(_) => bail!(
                "`{line}` on {} did not end within {:?}",
                self.name,
                command.deadline
            ),
        }
    }
}
