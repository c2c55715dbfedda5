//! The testbed `vm` beyond its scenarios: bad surroundings, runs that share a machine, the parts of
//! the how-to for Debian that no scenario needs, and that nothing is left.
//!
//! Left out with a line saying why where there is no qemu, unless `FMD_STACK_REQUIRE_TESTBEDS` names
//! `vm`.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fmd_stack::testbed::overlay;
use fmd_stack::testbeds::vm::how_to;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::Signal;
use support::family::Kept;
use support::nixos::nixos;
use support::{said, suite};

const QEMU: &str = "qemu-system-x86_64";

/// A copy of it in another place.
const CERTIFICATE: [(&str, &str); 2] = [
    ("fullchain.pem", include_str!("support/https/fullchain.pem")),
    ("privkey.pem", include_str!("support/https/privkey.pem")),
];

fn main() {
    let mut arguments = Arguments::from_args();
    // Each may boot a machine, which takes a processor.
    arguments.test_threads = Some(1);
    let trials = match qemu() {
        Ok(qemu) => trials(qemu),
        Err(why) => {
            eprintln!("Testbed vm is left out: {why}");
            Vec::new()
        }
    };
    libtest_mimic::run(&arguments, trials).exit();
}

/// Where qemu is; with the testbed required it is missed later, by a test.
fn qemu() -> Result<PathBuf, String> {
    let required = std::env::var("FMD_STACK_REQUIRE_TESTBEDS").unwrap_or_default();
    match fmd_stack::rootfs::find(QEMU) {
        Some(path) => Ok(path),
        None if required.split(',').any(|name| name == "vm") => Ok(PathBuf::from(QEMU)),
        None => Err(format!("no {QEMU} on this machine")),
    }
}

fn trials(qemu: PathBuf) -> Vec<Trial> {
    vec![
        Trial::test("no_qemu", no_qemu),
        Trial::test("too_little_memory", too_little_memory),
        Trial::test("a_guest_that_does_not_boot", move || does_not_boot(&qemu)),
        Trial::test("a_service_that_does_not_start", service_that_does_not_start),
        Trial::test("a_nixos_tree", a_nixos_tree),
        Trial::test("shared_followed_and_gone", shared_followed_and_gone),
    ]
}

/// Exit status 2 and an error with these words.
fn unusable(output: &Output, words: &[&str]) -> Result<(), Failed> {
    let text = said(output);
    let missing: Vec<_> = words.iter().filter(|word| !text.contains(*word)).collect();
    if output.status.code() == Some(2) && missing.is_empty() {
        return Ok(());
    }
    Err(format!("not status 2, or without {missing:?}: {text}").into())
}

/// The suite in a mount namespace of its own, after this script.
fn after(script: &str, argument: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let script = format!(r#"{script}; shift; exec "$@""#);
    command.args(["--user", "--map-root-user", "--mount", "sh", "-euc"]);
    command.args([&script, "sh"]).arg(argument);
    command.arg(env!("CARGO_BIN_EXE_fmd-stack")).args(args);
    command
}

fn no_qemu() -> Result<(), Failed> {
    let hide = r#"while p=$(command -v "$1"); do mount --bind /dev/null "$p"; done"#;
    let output = after(hide, Path::new(QEMU), &["demo", "--testbed", "vm"]).output()?;
    unusable(
        &output,
        &[
            "no qemu-system-x86_64 on this machine",
            "apt-get install --no-install-recommends qemu-system-x86",
        ],
    )
}

/// Also sees to it that an earlier run's leftovers go.
fn too_little_memory() -> Result<(), Failed> {
    let left = std::env::temp_dir().join("fmd-stack-vm-4194305-left");
    fs::create_dir_all(&left)?;
    let file = tempfile::NamedTempFile::new()?;
    fs::write(
        file.path(),
        "MemTotal: 2097152 kB\nMemAvailable: 524288 kB\n",
    )?;
    let fake = r#"mount --bind "$1" /proc/meminfo"#;
    let output = after(fake, file.path(), &["test", "--testbed", "vm"]).output()?;
    unusable(
        &output,
        &["1024 MiB", "only 512 MiB are free here", "--jobs 1"],
    )?;
    ensure(!left.exists(), || format!("{} is left", left.display()))
}

/// qemu without the initrd: the kernel finds no root filesystem.
fn does_not_boot(qemu: &Path) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let broken = folder.path().join(QEMU);
    let nothing = folder.path().join("nothing");
    fs::write(&nothing, [0; 4096])?;
    let script = format!(
        "#!/bin/bash\nargs=()\nfor arg in \"$@\"; do\n  [ \"$arg\" = initrd ] && arg={}\n  \
         args+=(\"$arg\")\ndone\nexec {} \"${{args[@]}}\"\n",
        nothing.display(),
        qemu.display()
    );
    fs::write(&broken, script)?;
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let program = fresh_program(folder.path())?;
    let output = suite(&["demo", "--testbed", "vm", "--fmd-server", &program])
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .output()?;
    unusable(
        &output,
        &[
            "The machine's kernel died while it booted; once more.",
            "the machine does not boot",
            "The console's last lines:",
            "VFS: Unable to mount root fs",
        ],
    )
}

/// The shipped tree with one line that nginx refuses.
fn service_that_does_not_start() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    for (path, file) in overlay().iter() {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().ok_or("no folder")?)?;
        fs::write(path, &file.bytes)?;
    }
    let conf = folder.path().join("etc/nginx/fmd-stack/real-ip.conf");
    fs::write(conf, "nonsense;\n")?;
    let rendered = folder.path().to_str().ok_or("not UTF-8")?;
    let scenario = ["--scenario", "brute-force", "--rendered", rendered];
    let args = [&["test", "--testbed", "vm"][..], &scenario].concat();
    let output = suite(&args).output()?;
    unusable(
        &output,
        &[
            "the services do not come up",
            "nginx.service",
            "nonsense",
            "real-ip.conf",
        ],
    )
}

/// A configuration with store paths and units of NixOS' own.
fn a_nixos_tree() -> Result<(), Failed> {
    let folder = nixos();
    let rendered = folder.path().to_str().ok_or("not UTF-8")?;
    let scenario = ["--scenario", "brute-force", "--rendered", rendered];
    let output = suite(&[&["test", "--testbed", "vm"][..], &scenario].concat()).output()?;
    ensure(output.status.success(), || said(&output))
}

/// Two runs that need a machine which is in no cache yet.
fn shared_followed_and_gone() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let program = fresh_program(folder.path())?;
    let args = [
        "demo",
        "--keep",
        "--testbed",
        "vm",
        "--fmd-server",
        &program,
    ];
    let first = Kept::begin(&args);
    let second = Kept::begin(&args);
    let (first, second) = (first.up(), second.up());
    let said = format!("{}{}", first.errors(), second.errors());
    let times = |line| said.matches(line).count();
    ensure(times("Making the machine once") == 1, || {
        format!("not made once: {said}")
    })?;
    // Both say so if they begin at the same moment.
    ensure(times("Another run is making this machine") > 0, || {
        format!("nobody waited: {said}")
    })?;
    https(&first)?;
    beside_others(&first)?;
    removed(&first)?;
    first.end_by(Signal::SIGINT)?;
    second.end_by(Signal::SIGKILL)
}

/// The suite's own binary under another name: a machine with it is made anew.
fn fresh_program(folder: &Path) -> Result<String, Failed> {
    let program = folder.join("fmd-server");
    fs::copy(env!("CARGO_BIN_EXE_fmd-stack"), &program)?;
    Ok(program.to_str().ok_or("not UTF-8")?.to_owned())
}

/// Step 6 of the how-to, with a certificate that was there already.
fn https(kept: &Kept) -> Result<(), Failed> {
    kept.server("mkdir -p /etc/fmd-stack/tls", "")?;
    for (name, text) in CERTIFICATE {
        kept.server(&format!("cat >/etc/fmd-stack/tls/{name}"), text)?;
    }
    kept.server("sh -eu", &how_to("https"))?;
    asked(
        kept,
        r#"
expect(https, "/", "203.0.113.1", "200 fmd stub")
expect(plain, "/a?b", "203.0.113.1", "301 https://203.0.113.1/a?b")
"#,
    )
}

/// FMD Server beside Debian's own site, which stands for others: each name gets its own.
fn beside_others(kept: &Kept) -> Result<(), Failed> {
    // What the how-to has the reader take out of the folder before it is copied.
    let without_ours = "cd /etc/nginx; cp --archive nginx.conf.before-fmd-stack nginx.conf; \
        rm conf.d/fmd-stack.conf; systemctl reload nginx";
    kept.server(without_ours, "")?;
    kept.server("sh -eu", &how_to("beside-others"))?;
    asked(
        kept,
        r#"
expect(https, "/", "fmd.example.org", "200 fmd stub")
expect(plain, "/a?b", "fmd.example.org", "301 https://fmd.example.org/a?b")
expect(plain, "/", "203.0.113.1", "200 Welcome to nginx!")
"#,
    )
}

/// Asks until it is answered as it should be, or too late for it: a reload returns before it is done.
/// The new workers take some time to listen, and the old ones serve for a moment longer.
const ASK: &str = r#"
import http.client, re, ssl, time
untrusted = ssl._create_unverified_context()
end = time.monotonic() + 20

def plain():
    return http.client.HTTPConnection("203.0.113.1", timeout=20)

def https():
    return http.client.HTTPSConnection("203.0.113.1", timeout=20, context=untrusted)

def ask(connection, path, host):
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    title = re.search("<title>(.*?)</title>", answer.read().decode(errors="replace"))
    location = answer.getheader("Location")
    return f"{answer.status} {location or title and title[1]}"

def expect(connect, path, host, wanted):
    while True:
        try:
            got = ask(connect(), path, host)
        except OSError as error:
            got = error
        if got == wanted or time.monotonic() > end:
            break
        time.sleep(0.1)
    if got != wanted:
        print(f"{connect.__name__} {host}{path}: {got}, not {wanted}")
"#;

/// What the bystander is not answered as it should be; `asks` are calls of `expect`.
fn asked(kept: &Kept, asks: &str) -> Result<(), Failed> {
    let wrong = kept.bystander(&format!("{ASK}{asks}"))?;
    ensure(wrong.is_empty(), || wrong.clone())
}

/// The how-to's last step: nothing of the stack is left, and Debian's own services run.
fn removed(kept: &Kept) -> Result<(), Failed> {
    kept.server("sh -eu", &how_to("remove"))?;
    let restored = ["etc/nginx/nginx.conf"];
    let tree = overlay();
    let shipped: Vec<_> = tree
        .iter()
        .map(|(path, _)| path)
        .filter(|path| !restored.contains(path))
        .map(|path| format!("/{path}\n"))
        .collect();
    let left = kept.server(
        "while read -r file; do if [ -e \"$file\" ]; then echo \"$file\"; fi; done",
        &shipped.concat(),
    )?;
    ensure(left.is_empty(), || format!("left on the server: {left}"))?;
    let states = kept.server("systemctl is-active nginx fail2ban nftables", "")?;
    ensure(states == "active\nactive\nactive\n", || {
        format!("nginx, fail2ban and nftables are: {states}")
    })?;
    let sites = kept.server("nginx -T 2>&1 | grep -c sites-enabled || true", "")?;
    ensure(sites.trim() != "0", || {
        "nginx.conf is not Debian's again".to_owned()
    })
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(why().into()) }
}
