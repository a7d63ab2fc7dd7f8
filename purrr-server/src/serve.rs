//! Accepting connections and letting go of them: [`run`].

use std::{convert::Infallible, io, pin::pin, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use purrr_core::Hub;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{config::Config, router};

/// Bytes of a request's head; hyper answers 431 above it.
const LARGEST_HEAD: usize = 32 * 1024;

/// How long to wait when no connection can be accepted because descriptors or memory have run out.
const BREATH: Duration = Duration::from_millis(100);

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
    let (drain, header_timeout) = (config.drain, config.header_timeout);
    let app: Router = router(hub.clone(), config);
    let closing = CancellationToken::new();
    let connections = TaskTracker::new();
    let mut shutdown = pin!(shutdown);
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let app = app.clone();
                    let closing = closing.clone();
                    connections.spawn(serve_connection(stream, app, closing, header_timeout));
                }
                Err(error) if is_one_connections(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; raise the limit of open files");
                    sleep(BREATH).await;
                }
            }
        }
    };
    let mut accepting = pin!(accepting);
    tokio::select! {
        never = &mut accepting => never,
        () = &mut shutdown => {}
    }
    tracing::info!(seconds = drain.as_secs_f32(), online = hub.online(), "draining");
    // Health is answered while chats finish; whoever connects now is told to come back.
    tokio::select! {
        never = &mut accepting => never,
        () = hub.drain(drain) => {}
    }
    closing.cancel();
    connections.close();
    // Connections that are being read from have said all they had to.
    timeout(Duration::from_secs(1), connections.wait()).await.ok();
    tracing::info!("stopped");
}

/// Errors that concern only a connection which is gone already.
fn is_one_connections(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn serve_connection(
    stream: TcpStream,
    app: Router,
    closing: CancellationToken,
    header_timeout: Duration,
) {
    // Without it the first small event waits for an acknowledgement that the other side delays.
    stream.set_nodelay(true).ok();
    // hyper's own deadline starts at the first byte, so the first byte has one of ours.
    if !matches!(timeout(header_timeout, stream.peek(&mut [0])).await, Ok(Ok(1..))) {
        return;
    }
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let request: Request = request.map(Body::new);
        let app = app.clone();
        async move { app.oneshot(request).await.map_err(|never: Infallible| never) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(LARGEST_HEAD)
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), service)
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
