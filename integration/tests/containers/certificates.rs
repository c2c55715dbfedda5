//! A certificate that can't be used: nginx must not fall back to plain HTTP.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::engine::image_of;
use crate::support::kept::Kept;
use crate::support::said;

const CHAIN: &str = include_str!("../support/https/fullchain.pem");
const KEY: &str = include_str!("../support/https/privkey.pem");

/// What makes a folder unusable, and the words in which that is said.
type Case = (fn(&Path), &'static str);

const CASES: [Case; 6] = [
    (closed_folder, "can't be entered by uid 33"),
    (
        links_that_lead_nowhere,
        "is a link to ../../archive/fullchain1.pem",
    ),
    (
        |tls| put(tls, "fullchain.pem", CHAIN),
        "privkey.pem is missing",
    ),
    (
        |tls| put(tls, "privkey.pem", KEY),
        "fullchain.pem is missing",
    ),
    (closed_key, "privkey.pem can't be read by uid 33"),
    (
        |tls| put(tls, "cert.pem", CHAIN),
        "holds cert.pem but neither",
    ),
];

pub fn unusable_ones_are_refused() {
    let demo = Kept::start("containers");
    let image = image_of(&demo, "nginx");
    for (spoil, words) in CASES {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        spoil(dir.path());
        let (success, text) = start_nginx(&image, dir.path(), &[]);
        assert!(
            !success && text.contains(words),
            "{words:?} is not in: {text}"
        );
    }
    // The engine makes a folder that is missing.
    let empty = tempfile::tempdir().unwrap();
    fs::set_permissions(empty.path(), Permissions::from_mode(0o755)).unwrap();
    let named = ["--env", "FMD_TLS_DIR=/srv/tsl"];
    let (success, text) = start_nginx(&image, empty.path(), &named);
    assert!(
        !success && text.contains("FMD_TLS_DIR=/srv/tsl is empty"),
        "{text}"
    );
}

/// Starts the image as the compose file does; it ends before nginx could miss the other services.
fn start_nginx(image: &str, tls: &Path, more: &[&str]) -> (bool, String) {
    let mount = format!("{}:/etc/fmd-stack/tls:ro", tls.display());
    let output = Command::new("docker")
        .args([
            "run",
            "--rm",
            "--read-only",
            "--user=33:65532",
            "--network=none",
        ])
        .args([
            "--tmpfs=/run:mode=1777",
            "--tmpfs=/run/nginx-namespace:mode=1777",
        ])
        .args(["--cap-drop=ALL", "--volume", &mount])
        .args(more)
        .arg(image)
        .output()
        .unwrap();
    (output.status.success(), said(&output))
}

fn put(tls: &Path, name: &str, text: &str) {
    fs::write(tls.join(name), text).unwrap();
    fs::set_permissions(tls.join(name), Permissions::from_mode(0o644)).unwrap();
}

fn both(tls: &Path) {
    put(tls, "fullchain.pem", CHAIN);
    put(tls, "privkey.pem", KEY);
}

fn closed_folder(tls: &Path) {
    both(tls);
    fs::set_permissions(tls, Permissions::from_mode(0o700)).unwrap();
}

fn closed_key(tls: &Path) {
    both(tls);
    fs::set_permissions(tls.join("privkey.pem"), Permissions::from_mode(0o600)).unwrap();
}

/// certbot's `live/` mounted by itself: its files are links into a folder beside it.
fn links_that_lead_nowhere(tls: &Path) {
    for name in ["fullchain", "privkey"] {
        let target = format!("../../archive/{name}1.pem");
        symlink(target, tls.join(format!("{name}.pem"))).unwrap();
    }
}
