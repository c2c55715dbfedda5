//! The engine as the tests look at it: with its own program.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::support::kept::Kept;
use crate::support::said;

/// The promise is 3 s, and a benchmark measures it (docs/explanation/figures.md). A test that runs
/// beside others only makes sure that it is not out of all proportion.
pub const WITHIN: Duration = Duration::from_secs(15);

/// Whether `FMD_STACK_REQUIRE_TESTBEDS` asks for this.
pub fn is_required(name: &str) -> bool {
    let required = std::env::var("FMD_STACK_REQUIRE_TESTBEDS").unwrap_or_default();
    required.split(',').any(|required| required == name)
}

/// Whether what needs an engine is to be tested: one answers, or the caller requires one.
pub fn is_to_be_tested() -> bool {
    if is_required("containers") {
        return true;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answers = runtime.block_on(fmd_stack::testbeds::containers::check());
    if let Err(why) = &answers {
        eprintln!("What needs a container engine is left out: {why:#}");
    }
    answers.is_ok()
}

/// Runs `docker` and returns what it prints.
#[track_caller]
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output();
    let output = output.expect("these tests look at the engine with the program `docker`");
    assert!(
        output.status.success(),
        "docker {}: {}",
        args.join(" "),
        said(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What a process has made in the engine and is still there.
pub fn left_by(pid: u32) -> Vec<String> {
    let mut left = Vec::new();
    for (list, name) in [
        (&["ps", "--all"][..], "{{.Names}}"),
        (&["network", "ls"], "{{.Name}}"),
        (&["volume", "ls"], "{{.Name}}"),
    ] {
        let format = format!("{{{{.Label \"fmd-stack.owner\"}}}} {name}");
        let filter = ["--filter", "label=fmd-stack.owner", "--format", &format];
        let all = docker(&[list, &filter].concat());
        // The label ends in the process's number, its start time and here the name.
        let made_by = |line: &&str| line.rsplit(' ').nth(2) == Some(&pid.to_string());
        left.extend(all.lines().filter(made_by).map(str::to_owned));
    }
    left
}

/// Fails unless everything that a process made in the engine is gone.
#[track_caller]
pub fn assert_nothing_left(pid: u32) {
    let left = left_by(pid);
    assert!(left.is_empty(), "left behind: {left:?}");
    // Another test may end a build, whose last step is removed a moment later.
    let end = Instant::now() + WITHIN;
    while !anonymous_while_nothing_is_built().is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
    }
    let images = anonymous_while_nothing_is_built();
    assert!(
        images.is_empty(),
        "images without a name were left: {images}"
    );
}

/// A build under way has steps without a name.
#[track_caller]
fn anonymous_while_nothing_is_built() -> String {
    let path = fmd_stack::rootfs::folder().unwrap().join("images.lock");
    let file = File::create(path).unwrap();
    let _lock = Flock::lock(file, FlockArg::LockExclusive).unwrap();
    anonymous()
}

/// The images without a name that the suite's builds have left, or are about to name.
#[track_caller]
pub fn anonymous() -> String {
    let list = ["images", "--quiet", "--filter", "dangling=true"];
    let cache = fmd_stack::rootfs::folder().unwrap();
    let built = format!("label=fmd-stack.built={}", cache.display());
    docker(&[&list[..], &["--filter", &built]].concat())
}

/// The image that a service of a demo runs from.
#[track_caller]
pub fn image_of(demo: &Kept, service: &str) -> String {
    let made = left_by(demo.pid());
    let mut names = made.iter().filter_map(|line| line.rsplit(' ').next());
    let container = names.find(|name| name.ends_with(&format!("-{service}")));
    let container = container.expect("the service's container");
    let image = docker(&["inspect", "--format", "{{.Config.Image}}", container]);
    image.trim().to_owned()
}
