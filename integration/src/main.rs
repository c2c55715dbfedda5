//! The program `fmd-stack`; under the name `fmd-server` or `fmd-embedded` it is the embedded FMD
//! Server, so that one file is all a node needs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use fmd_stack::testbeds::containers::janitor;
use fmd_stack::testbeds::containers::session::agent;
use fmd_stack::testbeds::vm;
use fmd_stack::{cli, sandbox};

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let program = Path::new(&program)
        .file_name()
        .and_then(OsStr::to_str)
        .unwrap_or_default();
    if matches!(program, "fmd-server" | "fmd-embedded") {
        return fmd_embedded::main(std::env::args_os());
    }
    // A sandbox has to be opened before the runtime starts its threads.
    match args.next().as_deref().and_then(OsStr::to_str) {
        Some(sandbox::OPENER) => sandbox::opener_main(),
        Some(sandbox::INIT) => sandbox::init_main(),
        Some(vm::KEEPER) => vm::keeper_main(),
        Some(vm::WIRE) => vm::wire_main(),
        Some(agent::AGENT) => agent::main(),
        Some(janitor::JANITOR) => janitor::main(&args.next().unwrap_or_default().to_string_lossy()),
        _ => cli::main(),
    }
}
