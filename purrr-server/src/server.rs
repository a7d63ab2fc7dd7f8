//! Accepting connections and letting go of them: [`run`].

use std::{
    convert::Infallible,
    io,
    mem::{replace, take},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use futures::FutureExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use purrr_core::Hub;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{
    config::Config, http::router, limits::connections::Admission, net::write_timeout::Patient,
};

/// Bytes of a request's head; hyper answers 431 above it.
const LARGEST_HEAD: usize = 32 * 1024;

/// How long to wait when no connection can be accepted because descriptors or memory have run out.
const BREATH: Duration = Duration::from_millis(100);

/// What a connection is served with.
#[derive(Clone)]
struct Service {
    app: Router,
    closing: CancellationToken,
    header_timeout: Duration,
    idle_timeout: Duration,
}

/// Listens on an address, with room for a burst: as [`TcpListener::bind`], which lets 128 connections wait until they are
/// accepted. Of a larger burst the rest would try again after a second.
///
/// # Errors
///
/// What the system says, such as that the address is in use.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    const WAITING: u32 = 4_096;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// Serves on `listener` until `shutdown`, then makes no more pairs, lets chats finish for [`Config::drain`], and returns.
///
/// # Cancel safety
///
/// If the future is dropped, no more connections are accepted, and those that were stay.
pub async fn run(
    listener: TcpListener,
    hub: Hub,
    config: Config,
    shutdown: impl Future<Output = ()>,
) {
    if let Ok(address) = listener.local_addr() {
        let page = format_args!("http://localhost:{}/", address.port());
        tracing::info!(%address, %page, "listening");
    }
    let drain = config.drain;
    let admission = Arc::new(Admission::new(&config, hub.limits().rates.clone()));
    let closing = CancellationToken::new();
    let service = Service {
        closing: closing.clone(),
        header_timeout: config.header_timeout,
        idle_timeout: config.idle_timeout,
        app: router::routes(hub.clone(), config, Arc::clone(&admission)),
    };
    let connections = TaskTracker::new();
    let mut accepting = pin!(accept(&listener, &admission, &service, &connections));
    let mut shutdown = pin!(shutdown);
    tokio::select! {
        never = &mut accepting => match never {},
        () = &mut shutdown => {}
    }
    tracing::info!(seconds = drain.as_secs_f32(), online = hub.online(), "draining");
    // Health is answered while chats finish; whoever connects now is told to come back.
    tokio::select! {
        never = &mut accepting => match never {},
        () = hub.drain(drain) => {}
    }
    closing.cancel();
    connections.close();
    // Connections that are being read from have said all they had to.
    timeout(Duration::from_secs(1), connections.wait()).await.ok();
    tracing::info!("stopped");
}

async fn accept(
    listener: &TcpListener,
    admission: &Admission,
    service: &Service,
    connections: &TaskTracker,
) -> Infallible {
    let mut starved = false;
    loop {
        // Whoever had to wait has been accepted when there is nobody to accept at once.
        let next = if starved { listener.accept().now_or_never() } else { None };
        if next.is_none() && take(&mut starved) {
            tracing::info!("accepting connections again");
        }
        let next = match next {
            Some(next) => next,
            None => listener.accept().await,
        };
        match next {
            Ok((stream, peer)) => {
                // Whoever is refused here has not been read from, and the drop closes the socket.
                if let Ok(place) = admission.admit_socket(peer.ip()) {
                    let service = service.clone();
                    connections.spawn(async move {
                        service.serve(stream, peer).await;
                        drop(place);
                    });
                }
            }
            Err(error) if is_one_connections(&error) => {}
            Err(error) => {
                // Said once, not at every attempt; those who are here are served meanwhile.
                if !replace(&mut starved, true) {
                    tracing::warn!(%error, "cannot accept connections; raise the limit of open files (ulimit -n)");
                }
                sleep(BREATH).await;
            }
        }
    }
}

/// Errors that concern only a connection which is gone already.
fn is_one_connections(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

impl Service {
    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        let Self { app, closing, header_timeout, idle_timeout } = self;
        // Without it the first small event waits for an acknowledgement that the other side delays.
        stream.set_nodelay(true).ok();
        hold_little(&stream);
        // hyper's own deadline starts at the first byte, so the first byte has one of ours.
        if !matches!(timeout(header_timeout, stream.peek(&mut [0])).await, Ok(Ok(1..))) {
            return;
        }
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let app = app.clone();
            async move { app.oneshot(request).await.map_err(|never: Infallible| never) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .max_buf_size(LARGEST_HEAD)
            .header_read_timeout(header_timeout)
            .serve_connection(TokioIo::new(Patient::new(stream, idle_timeout)), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        tokio::select! {
            // An error here is the client's: it went away or did not speak HTTP, which hyper has answered.
            _ = connection.as_mut() => {}
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await.ok();
            }
        }
    }
}

/// Has the system tell of room in small steps, and not only when a third of some megabytes has gone: a slow line is told from a
/// stuck one by that, and an answer does not wait behind so much.
#[cfg(target_os = "linux")]
fn hold_little(stream: &TcpStream) {
    const UNSENT: u32 = 64 * 1024;
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT).ok();
}

#[cfg(not(target_os = "linux"))]
const fn hold_little(_: &TcpStream) {}
