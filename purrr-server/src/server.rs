//! The server: accepts connections, serves the routes on them, and drains: [`run`].

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use purrr_core::Hub;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{
    config::Config,
    http::router,
    limits::connections::ConnectionLimiter,
    net::{listener, write_timeout::WriteTimeout},
};

/// Maximum bytes of a request's head. hyper answers 431 above it.
const MAX_HEAD: usize = 32 * 1024;

/// What a connection is served with.
#[derive(Clone)]
struct Service {
    app: Router,
    closing: CancellationToken,
    header_timeout: Duration,
    idle_timeout: Duration,
}

/// Serves on `listener` until `shutdown` resolves, then drains and returns.
///
/// While the server drains, peers are no longer matched, and chats may go on for
/// [`Config::drain`].
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
        let page = format!("http://localhost:{}/", address.port());
        tracing::info!(%address, %page, "listening");
    }
    let drain = config.drain;
    let limiter = Arc::new(ConnectionLimiter::new(&config, hub.limits().rates.clone()));
    let closing = CancellationToken::new();
    let service = Service {
        closing: closing.clone(),
        header_timeout: config.header_timeout,
        idle_timeout: config.idle_timeout,
        app: router::routes(hub.clone(), config, Arc::clone(&limiter)),
    };
    let connections = TaskTracker::new();
    let accepting = listener::accept(&listener, |stream, peer| {
        // A connection over the limit has not been read from, and dropping it closes the socket.
        if let Ok(permit) = limiter.admit_socket(peer.ip()) {
            let service = service.clone();
            connections.spawn(async move {
                service.serve(stream, peer).await;
                drop(permit);
            });
        }
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
    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        let Self { app, closing, header_timeout, idle_timeout } = self;
        listener::set_options(&stream);
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
            .max_buf_size(MAX_HEAD)
            .header_read_timeout(header_timeout)
            .serve_connection(TokioIo::new(WriteTimeout::new(stream, idle_timeout)), service)
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
