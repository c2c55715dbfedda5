//! A session of the PyPI client `fmd-api`, in every pinned version of it
//! (`tests/fmd_api/requirements-*.txt`), each in a virtual environment below
//! the target directory.
//!
//! Ignored by default because it needs PyPI; CI runs it with `--ignored`. It
//! never skips: what can't be installed is a failure.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::TestServer;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fmd_api")
}

fn requirements() -> Vec<PathBuf> {
    let files = fs::read_dir(dir())
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; is Python there?"));
    let (stdout, stderr) = (&output.stdout, &output.stderr);
    let (stdout, stderr) = (
        String::from_utf8_lossy(stdout),
        String::from_utf8_lossy(stderr),
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}{stderr}",
        output.status
    );
    stdout.into_owned()
}

/// The interpreter of an environment with exactly these requirements.
fn environment(requirements: &Path) -> PathBuf {
    let name = requirements.file_stem().unwrap();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("fmd-api")
        .join(name);
    let python = dir.join("bin/python");
    let installed = dir.join("installed.txt");
    let wanted = fs::read(requirements).unwrap();
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&dir));
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(requirements));
    fs::write(installed, wanted).unwrap();
    python
}

#[test]
#[ignore = "installs fmd-api from PyPI; run with --ignored"]
fn fmd_api_logs_in_reads_locations_and_sends_a_command() {
    let all = requirements();
    assert!(!all.is_empty());
    for requirements in all {
        let python = environment(&requirements);
        let server = TestServer::start("");
        let url = format!("http://{}", server.address);
        let said = run(Command::new(python).arg(dir().join("session.py")).arg(&url));
        println!("{}: {said}", requirements.display());
        let lines = server.syslog.drain();
        let failed = lines.iter().any(|line| line.contains("login attempt"));
        assert!(!failed, "{lines:?}");
    }
}
