//! The program: reads what was asked, binds, logs and runs.

mod memory;

use std::{
    io::{self, IsTerminal},
    net::SocketAddr,
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use purrr_server::config::{Action, Cli, LogFormat, Options};
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{SignalKind, signal},
};
use tracing::subscriber::set_global_default;
use tracing_subscriber::EnvFilter;

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
    let config = options.resolve()?;
    if let Some(action) = cli.action {
        print(&match action {
            Action::PrintConfig => options.print()?,
            _ => "the configuration is fine\n".to_owned(),
        });
        return Ok(());
    }
    log(&options)?;
    memory::give_back()?;
    // Both are listened for before the program says that it is there.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stop = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let listener = listen(config.listen).with_context(|| {
        format!("cannot listen on {}; choose another address with --listen", config.listen)
    })?;
    let address = listener.local_addr()?;
    tracing::info!(%address, page = %format_args!("http://localhost:{}/", address.port()), "listening");
    let (told, shutdown) = tokio::sync::oneshot::channel();
    let insist = async {
        stop().await;
        told.send(()).ok();
        stop().await;
    };
    tokio::select! {
        () = purrr_server::run(listener, config.hub(), config, async { shutdown.await.unwrap_or(()) }) => Ok(()),
        () = insist => anyhow::bail!("stopped by a second signal"),
    }
}

/// As [`TcpListener::bind`], which lets 128 connections wait until they are accepted. Of a larger burst the rest would try
/// again after a second.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    const WAITING: u32 = 4_096;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

#[expect(clippy::print_stdout, reason = "this is what the subcommand is asked for")]
fn print(text: &str) {
    print!("{text}");
}

fn log(options: &Options) -> anyhow::Result<()> {
    let filter = options.log.as_deref().unwrap_or("info");
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("--log cannot be {filter:?}"))?;
    let terminal = std::io::stderr().is_terminal();
    // Whoever reads the log may go away. To complain of that on the same stream would panic.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    // Not by `init`, which would also take in what libraries write through `log`: at `trace` the one that speaks WebSocket
    // writes down whole messages.
    match options.log_format.unwrap_or_default() {
        LogFormat::Pretty => set_global_default(lines.with_ansi(terminal).finish()),
        LogFormat::Auto if terminal => set_global_default(lines.finish()),
        _ => set_global_default(lines.json().finish()),
    }
    .context("a log is set up once")
}
