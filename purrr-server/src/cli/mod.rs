//! The program: command line, settings, log and signals.

mod args;
mod error;
mod log;
mod resolve;
mod settings;
mod signals;
mod values;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

pub use self::{
    args::{Action, Cli},
    error::ConfigError,
    settings::Options,
    values::{Backend, LogFormat, Span, Switch, Tempo, TempoError},
};

/// Runs the program with the process's arguments and environment.
#[must_use]
pub fn run() -> ExitCode {
    match start(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("purrr-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn start(cli: &Cli) -> anyhow::Result<()> {
    let options = cli.options()?;
    let (config, filter) = (options.resolve()?, log::filter(&options)?);
    match cli.action {
        None => {}
        Some(Action::PrintConfig) => return print(&options.print()?),
        Some(_) => return print("the configuration is fine\n"),
    }
    log::begin(filter, options.log_format.unwrap_or_default())?;
    // Signals are listened for before the program says that it is there.
    let (shutdown, insist) = signals::asked_twice()?;
    let listener = crate::bind(config.listen).with_context(|| {
        format!("cannot listen on {}; choose another address with --listen", config.listen)
    })?;
    tokio::select! {
        () = crate::run(listener, config.hub(), config, shutdown) => Ok(()),
        () = insist => anyhow::bail!("stopped by a second signal"),
    }
}

#[expect(clippy::print_stdout, reason = "this is what the subcommand is asked for")]
fn print(text: &str) -> anyhow::Result<()> {
    print!("{text}");
    Ok(())
}
