//! The program: command line, settings, log and signals. Enabled by the feature `cli`.

mod args;
mod descriptors;
mod error;
mod file;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod log;
mod log_queue;
mod reference;
mod setting;
mod settings;
mod signals;
mod values;
mod variables;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use tokio::sync::oneshot;

pub use self::{
    args::{Action, Cli},
    error::CliError,
    setting::Settings,
};
use self::{reference::reference, signals::Signals};
use crate::{Part, RouterBuilder};

/// Runs the program with the process's command line and environment.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::parse().map_err(Into::into).and_then(execute) {
        Ok(code) => code,
        Err(error) => {
            // `eprintln!` would panic if standard error cannot be written.
            writeln!(io::stderr(), "purrr-server: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn execute(Cli { action, settings }: Cli) -> anyhow::Result<ExitCode> {
    match action {
        None => return logged(settings),
        Some(Action::CheckConfig) => print("the configuration is fine\n")?,
        Some(Action::PrintConfig) => print(&settings.print())?,
        Some(Action::PrintReference) => print(&reference())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output. A reader that has seen enough is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Serves with a log, and writes what is left of the log at the end.
fn logged(settings: Settings) -> anyhow::Result<ExitCode> {
    let log = settings.log.start()?;
    let served = serve(settings);
    if let Err(error) = &served {
        // Must go through the queue: standard error may be a pipe that is full.
        log.push(format!("purrr-server: {error:#}\n").as_bytes());
    }
    log.flush();
    Ok(if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Serves until the first signal, and then drains until the second.
#[tokio::main]
async fn serve(Settings { config, .. }: Settings) -> anyhow::Result<()> {
    // Signals must be caught before the log says that the server listens.
    let mut signals = Signals::catch()?;
    let listener = crate::bind(config.listen).with_context(|| {
        format!("cannot listen on {}; choose another address with --listen", config.listen)
    })?;
    let admin = config.admin_listen.map(|address| {
        crate::bind(address).with_context(|| {
            format!("cannot listen on {address}; choose another address with --admin-listen")
        })
    });
    let admin = admin.transpose()?;
    descriptors::raise(&config.routes);
    let (stop, stopped) = oneshot::channel();
    let second_signal = async {
        signals.stop().await;
        stop.send(()).ok();
        signals.stop_at_once().await;
    };
    let hub = config.hub();
    let mut routes = RouterBuilder::new(hub).config(config.routes);
    if admin.is_some() {
        routes = routes.without(Part::Metrics);
    }
    let (app, handle) = routes.build();
    if let Some(admin) = admin {
        let address = admin.local_addr()?;
        tracing::info!(%address, "listening for probes and scrapes");
        // Until the process ends, also while it drains.
        tokio::spawn(axum::serve(admin, handle.operations()).into_future());
    }
    let shutdown = async { stopped.await.unwrap_or(()) };
    let server = crate::run(listener, app, handle, config.guards, shutdown);
    tokio::select! {
        () = server => Ok(()),
        () = second_signal => anyhow::bail!("stopped by a second signal"),
    }
}
