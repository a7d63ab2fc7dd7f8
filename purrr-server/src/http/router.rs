//! The routes: [`router`].

use std::sync::Arc;

use axum::{
    Router,
    extract::{OriginalUri, Path, Request, State},
    http::{
        HeaderMap, Method, StatusCode, Version,
        header::{CONTENT_TYPE, HOST, ORIGIN},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use purrr_core::Hub;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{
    health,
    metrics::{self, Metrics},
    origin::Origins,
    page,
};
use crate::{
    config::Config,
    dialect::{native, purrr_chat},
    limits::{
        connections::ConnectionLimiter,
        open::{Dialect, OpenConnections},
    },
    transport::websocket,
};

/// Everything this server answers, to serve at the root or to nest in any axum app.
///
/// Limits per address need to know the address: an app that is served with
/// `into_make_service_with_connect_info::<SocketAddr>()` tells it. Without that only [`Config::max_connections`] holds.
///
/// ```
/// use purrr_core::Hub;
/// use purrr_server::{Config, router};
///
/// let app: axum::Router = axum::Router::new().nest("/a/b", router(Hub::memory(), Config::default()));
/// # let _ = app;
/// ```
pub fn router<S>(hub: Hub, config: Config) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let limiter = Arc::new(ConnectionLimiter::new(&config, hub.limits().rates.clone()));
    routes(hub, config, limiter)
}

/// The same behind a door that somebody else guards as well.
pub(crate) fn routes<S>(hub: Hub, config: Config, limiter: Arc<ConnectionLimiter>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let origins = Arc::new(Origins::new(config.allowed_origin.clone()));
    let config = Arc::new(config);
    let cors = {
        let origins = Arc::clone(&origins);
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |origin, _| origins.lists(origin)))
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([CONTENT_TYPE])
    };
    let connections = OpenConnections::default();
    let socketio = any(purrr_chat::handle)
        .with_state(purrr_chat::SocketIo::new(
            hub.clone(),
            Arc::clone(&config),
            connections.clone(),
            Arc::clone(&limiter),
        ))
        .layer(cors);
    let native = Native {
        hub: hub.clone(),
        config,
        connections: connections.clone(),
        limiter: Arc::clone(&limiter),
    };
    let metrics = Arc::new(Metrics::new(hub.clone(), connections, limiter));
    let guarded = Router::new()
        .route("/ws", any(enter_native))
        .with_state(native)
        .route("/socket.io", socketio.clone())
        .route("/socket.io/", socketio)
        .layer(middleware::from_fn_with_state(origins, admit));
    Router::new()
        .route("/assets/{name}", get(asset))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(health::ready))
        .route("/healthz", get(health::health))
        .route("/metrics", get(metrics::scrape).with_state(metrics))
        // Also the root, which a router that is mounted as a service sees under two paths.
        .fallback(index)
        .with_state(hub)
        .merge(guarded)
        .layer(middleware::from_fn(name_host))
}

#[derive(Clone)]
struct Native {
    hub: Hub,
    config: Arc<Config>,
    limiter: Arc<ConnectionLimiter>,
    connections: OpenConnections,
}

async fn admit(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    if origins.admit(request.headers()) {
        return next.run(request).await;
    }
    debug_assert!(request.headers().contains_key(ORIGIN));
    (StatusCode::FORBIDDEN, "pages of this origin may not connect here\n").into_response()
}

/// RFC 9112, section 3.2: a request over HTTP/1.1 names its host.
async fn name_host(request: Request, next: Next) -> Response {
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST) {
        return (StatusCode::BAD_REQUEST, "`Host` is missing\n").into_response();
    }
    next.run(request).await
}

async fn enter_native(State(native): State<Native>, request: Request) -> Response {
    let Native { hub, config, connections, limiter } = native;
    let permit = match limiter.admit(&request) {
        Ok(permit) => permit,
        Err(reason) => return reason.into_response(),
    };
    let max_payload = config.max_payload;
    let reservation = permit.budget().reservation();
    websocket::upgrade(request, Some(native::PROTOCOL), max_payload, reservation, move |socket| {
        native::run(hub, &config, (connections.open(Dialect::Native), permit), socket)
    })
}

async fn index(OriginalUri(asked): OriginalUri, request: Request) -> Response {
    if !matches!(request.uri().path(), "" | "/") {
        return StatusCode::NOT_FOUND.into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let prefix = format!("{}/", asked.path().trim_end_matches('/'));
    page::index(&prefix, request.headers())
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    page::asset(&name, &headers)
}
