//! `containers/` as a run uses it: the compose file, the Containerfiles and what they copy, with the
//! run's configuration in place of the shipped one.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use super::owner::Owner;
use crate::rootfs;
use crate::testbed::{File, FileTree};

/// Compiles in what the patterns name, which a test then tries on other names.
macro_rules! shipped {
    ($($pattern:tt),* $(,)?) => {
        /// What is shipped of `containers/`: the binary alone is enough to run the suite.
        #[derive(RustEmbed)]
        #[folder = "../containers"]
        $(#[include = $pattern])*
        struct Shipped;

        #[cfg(test)]
        const PATTERNS: &[&str] = &[$($pattern),*];
    };
}

// Named one by one: an operator's `.env` and `tls/` are there too, with a token and a key in them.
shipped![
    "compose.yaml",
    "compose.host-journal.yaml",
    ".dockerignore",
    ".env.example",
    "rootfs/etc/**",
    "rootfs/usr/**",
    "nginx/**",
    "journal/**",
    "fail2ban/**",
    "fmd-embedded/Containerfile",
];

/// Where the overlay tree lies in `containers/`.
pub const ROOTFS: &str = "rootfs/";

/// The folder of a run begins with this, and ends with the run's name.
const FOLDER: &str = "fmd-stack-run-";

/// In a run's folder: whose it is.
const OWNER_FILE: &str = "owner";

/// The compose file and everything it refers to by a relative path.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// How errors name the compose file.
    pub name: String,
    /// The compose file's text.
    pub compose: String,
    files: FileTree,
}

impl Bundle {
    /// The bundle that this binary was built with.
    pub fn shipped() -> Result<Self> {
        let mut files = FileTree::default();
        for path in Shipped::iter() {
            if let Some(file) = Shipped::get(&path) {
                files.insert(&path, &file.data);
            }
        }
        let compose = files.text("compose.yaml")?;
        Ok(Self {
            name: "containers/compose.yaml".to_owned(),
            compose,
            files,
        })
    }

    /// The shipped bundle with another compose file.
    pub fn with_compose_file(path: &Path) -> Result<Self> {
        let compose = fs::read_to_string(path)
            .with_context(|| format!("reading the compose file {}", path.display()))?;
        Ok(Self {
            name: path.display().to_string(),
            compose,
            ..Self::shipped()?
        })
    }

    /// A file of the bundle as text, such as a Containerfile.
    pub fn text(&self, path: &str) -> Result<String> {
        self.files
            .text(path)
            .with_context(|| format!("{} refers to it", self.name))
    }

    /// The overlay tree as the images carry it.
    pub fn overlay(&self) -> BTreeMap<&str, &File> {
        self.files
            .iter()
            .filter_map(|(path, file)| Some((path.strip_prefix(ROOTFS)?, file)))
            .collect()
    }

    /// The folders of the overlay that a Containerfile copies into its image, and where to.
    pub fn copied(&self, containerfile: &str) -> Result<Vec<(String, String)>> {
        let text = self.text(containerfile)?;
        let copies = text.lines().filter_map(|line| {
            let mut words = line.strip_prefix("COPY ")?.split_whitespace();
            let (source, target) = (words.next()?, words.next()?);
            Some((source.strip_prefix(ROOTFS)?.to_owned(), target.to_owned()))
        });
        Ok(copies.collect())
    }

    /// A build context as a tar archive: all of the bundle, or what a Containerfile copies.
    pub fn context(&self) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, file) in self.files.iter() {
            append(&mut tar, path, file.mode, &file.bytes)?;
        }
        tar.into_inner().context("writing a build context")
    }

    /// A short hash of all that goes into the images.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for (path, file) in self.files.iter() {
            hash.update(path.as_bytes());
            hash.update([0]);
            hash.update(file.mode.to_le_bytes());
            hash.update(&file.bytes);
            hash.update([0]);
        }
        rootfs::short(hash)
    }
}

/// Adds a file to an archive, always with the same bytes for the same content.
pub fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_cksum();
    tar.append_data(&mut header, path, bytes)
        .with_context(|| format!("adding {path} to an archive"))
}

/// A short hash of these in this order.
pub fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    rootfs::short(hash)
}

/// A run's folder on this machine: what `./` means in the compose file.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
}

impl Project {
    /// Makes the folder of a run, with its configuration in `rootfs/`.
    ///
    /// # Errors
    /// The temporary folder can't be written to, for example because its disk is full; nothing
    /// half-made is left.
    pub fn create(run: &str, files: &FileTree) -> Result<Self> {
        let project = Self {
            folder: folder(run),
        };
        let place = || format!("making {}", project.folder.display());
        fs::create_dir(&project.folder).with_context(place)?;
        // The engine's containers run as other users.
        fs::set_permissions(&project.folder, fs::Permissions::from_mode(0o755))
            .with_context(place)?;
        project.write(OWNER_FILE, Owner::this()?.label().as_bytes(), 0o644)?;
        for (path, file) in files.iter() {
            project.write(&format!("{ROOTFS}{path}"), &file.bytes, file.mode)?;
        }
        Ok(project)
    }

    /// Writes a file of the folder.
    pub fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.folder.join(path);
        let place = || format!("writing {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(place)?;
        }
        fs::write(&path, bytes).with_context(place)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).with_context(place)
    }

    /// What a path of the compose file means on this machine; a missing one becomes a folder.
    pub fn resolve(&self, path: &str) -> Result<String> {
        let path = self.folder.join(path.strip_prefix("./").unwrap_or(path));
        if !path.exists() {
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        Ok(path.to_string_lossy().into_owned())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn folder(run: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{FOLDER}{run}"))
}

/// Removes the folder of a run.
pub fn remove(run: &str) {
    let _ = fs::remove_dir_all(folder(run));
}

/// Removes the folders that a process made.
pub fn remove_all(owner: &Owner) {
    for (path, found) in folders().unwrap_or_default() {
        if found == *owner {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Removes the folders of processes that are gone. One that another run removes at this moment, or
/// that belongs to another user, is not this run's to complain of.
pub fn sweep(here: &Owner) -> Result<()> {
    for (path, owner) in folders()? {
        if !owner.is_gone(here) {
            continue;
        }
        match fs::remove_dir_all(&path) {
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::PermissionDenied
                ) =>
            {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The folders of runs and whose they are.
fn folders() -> Result<Vec<(PathBuf, Owner)>> {
    let parent = std::env::temp_dir();
    let entries = fs::read_dir(&parent).with_context(|| format!("reading {}", parent.display()))?;
    let ours = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(FOLDER));
    Ok(ours
        .filter_map(|entry| {
            let label = fs::read_to_string(entry.path().join(OWNER_FILE)).ok()?;
            Some((entry.path(), Owner::parse(&label)?))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_an_operator_is_compiled_in() {
        let patterns = rust_embed::utils::PathMatcher::new(PATTERNS, &[]);
        assert!(patterns.is_path_included("compose.yaml"));
        let theirs = [
            ".env",
            "tls/privkey.pem",
            "compose.override.yaml",
            "jail.local",
            "local.yml",
            "fmd-embedded/db/fmd-embedded.sqlite",
        ];
        for path in theirs {
            assert!(!patterns.is_path_included(path), "{path}");
        }
    }

    #[test]
    fn what_is_shipped_is_compiled_in() {
        let bundle = Bundle::shipped().unwrap();
        for name in ["nginx", "journal", "fail2ban", "fmd-embedded"] {
            bundle.text(&format!("{name}/Containerfile")).unwrap();
        }
        let rootfs = crate::testbed::overlay();
        assert_eq!(bundle.overlay().len(), rootfs.iter().count());
        let others: Vec<_> = Shipped::iter()
            .filter(|path| path.starts_with("fmd-embedded/") || path.ends_with(".pem"))
            .collect();
        assert_eq!(others, ["fmd-embedded/Containerfile"]);
    }
}
