//! Listening on an address and accepting connections: [`bind`] and [`accept`].

use std::{
    convert::Infallible,
    io,
    mem::{replace, take},
    net::SocketAddr,
    time::Duration,
};

use futures::FutureExt;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::sleep,
};

/// Delay after `accept` fails because file descriptors or memory have run out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Listens on an address with a backlog of 4,096 connections.
///
/// [`TcpListener::bind`] has a backlog of 128. Of a larger burst the other clients would retry
/// after a second.
///
/// # Errors
///
/// Returns the system's error, such as that the address is in use.
///
/// # Panics
///
/// Panics outside a tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    const BACKLOG: u32 = 4_096;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until the future is dropped, and calls `serve` with each of them.
///
/// Backs off while the process is out of file descriptors or memory, and logs when that begins
/// and when it ends.
pub(crate) async fn accept(
    listener: &TcpListener,
    mut serve: impl FnMut(TcpStream, SocketAddr),
) -> Infallible {
    let mut exhausted = false;
    loop {
        // The backlog has been worked off once there is no connection to accept at once.
        let next = if exhausted { listener.accept().now_or_never() } else { None };
        if next.is_none() && take(&mut exhausted) {
            tracing::info!("accepting connections again");
        }
        let next = match next {
            Some(next) => next,
            None => listener.accept().await,
        };
        match next {
            Ok((stream, peer)) => serve(stream, peer),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                // Logged once, not at every attempt. Open connections are served meanwhile.
                if !replace(&mut exhausted, true) {
                    let advice = "raise the limit of open files (ulimit -n)";
                    tracing::warn!(%error, "cannot accept connections; {advice}");
                }
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Returns true if the error concerns only a connection that is gone already.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Sets the socket options of a connection for small and timely messages.
pub(crate) fn set_options(stream: &TcpStream) {
    // With Nagle's algorithm a small event would wait for a delayed acknowledgement.
    stream.set_nodelay(true).ok();
    set_notsent_lowat(stream);
}

/// Sets `TCP_NOTSENT_LOWAT` to 64 KiB, so that writability reflects the client's progress.
///
/// By default a socket is writable again only when a third of some megabytes is gone. A slow
/// client could then not be told from a stuck one, and a pong would wait behind all of that.
#[cfg(target_os = "linux")]
fn set_notsent_lowat(stream: &TcpStream) {
    const UNSENT: u32 = 64 * 1024;
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT).ok();
}

#[cfg(not(target_os = "linux"))]
const fn set_notsent_lowat(_: &TcpStream) {}
