//! Listening on an address and accepting connections: [`bind`] and [`accept`].

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

/// Delay after `accept` fails because file descriptors or memory have run out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Descriptors that are kept back, so that probes are answered when all others are used up.
const RESERVE: usize = 8;

/// Listens on an address with a backlog of 4,096 connections.
///
/// `[::]` is all addresses of both families, or of IPv4 alone where the system has no IPv6.
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
    match bind_exactly(address) {
        Err(error) if address.ip().is_unspecified() && address.is_ipv6() && is_missing(&error) => {
            bind_exactly((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    }
}

fn bind_exactly(address: SocketAddr) -> io::Result<TcpListener> {
    const BACKLOG: i32 = 4_096;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows the option would let another process take the address over.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // The system's default may be either.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Returns true if the system has no IPv6.
fn is_missing(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own.
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(97)
}

/// The descriptor of a connection, by which it is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// There are enough: it is served as long as it lasts.
    Plain,
    /// It is one of the last: only a probe is answered, and soon.
    Last,
}

/// Accepts connections until the future is dropped, and calls `serve` with each of them.
///
/// Keeps [`RESERVE`] descriptors back. When all others are used up, connections that take one of
/// these are to be served as [`Descriptor::Last`]; the oldest of them is ended to make room for the
/// next one. Logs when that begins and when it ends.
pub(crate) async fn accept(
    listener: &TcpListener,
    mut serve: impl FnMut(TcpStream, SocketAddr, Descriptor) -> Option<JoinHandle<()>>,
) -> Infallible {
    let mut reserve = Reserve::default();
    reserve.fill(listener);
    let mut probes = VecDeque::new();
    let mut is_exhausted = false;
    loop {
        let next = if is_exhausted {
            // So that the end is noticed without another connection.
            tokio::select! {
                next = listener.accept() => next,
                () = sleep(ACCEPT_BACKOFF) => {
                    if reserve.fill(listener) {
                        is_exhausted = false;
                        tracing::info!("accepting connections again");
                    }
                    continue;
                }
            }
        } else {
            listener.accept().await
        };
        match next {
            Ok((stream, peer)) => {
                if reserve.fill(listener) {
                    serve(stream, peer, Descriptor::Plain);
                    continue;
                }
                probes.retain(|probe: &JoinHandle<()>| !probe.is_finished());
                probes.extend(serve(stream, peer, Descriptor::Last));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                // Logged once, not at every attempt. Open connections are served meanwhile.
                if !std::mem::replace(&mut is_exhausted, true) {
                    let advice = "raise the limit of open files (ulimit -n)";
                    tracing::warn!(%error, "cannot accept connections; {advice}");
                }
                if reserve.take() {
                    continue;
                }
                match probes.pop_front() {
                    Some(oldest) => {
                        oldest.abort();
                        // Its descriptor is free once the task is dropped.
                        oldest.await.unwrap_or(());
                    }
                    None => sleep(ACCEPT_BACKOFF).await,
                }
            }
        }
    }
}

/// Descriptors that are kept back.
#[derive(Debug, Default)]
struct Reserve {
    #[cfg(unix)]
    spare: Vec<std::os::fd::OwnedFd>,
}

#[cfg(unix)]
impl Reserve {
    /// Takes descriptors until all are kept back again. Returns false if there are too few.
    fn fill(&mut self, listener: &TcpListener) -> bool {
        use std::os::fd::AsFd;
        while self.spare.len() < RESERVE {
            // Any descriptor would do. This one needs no file of the system.
            let Ok(spare) = listener.as_fd().try_clone_to_owned() else { return false };
            self.spare.push(spare);
        }
        true
    }

    /// Gives one descriptor up. Returns false if none is left.
    fn take(&mut self) -> bool {
        self.spare.pop().is_some()
    }
}

#[cfg(not(unix))]
impl Reserve {
    fn fill(&mut self, _: &TcpListener) -> bool {
        true
    }

    fn take(&mut self) -> bool {
        false
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
