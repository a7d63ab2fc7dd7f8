//! The server: accepts connections, serves the routes on them, and drains: [`run`].

use std::{convert::Infallible, net::SocketAddr, pin::pin, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::{
        HeaderValue, StatusCode,
        header::{CONNECTION, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{
    config::Guards,
    http::builder::Handle,
    net::{
        listener::{self, Descriptor},
        read_timeout::Answering,
        timeouts::{ConnectionTimeouts, Timeouts},
    },
};

/// Maximum bytes of a request's head. hyper answers 431 above it.
const MAX_HEAD: usize = 32 * 1024;

/// How long a connection with one of the last descriptors may take to ask for a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a connection is served with.
#[derive(Clone)]
struct Service {
    app: Router,
    closing: CancellationToken,
    timeouts: ConnectionTimeouts,
}

/// Serves an app on `listener` until `shutdown` resolves, then drains the hub and returns.
///
/// The app is the routes of `handle`, alone or nested in others. All of it has these guards, of
/// which `axum::serve` has none:
///
/// - [`Guards::header_timeout`] for the first byte of a connection and for a head, which has at most
///   32 KB. [`Guards::keep_alive_timeout`] between two requests.
/// - [`Guards::idle_timeout`] for a client that does not take an answer.
/// - Twice [`Config::max_connections`](crate::Config::max_connections) sockets and 1,024 more, and
///   a share of them for each address.
/// - When the file descriptors have run out, `/livez` and `/readyz` are still answered.
/// - The address of the client as [`ConnectInfo`], for the limits per address.
/// - The drain: peers are no longer matched, and chats may go on for [`Guards::drain`]. Probes are
///   answered meanwhile.
///
/// It speaks HTTP/1.1.
///
/// ```no_run
/// use purrr_core::Hub;
/// use purrr_server::{RouterBuilder, config::Guards};
///
/// # async fn serve() -> std::io::Result<()> {
/// let (chat, handle) = RouterBuilder::new(Hub::builder()).build();
/// let app = axum::Router::new().nest_service("/chat", chat);
/// let listener = purrr_server::bind(([127, 0, 0, 1], 3007).into())?;
/// let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or(()) };
/// purrr_server::run(listener, app, handle, Guards::default(), shutdown).await;
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// If the future is dropped, no more connections are accepted, and those that were stay.
pub async fn run(
    listener: TcpListener,
    app: Router,
    handle: Handle,
    guards: Guards,
    shutdown: impl Future<Output = ()>,
) {
    if let Ok(address) = listener.local_addr() {
        let page = format!("http://localhost:{}/", address.port());
        tracing::info!(%address, %page, "listening");
    }
    let Guards { header_timeout, keep_alive_timeout, idle_timeout, drain } = guards;
    let (hub, limiter) = (handle.hub(), handle.limiter());
    let closing = CancellationToken::new();
    let timeouts = ConnectionTimeouts {
        head: header_timeout,
        keep_alive: keep_alive_timeout,
        write: idle_timeout,
    };
    let service = Service { app, closing: closing.clone(), timeouts };
    let connections = TaskTracker::new();
    let accepting = listener::accept(&listener, |stream, peer, descriptor| {
        // A connection over the limit has not been read from, and dropping it closes the socket.
        let permit = limiter.admit_socket(peer.ip()).ok()?;
        let service = service.clone();
        Some(connections.spawn(async move {
            match descriptor {
                Descriptor::Plain => service.serve(stream, peer, descriptor).await,
                Descriptor::Last => {
                    let served = service.serve(stream, peer, descriptor);
                    timeout(PROBE_TIMEOUT, served).await.unwrap_or(());
                }
            }
            drop(permit);
        }))
    });
    let mut accepting = pin!(accepting);
    let mut shutdown = pin!(shutdown);
    tokio::select! {
        never = &mut accepting => match never {},
        () = &mut shutdown => {}
    }
    tracing::info!(seconds = drain.as_secs_f32(), online = hub.online(), "draining");
    // Probes are answered while chats finish; new clients are told to come back.
    tokio::select! {
        never = &mut accepting => match never {},
        () = hub.drain(drain) => {}
    }
    closing.cancel();
    connections.close();
    // Connections that are still being read from have been sent everything already.
    timeout(Duration::from_secs(1), connections.wait()).await.ok();
    tracing::info!("stopped");
}

impl Service {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, descriptor: Descriptor) {
        let Self { app, closing, timeouts } = self;
        listener::set_options(&stream);
        // hyper's own deadline starts at the first byte, so the first byte has one of ours.
        if !matches!(timeout(timeouts.head, stream.peek(&mut [0])).await, Ok(Ok(1..))) {
            return;
        }
        let answering = Answering::default();
        let stream = Timeouts::new(stream, timeouts, answering.clone());
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let app = app.clone();
            let answering = answering.clone();
            answering.begin();
            async move {
                let answer = match descriptor {
                    Descriptor::Plain => app.oneshot(request).await,
                    Descriptor::Last => Ok(answer_probe(app, request).await),
                };
                answering.end();
                answer.map_err(|never: Infallible| never)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .max_buf_size(MAX_HEAD)
            // The stream has timeouts of its own.
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        tokio::select! {
            // An error is the client's: it went away or did not speak HTTP, which hyper answered.
            _ = connection.as_mut() => {}
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await.ok();
            }
        }
    }
}

/// Answers a probe, and refuses any other request: the connection has one of the last descriptors.
async fn answer_probe(app: Router, request: Request) -> Response {
    let is_probe = ["/livez", "/readyz"].iter().any(|path| request.uri().path().ends_with(path));
    let mut response = if is_probe {
        let Ok(response) = app.oneshot(request).await;
        response
    } else {
        let headers = [(RETRY_AFTER, "1")];
        let message = "the server has no descriptor left; retry after 1 s\n";
        (StatusCode::SERVICE_UNAVAILABLE, headers, message).into_response()
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
