//! Configuration files as data: the overlay tree, a rendered tree, and changes to either.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rust_embed::RustEmbed;
use serde::{Deserialize, Serialize};

/// `containers/rootfs`, compiled in: the binary alone is enough to run the suite.
#[derive(RustEmbed)]
#[folder = "../containers/rootfs"]
struct Shipped;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// Files by their path without a leading `/`, such as `etc/nginx/nginx.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTree(BTreeMap<String, File>);

/// The overlay tree as it is shipped.
pub fn overlay() -> FileTree {
    let mut tree = FileTree::default();
    for path in Shipped::iter() {
        if let Some(file) = Shipped::get(&path) {
            tree.insert(&path, &file.data);
        }
    }
    tree
}

impl FileTree {
    /// Adds or overwrites a file. A script (first line `#!`) becomes executable.
    pub fn insert(&mut self, path: &str, bytes: &[u8]) {
        let mode = if bytes.starts_with(b"#!") {
            0o755
        } else {
            0o644
        };
        let path = path.trim_start_matches('/').to_owned();
        self.0.insert(
            path,
            File {
                bytes: bytes.to_vec(),
                mode,
            },
        );
    }

    /// Adds every file of `other`, overwriting where both have one.
    pub fn extend(&mut self, other: FileTree) {
        self.0.extend(other.0);
    }

    /// Takes a file out.
    pub fn remove(&mut self, path: &str) {
        self.0.remove(path);
    }

    /// A file of the tree.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.0.get(path)
    }

    /// A file of the tree as text.
    pub fn text(&self, path: &str) -> Result<String> {
        let file = self
            .get(path)
            .with_context(|| format!("no file {path} in the configuration"))?;
        String::from_utf8(file.bytes.clone()).with_context(|| format!("{path} is not UTF-8"))
    }

    /// All files, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &File)> {
        self.0.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
