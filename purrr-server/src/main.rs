//! The program: reads what was asked, logs, binds and runs.

mod log;
mod memory;
mod stop;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use purrr_server::config::{Action, Cli};

fn main() -> ExitCode {
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
    memory::give_back()?;
    // Signals are listened for before the program says that it is there.
    let (shutdown, insist) = stop::asked_twice()?;
    let listener = purrr_server::bind(config.listen).with_context(|| {
        format!("cannot listen on {}; choose another address with --listen", config.listen)
    })?;
    tokio::select! {
        () = purrr_server::run(listener, config.hub(), config, shutdown) => Ok(()),
        () = insist => anyhow::bail!("stopped by a second signal"),
    }
}

#[expect(clippy::print_stdout, reason = "this is what the subcommand is asked for")]
fn print(text: &str) -> anyhow::Result<()> {
    print!("{text}");
    Ok(())
}
