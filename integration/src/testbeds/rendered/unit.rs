//! Units as rendered: what starts a service, as whom, with which folders.

use anyhow::{Context, Result, ensure};

use crate::testbed::{FileTree, Folder, Service, Unit};

/// Where units stand in a tree.
pub const FOLDER: &str = "etc/systemd/system/";

/// The settings that [`parse`] reads, apart from the folders and their modes.
const READ: [&str; 5] = [
    "ExecStart",
    "User",
    "Group",
    "SupplementaryGroups",
    "Environment",
];

/// Folders that systemd makes, and where.
const FOLDERS: [(&str, &str); 4] = [
    ("RuntimeDirectory", "/run"),
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
];

/// Whether a line of a unit matters here. NixOS' units name many packages in others: what restarts
/// them, their PATH (the testbed has its own), the programs that reload them.
pub fn is_read(line: &str) -> bool {
    let Some((key, value)) = line.split_once('=') else {
        // The rest of a line that goes on.
        return true;
    };
    let key = key.trim();
    (READ.contains(&key) || FOLDERS.iter().any(|(folder, _)| key.starts_with(folder)))
        && !is_search_path(value.trim().trim_start_matches(['"', '\'']))
}

fn is_search_path(variable: &str) -> bool {
    variable.starts_with("PATH=")
}

/// Reads the units of the stack, and takes them out of the files: the testbed has no systemd.
pub fn all(files: &mut FileTree) -> Result<Vec<(Service, Unit)>> {
    let mut units = Vec::new();
    for service in [Service::FmdServer, Service::Nginx, Service::Fail2ban] {
        let path = format!("{FOLDER}{service}.service");
        if files.get(&path).is_some() {
            let unit = parse(&files.text(&path)?).with_context(|| path.clone())?;
            units.push((service, unit));
            files.remove(&path);
        }
    }
    Ok(units)
}

fn parse(text: &str) -> Result<Unit> {
    // A backslash at the end of a line joins it with the next (systemd.syntax(7)).
    let text = text.replace("\\\n", " ");
    let lines = text.lines().map(str::trim);
    let settings: Vec<_> = lines
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    // An empty value takes back those before it.
    let all = |key: &str| {
        let mut values = Vec::new();
        for (_, value) in settings.iter().filter(|(name, _)| *name == key) {
            match value.is_empty() {
                true => values.clear(),
                false => values.push(*value),
            }
        }
        values
    };
    let last = |key: &str| all(key).last().map(|&value| value.to_owned());
    let words =
        |key: &str| -> Vec<String> { all(key).iter().flat_map(|value| split(value)).collect() };
    let exec = last("ExecStart").context("no ExecStart")?;
    let argv = split(exec.trim_start_matches(['-', '@', ':', '+', '!']));
    ensure!(!argv.is_empty(), "ExecStart is empty");
    let mut folders = Vec::new();
    for (key, below) in FOLDERS {
        let mode = last(&format!("{key}Mode")).unwrap_or_else(|| "0755".to_owned());
        for name in words(key) {
            let path = format!("{below}/{}", name.split(':').next().unwrap_or(&name));
            folders.push(Folder {
                path,
                mode: mode.clone(),
            });
        }
    }
    let mut environment = words("Environment");
    environment.retain(|variable| !is_search_path(variable));
    Ok(Unit {
        argv,
        user: last("User"),
        group: last("Group"),
        groups: words("SupplementaryGroups"),
        environment,
        folders,
    })
}

/// Words as systemd splits them: at blanks, but for what stands in quotes.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_starts_a_service() {
        let unit = parse(
            "[Service]\nEnvironment=\"PATH=/nix/store/x/bin\"\nEnvironment=\"LOCALE=de DE\"\nEnvironment=\"NO_COLOR=1\"\nExecStart=/old\nExecStart=\n\
             ExecStart=-/usr/sbin/nginx -c '/etc/nginx/nginx.conf'\nUser=nginx\nSupplementaryGroups=fmd-server\n\
             RuntimeDirectory=nginx\nRuntimeDirectoryMode=0750\n",
        )
        .unwrap();
        assert_eq!(
            unit.argv,
            ["/usr/sbin/nginx", "-c", "/etc/nginx/nginx.conf"]
        );
        assert_eq!(unit.environment, ["LOCALE=de DE", "NO_COLOR=1"]);
        assert_eq!((unit.user.as_deref(), unit.group), (Some("nginx"), None));
        assert_eq!(unit.groups, ["fmd-server"]);
        assert_eq!(unit.folders[0].path, "/run/nginx");
        assert_eq!(unit.folders[0].mode, "0750");
        assert!(parse("[Service]\n").is_err());
    }

    #[test]
    fn most_lines_of_a_unit_say_nothing_here() {
        for line in ["ExecStart=/x", "User=nginx", "StateDirectoryMode=0700"] {
            assert!(is_read(line), "{line}");
        }
        for line in [
            "X-Restart-Triggers=/nix/store/x",
            "Environment=\"PATH=/nix/store/x/bin\"",
            "ExecStartPre=/nix/store/x",
            "ExecReload=/nix/store/x -t",
        ] {
            assert!(!is_read(line), "{line}");
        }
    }
}
