//! Standard output.

use std::io::{ErrorKind, Write};

/// Prints text. A reader that has gone (`fmd-stack demo | head`) is no error and ends nothing.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        eprintln!("fmd-stack: writing to standard output: {error}");
    }
}

/// Prints a line.
pub fn say(line: &str) {
    out(&format!("{line}\n"));
}
