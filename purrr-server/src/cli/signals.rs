//! The signals by which the program is told to stop.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Listens for SIGINT and SIGTERM from now on: what resolves at the first of them, and what does at the second, which has to
/// be polled for either.
pub(crate) fn asked_twice() -> io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut asked = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let (told, first) = oneshot::channel();
    let second = async move {
        asked().await;
        told.send(()).ok();
        asked().await;
    };
    Ok((async { first.await.unwrap_or(()) }, second))
}
