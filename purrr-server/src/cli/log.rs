//! What the program writes down, and how it looks.

use std::io::{IsTerminal, stderr};

use super::{LogFormat, Options};
use anyhow::Context;
use tracing::subscriber::set_global_default;
use tracing_subscriber::EnvFilter;

/// What is to be written down.
pub(crate) fn filter(options: &Options) -> anyhow::Result<EnvFilter> {
    let filter = options.log.as_deref().unwrap_or("info");
    EnvFilter::try_new(filter).map_err(|error| {
        anyhow::anyhow!(
            "--log cannot be {filter:?} ({error}); give a level such as `info`, or one for a part such as `purrr_server=debug`"
        )
    })
}

/// Begins to write to standard error.
pub(crate) fn begin(filter: EnvFilter, format: LogFormat) -> anyhow::Result<()> {
    let terminal = stderr().is_terminal();
    // Whoever reads the log may go away. To complain of that on the same stream would panic.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .log_internal_errors(false);
    // Not by `init`, which would also take in what libraries write through `log`: at `trace` the one that speaks WebSocket
    // writes down whole messages.
    match format {
        LogFormat::Pretty => set_global_default(lines.with_ansi(terminal).finish()),
        LogFormat::Auto if terminal => set_global_default(lines.finish()),
        _ => set_global_default(lines.json().finish()),
    }
    .context("a log is set up once")
}
