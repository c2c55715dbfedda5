//! A machine reached by ssh, as a node.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;

use super::connection::Line;
use crate::testbed::{Addresses, Command, Node, Output};
use crate::testbeds::quote;

/// Writes what is to be done at the end, whole or not at all. Arguments: the task's folder, its
/// script, the length of its input.
const NOTE: &str = r#"
rm -rf "$1.new"; mkdir "$1.new"
printf '%s\n' "$2" >"$1.new/run"
cat >"$1.new/input"
[ "$(wc -c <"$1.new/input")" = "$3" ]
rm -rf "$1"; mv "$1.new" "$1"
"#;

/// Keeps a file as it is, or prints what there will be to remove: the file, or the outermost folder
/// that a write has to make. Arguments: the file, the copy.
const KEEP: &str = r#"
if [ -e "$1" ] || [ -L "$1" ]; then
  rm -rf -- "$2"
  cp -a -- "$1" "$2"
  echo was-there
else
  made=; folder=$1
  while folder=$(dirname -- "$folder"); [ ! -e "$folder" ]; do made=$folder; done
  echo "${made:-$1}"
fi
"#;

/// Puts a kept file back, as the link it was and with its owner. Arguments: the copy, the file.
const PUT_BACK: &str = r#"
if [ -e "$1" ] || [ -L "$1" ]; then
  cp -a --remove-destination -- "$1" "$2"
fi
"#;

/// Writes a file whole or not at all: a connection that breaks looks like the end of the input.
/// Arguments: its folder, the file, its mode, its length.
const WRITE: &str = r#"
mkdir -p "$1"
t=$(mktemp "$2.XXXXXX")
cat >"$t"
if [ "$(wc -c <"$t")" != "$4" ]; then rm -f "$t"; exit 1; fi
chmod "$3" "$t"
mv "$t" "$2"
"#;

/// Accounts are removed and jails read again within seconds, each of them.
const UNDO_WITHIN: Duration = Duration::from_secs(90);

/// One machine.
#[derive(Debug)]
pub struct SshNode {
    pub(super) name: String,
    pub(super) line: Line,
    pub(super) addresses: Addresses,
    /// The run's folder on the machine.
    pub(super) folder: String,
    pub(super) suite: String,
    /// What is to be done at the end, in the order in which it was noted.
    pub(super) tasks: Mutex<Vec<String>>,
}

impl SshNode {
    /// The node under the name that a scenario has for it.
    pub fn named(&self, name: &str) -> Self {
        let tasks = self
            .tasks
            .lock()
            .map(|tasks| tasks.clone())
            .unwrap_or_default();
        Self {
            name: name.to_owned(),
            line: self.line.clone(),
            folder: self.folder.clone(),
            suite: self.suite.clone(),
            tasks: Mutex::new(tasks),
            ..*self
        }
    }

    /// Notes what is to be done at the end of every scenario.
    pub async fn always(&self, key: &str, command: Command) -> Result<()> {
        self.note("always", key, command).await
    }

    /// Notes what the machine is to do by itself, after all else, when the suite has died.
    pub async fn last(&self, key: &str, command: Command) -> Result<()> {
        self.note("last", key, command).await
    }

    async fn note(&self, kind: &str, key: &str, command: Command) -> Result<()> {
        let number = {
            let mut tasks = self
                .tasks
                .lock()
                .map_err(|_| anyhow::anyhow!("a task panicked"))?;
            let known = tasks.iter().position(|task| task == key);
            known.unwrap_or_else(|| {
                tasks.push(key.to_owned());
                tasks.len() - 1
            })
        };
        let name: String = key
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let folder = format!("{}/{kind}/{number:04}-{name}", self.folder);
        let script = quote::line(&command.argv);
        let length = command.stdin.len().to_string();
        let note = Command::shell(NOTE, &[&folder, &script, &length]).stdin(command.stdin);
        self.line
            .run(note)
            .await?
            .ok()
            .with_context(|| format!("noting how to undo {key}"))?;
        Ok(())
    }

    /// Ends the run's programs on the machine, whose callers may have given up on them.
    pub async fn still(&self) -> Result<()> {
        let undo = format!("{}/undo", self.folder);
        self.line
            .run(Command::new(["sh", &undo, &self.folder, "still"]))
            .await?
            .ok()?;
        Ok(())
    }

    /// Does what was noted.
    pub async fn undo(&self) -> Result<()> {
        let undo = format!("{}/undo", self.folder);
        let command = Command::new(["sh", &undo, &self.folder]).deadline(UNDO_WITHIN);
        self.line.run(command).await?.ok().with_context(|| {
            format!("putting back what was changed on {}", self.line.destination)
        })?;
        Ok(())
    }

    /// Says whether everything is back in place, which the guard then need not see to.
    pub async fn mark_clean(&self, clean: bool) -> Result<()> {
        let script = if clean {
            r#": >"$1/clean""#
        } else {
            r#"rm -f "$1/clean""#
        };
        self.line
            .run(Command::shell(script, &[&self.folder]))
            .await?
            .ok()?;
        Ok(())
    }
}

#[async_trait]
impl Node for SshNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn addresses(&self) -> Addresses {
        self.addresses
    }

    fn suite(&self) -> &str {
        &self.suite
    }

    fn shell(&self) -> String {
        self.line.shell()
    }

    fn outlives_the_run(&self) -> bool {
        true
    }

    async fn run(&self, command: Command) -> Result<Output> {
        self.line.run(command).await
    }

    async fn at_end(&self, key: &str, command: Command) -> Result<()> {
        self.note("scenario", key, command).await
    }

    async fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let copy: String = path
            .chars()
            .map(|c| if c == '/' { '-' } else { c })
            .collect();
        let copy = format!("{}/kept{copy}", self.folder);
        // The first write of a run keeps what was there before it.
        let known = self
            .tasks
            .lock()
            .is_ok_and(|tasks| tasks.iter().any(|task| task == path));
        if !known {
            let kept = self
                .run(Command::shell(KEEP, &[path, &copy]))
                .await?
                .ok()?
                .text();
            let back = match kept.trim_end() {
                "was-there" => Command::shell(PUT_BACK, &[&copy, path]),
                made => Command::new(["rm", "-rf", "--", made]),
            };
            self.at_end(path, back)
                .await
                .with_context(|| format!("keeping {path}"))?;
        }
        let folder = Path::new(path)
            .parent()
            .and_then(Path::to_str)
            .unwrap_or("/");
        let length = bytes.len().to_string();
        let mode = format!("{mode:o}");
        let write = Command::shell(WRITE, &[folder, path, &mode, &length]);
        self.run(write.stdin(bytes)).await?.ok()?;
        Ok(())
    }
}
