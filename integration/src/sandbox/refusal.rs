//! Why this kernel refuses user namespaces, and what to do about it.

use anyhow::anyhow;

/// A setting that forbids unprivileged user namespaces: its file, the value that forbids, the
/// sysctl line that allows.
const SETTINGS: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user.max_user_namespaces=15000",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

/// An error that names the setting behind a refused `unshare`.
pub fn explain(errno: i32) -> anyhow::Error {
    let cause = nix::errno::Errno::from_raw(errno);
    for (file, forbids, allow) in SETTINGS {
        let value = std::fs::read_to_string(file).unwrap_or_default();
        if value.trim() == forbids {
            return anyhow!(
                "user namespaces are forbidden here ({cause}): {file} is {forbids}. \
                 Allow them with `sudo sysctl -w {allow}`, or use another testbed (--testbed)."
            );
        }
    }
    anyhow!(
        "user namespaces are refused here ({cause}), though no sysctl says so. Inside a container \
         its seccomp profile forbids them: start it with `--security-opt seccomp=unconfined`, or \
         use another testbed (--testbed)."
    )
}
