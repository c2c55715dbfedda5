//! Where settings stand: flags, variables and files.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_yaml::Value;

use super::Flags;
use super::value;
use crate::log::Event;

/// The directory of the packaged configuration.
const ETC: &str = "/etc/fmd-server";
/// What the names of variables start with.
const PREFIX: &str = "FMD_";
/// Variables with this prefix belong to the suite that links this server.
const SUITE_PREFIX: &str = "FMD_STACK_";

/// The process's variables, handed in so that tests can choose them.
pub type Environment = HashMap<OsString, OsString>;

/// All places, strongest first.
pub struct Source {
    places: Vec<Place>,
}

struct Place {
    origin: Origin,
    /// By lower-case key: upstream's library ignores the case of keys.
    values: HashMap<String, Value>,
}

#[derive(Clone, Debug)]
enum Origin {
    Flags,
    Environment,
    File(PathBuf),
}

/// A value, and where it was found.
pub struct Found<'a> {
    key: &'static str,
    origin: &'a Origin,
    value: &'a Value,
}

impl Source {
    /// Reads all places, with remarks on the files used and on unknown keys.
    pub fn read(
        flags: &Flags,
        environment: &Environment,
        keys: &[&'static str],
    ) -> Result<(Self, Vec<Event>)> {
        let mut remarks = Vec::new();
        let mut places = vec![
            from_flags(flags),
            from_environment(environment, keys, &mut remarks)?,
        ];
        let files = files(flags, Path::new(ETC));
        match files.last() {
            Some(main) => remarks.push(
                Event::info("using config").text("configFile", main.to_string_lossy().as_bytes()),
            ),
            None => remarks.push(Event::warn("no config found, using defaults")),
        }
        for file in files {
            places.push(from_file(file, keys, &mut remarks)?);
        }
        Ok((Source { places }, remarks))
    }

    /// The strongest value of a key; an empty `key:` counts as not set.
    pub fn find(&self, key: &'static str) -> Option<Found<'_>> {
        let lower = key.to_lowercase();
        self.places.iter().find_map(|place| {
            let value = place.values.get(&lower).filter(|value| !value.is_null())?;
            Some(Found {
                key,
                origin: &place.origin,
                value,
            })
        })
    }
}

impl Found<'_> {
    /// The value as text; whole numbers and booleans count as their spelling.
    ///
    /// # Errors
    /// A list or a map, named with file and key.
    pub fn text(&self) -> Result<String> {
        value::text(self.value).ok_or_else(|| self.malformed("text"))
    }

    /// The value as a whole number, in Go's spellings (`0660`, `0o660`, `432`).
    ///
    /// # Errors
    /// Anything else, named with file, key and value.
    pub fn integer(&self) -> Result<i64> {
        value::integer(self.value).ok_or_else(|| self.malformed("a whole number"))
    }

    /// The error for a value that isn't what it should be.
    pub fn malformed(&self, wanted: &str) -> anyhow::Error {
        anyhow!("{}: must be {wanted}", self.described())
    }

    /// `FILE: KEY: VALUE`, without the value of a secret.
    pub fn described(&self) -> String {
        let shown = match self.key {
            "RegistrationToken" => value::kind(self.value).to_owned(),
            _ => value::shown(self.value),
        };
        match self.origin {
            Origin::Flags => format!("command line: {}: {shown}", self.key),
            Origin::Environment => format!("variable {}={shown}", variable(self.key)),
            Origin::File(file) => format!("{}: {}: {shown}", file.display(), self.key),
        }
    }
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase())
}

fn from_flags(flags: &Flags) -> Place {
    let given = [("databasedir", &flags.db_dir), ("webdir", &flags.web_dir)];
    let values = given
        .into_iter()
        .filter_map(|(key, path)| {
            let path = path.as_ref()?.to_string_lossy().into_owned();
            Some((key.to_owned(), Value::String(path)))
        })
        .collect();
    Place {
        origin: Origin::Flags,
        values,
    }
}

fn from_environment(
    environment: &Environment,
    keys: &[&'static str],
    remarks: &mut Vec<Event>,
) -> Result<Place> {
    let mut values = HashMap::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let Some(key) = keys.iter().find(|key| variable(key) == name) else {
            if !name.starts_with(SUITE_PREFIX) {
                remarks.push(Event::warn("unknown variable, ignoring it").text("variable", name));
            }
            continue;
        };
        let value = value
            .to_str()
            .with_context(|| format!("variable {name}: its value is not UTF-8"))?;
        // Upstream takes an empty variable for one that isn't set.
        if !value.is_empty() {
            values.insert(key.to_lowercase(), Value::String(value.to_owned()));
        }
    }
    Ok(Place {
        origin: Origin::Environment,
        values,
    })
}

/// The files to read, strongest first. `local.yml` overrides the packaged
/// `config.yml` beside it, and no other file.
fn files(flags: &Flags, etc: &Path) -> Vec<PathBuf> {
    let packaged = existing(etc, "config");
    let main = match &flags.config {
        Some(file) => Some(file.clone()),
        None => packaged
            .clone()
            .or_else(|| existing(Path::new("."), "config")),
    };
    let local = match main.is_some() && main == packaged {
        true => existing(etc, "local"),
        false => None,
    };
    local.into_iter().chain(main).collect()
}

fn existing(dir: &Path, stem: &str) -> Option<PathBuf> {
    ["yml", "yaml"]
        .into_iter()
        .map(|extension| dir.join(stem).with_extension(extension))
        .find(|file| file.exists())
}

fn from_file(file: PathBuf, keys: &[&'static str], remarks: &mut Vec<Event>) -> Result<Place> {
    let text = fs::read_to_string(&file)
        .with_context(|| format!("{}: cannot read the configuration", file.display()))?;
    let parsed: Value = serde_yaml::from_str(&text)
        .with_context(|| format!("{}: not valid YAML", file.display()))?;
    let mapping = match parsed {
        Value::Null => serde_yaml::Mapping::new(),
        Value::Mapping(mapping) => mapping,
        other => bail!(
            "{}: must be lines of `Key: value`, not {}",
            file.display(),
            value::kind(&other)
        ),
    };
    let mut values = HashMap::new();
    for (key, value) in mapping {
        let key = value::text(&key).unwrap_or_else(|| value::shown(&key));
        if !keys.iter().any(|known| known.eq_ignore_ascii_case(&key)) {
            remarks.push(
                Event::warn("unknown key, ignoring it")
                    .text("key", &key)
                    .text("configFile", file.to_string_lossy().as_bytes()),
            );
        }
        if values.insert(key.to_lowercase(), value).is_some() {
            bail!("{}: {key} is set twice", file.display());
        }
    }
    Ok(Place {
        origin: Origin::File(file),
        values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_yml_overrides_the_packaged_file_and_no_other() {
        let etc = tempfile::tempdir().unwrap();
        let file = |name: &str| etc.path().join(name);
        for name in ["config.yml", "local.yml", "other.yml"] {
            fs::write(file(name), "").unwrap();
        }
        let asked = |config: Option<PathBuf>| {
            let flags = Flags {
                config,
                ..Flags::default()
            };
            files(&flags, etc.path())
        };
        let both = vec![file("local.yml"), file("config.yml")];
        assert_eq!(asked(None), both);
        assert_eq!(asked(Some(file("config.yml"))), both);
        assert_eq!(asked(Some(file("other.yml"))), [file("other.yml")]);
        fs::remove_file(file("local.yml")).unwrap();
        assert_eq!(asked(None), [file("config.yml")]);
    }
}
