//! The program: command line, settings, log and signals. Enabled by the feature `cli`.

mod args;
mod error;
mod file;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod log;
mod reference;
mod setting;
mod settings;
mod signals;
mod values;

use std::process::ExitCode;

use anyhow::Context;
use tokio::sync::oneshot;

pub use self::{
    args::{Action, Cli},
    error::CliError,
    setting::Settings,
};
use self::{reference::reference, signals::Signals};
use crate::RouterBuilder;

/// Runs the program with the process's command line and environment.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::parse().map_err(Into::into).and_then(execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("purrr-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the subcommands print what they are asked for")]
fn execute(Cli { action, settings }: Cli) -> anyhow::Result<()> {
    match action {
        None => serve(settings)?,
        Some(Action::CheckConfig) => println!("the configuration is fine"),
        Some(Action::PrintConfig) => print!("{}", settings.print()),
        Some(Action::PrintReference) => print!("{}", reference()),
    }
    Ok(())
}

/// Serves until the first signal, and then drains until the second.
#[tokio::main]
async fn serve(Settings { config, log }: Settings) -> anyhow::Result<()> {
    log.start()?;
    // Signals must be caught before the log says that the server listens.
    let mut signals = Signals::catch()?;
    let listener = crate::bind(config.listen).with_context(|| {
        format!("cannot listen on {}; choose another address with --listen", config.listen)
    })?;
    let (stop, stopped) = oneshot::channel();
    let second_signal = async {
        signals.next().await;
        stop.send(()).ok();
        signals.next().await;
    };
    let hub = config.hub();
    let (app, handle) = RouterBuilder::new(hub).config(config.routes).build();
    let shutdown = async { stopped.await.unwrap_or(()) };
    let server = crate::run(listener, app, handle, config.guards, shutdown);
    tokio::select! {
        () = server => Ok(()),
        () = second_signal => anyhow::bail!("stopped by a second signal"),
    }
}
