//! Which FMD Server a testbed is to run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::testbed::FmdServer;

/// The binary to run, unless it is the suite's own, and how reports name it.
pub fn fmd_server(choice: &FmdServer) -> Result<(Option<PathBuf>, String)> {
    match choice {
        FmdServer::Embedded => Ok((None, fmd_embedded::BUILD.to_owned())),
        FmdServer::Binary(path) => {
            check_program(path)?;
            Ok((
                Some(path.clone()),
                format!("FMD Server from {}", path.display()),
            ))
        }
        FmdServer::Image => anyhow::bail!(
            "this testbed runs no images: give the path of an FMD Server binary, \
             or use --testbed containers"
        ),
    }
}

fn check_program(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let meta = path
        .metadata()
        .with_context(|| format!("--fmd-server {}: no such program", path.display()))?;
    let executable = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
    ensure!(
        executable,
        "--fmd-server {}: not an executable file",
        path.display()
    );
    Ok(())
}
