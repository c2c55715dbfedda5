use std::process::ExitCode;

fn main() -> ExitCode {
    fmd_embedded::main(std::env::args_os())
}
