//! The signals that stop the program: [`Signals`].

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGQUIT, which stop the server, and SIGHUP, which only begins the drain.
///
/// systemd with `SendSIGHUP=` and terminals send SIGHUP beside another signal. It must not count as
/// the second one, which ends the drain. SIGUSR1 and SIGUSR2, by which log rotation and debuggers ask
/// for what the server does not have, are ignored.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Signal,
}

#[cfg(unix)]
impl Signals {
    /// Catches the signals from now on.
    pub(super) fn catch() -> io::Result<Self> {
        // Once caught, a signal never again ends the process, although nothing waits for it.
        for ignored in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            drop(signal(ignored)?);
        }
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal that begins the drain.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no signal is lost.
    pub(super) async fn stop(&mut self) {
        let Self { interrupt, terminate, quit, hangup } = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    /// Waits for the next signal that ends the drain.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no signal is lost.
    pub(super) async fn stop_at_once(&mut self) {
        let Self { interrupt, terminate, quit, .. } = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
#[derive(Debug)]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Catches the signal.
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on Unix")]
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next Ctrl-C.
    pub(super) async fn stop(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the next Ctrl-C.
    pub(super) async fn stop_at_once(&mut self) {
        self.stop().await;
    }
}
