//! The program: see `purrr_server::cli`.

// Part of the binary, since the library forbids unsafe code.
#[path = "cli/malloc_trim.rs"]
mod malloc_trim;

use std::{io, process::ExitCode};

fn main() -> io::Result<ExitCode> {
    malloc_trim::start()?;
    Ok(purrr_server::cli::run())
}
