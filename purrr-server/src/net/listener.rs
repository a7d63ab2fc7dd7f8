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
    time::{Instant, sleep},
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
    let mut supply = Supply::default();
    loop {
        let next = match supply {
            Supply::Enough => listener.accept().await,
            // So that the end is noticed without another connection.
            Supply::Exhausted | Supply::Recovering(_) => tokio::select! {
                next = listener.accept() => next,
                () = sleep(ACCEPT_BACKOFF) => {
                    supply.handle_reserve(reserve.fill(listener), Instant::now());
                    continue;
                }
            },
        };
        match next {
            Ok((stream, peer)) => {
                let is_whole = reserve.fill(listener);
                supply.handle_reserve(is_whole, Instant::now());
                if is_whole {
                    serve(stream, peer, Descriptor::Plain);
                    continue;
                }
                probes.retain(|probe: &JoinHandle<()>| !probe.is_finished());
                probes.extend(serve(stream, peer, Descriptor::Last));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                supply.handle_failure(&error);
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

/// Whether there are descriptors for further connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Supply {
    #[default]
    Enough,
    /// A connection could not be accepted.
    Exhausted,
    /// The reserve has been whole since then.
    Recovering(Instant),
}

impl Supply {
    /// Notes that a connection could not be accepted. Logged once, not at every attempt. Open
    /// connections are served meanwhile.
    fn handle_failure(&mut self, error: &io::Error) {
        if std::mem::replace(self, Self::Exhausted) == Self::Enough {
            let advice = "raise the limit of open files (ulimit -n)";
            tracing::warn!(%error, "cannot accept connections; {advice}");
        }
    }

    /// Notes if the reserve is whole. Logs the recovery once it has been so for
    /// [`ACCEPT_BACKOFF`]; earlier than that a busy server would log each time that a connection
    /// ends and the next one begins.
    fn handle_reserve(&mut self, is_whole: bool, now: Instant) {
        *self = match *self {
            Self::Enough => Self::Enough,
            _ if !is_whole => Self::Exhausted,
            Self::Exhausted => Self::Recovering(now),
            Self::Recovering(since) if now - since >= ACCEPT_BACKOFF => {
                tracing::info!("accepting connections again");
                Self::Enough
            }
            Self::Recovering(since) => Self::Recovering(since),
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_server_recovers_from_exhausted_descriptors() {
        const STEP: Duration = ACCEPT_BACKOFF.checked_div(10).unwrap();
        let mut now = Instant::now();
        let mut supply = Supply::default();
        supply.handle_reserve(false, now);
        assert_eq!(supply, Supply::Enough, "no connection was refused");
        supply.handle_failure(&io::ErrorKind::Other.into());
        // Connections come without a pause. Some of them take one of the last descriptors.
        for at in 0..100 {
            now += STEP;
            supply.handle_reserve(at % 9 > 0, now);
            assert_ne!(supply, Supply::Enough, "after {at}");
        }
        let recovered = (0..20).position(|_| {
            now += STEP;
            supply.handle_reserve(true, now);
            supply == Supply::Enough
        });
        assert_eq!(recovered, Some(10), "after the backoff");
        supply.handle_failure(&io::ErrorKind::Other.into());
        supply.handle_reserve(true, now);
        supply.handle_failure(&io::ErrorKind::Other.into());
        assert_eq!(supply, Supply::Exhausted);
    }
}
