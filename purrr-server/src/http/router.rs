//! The routes: [`router`].

use std::sync::Arc;

use axum::{
    Router,
    extract::{OriginalUri, Path, Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri, Version,
        header::{CONNECTION, CONTENT_TYPE, HOST},
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
    page::{self, Site},
};
use crate::{
    config::Config,
    dialect::{native, purrr_chat},
    limits::{connections::ConnectionLimiter, open::OpenConnections},
    transport::engineio::Sessions,
};

/// Returns all routes of the server, to serve at the root or to nest in any axum app.
///
/// Limits per address need [`ConnectInfo`](axum::extract::ConnectInfo), so serve the app with
/// `into_make_service_with_connect_info::<SocketAddr>()`. Otherwise only
/// [`Config::max_connections`] holds.
///
/// ```
/// use purrr_core::Hub;
/// use purrr_server::{Config, router};
///
/// let chat = router(Hub::memory(), Config::default());
/// let app: axum::Router = axum::Router::new().nest("/a/b", chat);
/// # let _ = app;
/// ```
pub fn router<S>(hub: Hub, config: Config) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let limiter = Arc::new(ConnectionLimiter::new(&config, hub.limits().rates.clone()));
    routes(hub, config, limiter)
}

/// Returns the routes with a limiter that the caller shares.
pub(crate) fn routes<S>(hub: Hub, config: Config, limiter: Arc<ConnectionLimiter>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let origins = Arc::new(Origins::new(config.allowed_origin.clone()));
    let site = Arc::new(Site::new(&config));
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
    let native =
        native::Native::new(hub.clone(), config, connections.clone(), Arc::clone(&limiter));
    let limit = middleware::from_fn_with_state(Arc::clone(&limiter), limit_requests);
    let limit_sessions = middleware::from_fn_with_state(Arc::clone(&limiter), limit_handshakes);
    let metrics = Arc::new(Metrics::new(hub.clone(), connections, limiter, Arc::clone(&origins)));
    let socketio = socketio.layer(limit_sessions);
    let guarded = Router::new()
        .route("/ws", any(native::handle).layer(limit.clone()))
        .with_state(native)
        .route("/socket.io", socketio.clone())
        .route("/socket.io/", socketio)
        // Before the rate: requests of other sites must not use up the rate of their visitors.
        .layer(middleware::from_fn_with_state(origins, check_origin));
    Router::new()
        .route("/assets/{*name}", get(asset))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(health::ready))
        .route("/healthz", get(health::health))
        .route("/metrics", get(metrics::scrape).with_state(metrics))
        // Also for the root, which has two paths in a router that is mounted as a service.
        .fallback(async move |OriginalUri(uri): OriginalUri, request: Request| {
            index(&site, &uri, &request)
        })
        .with_state(hub)
        .layer(limit)
        .merge(guarded)
        .layer(middleware::from_fn(require_host))
}

/// Refuses pages of other origins and sites.
async fn check_origin(
    State(origins): State<Arc<Origins>>,
    request: Request,
    next: Next,
) -> Response {
    match origins.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Refuses requests above the rate of their address.
///
/// Probes are answered in any case, so that a flood through an unknown proxy does not look like the
/// end of the server.
async fn limit_requests(
    State(limiter): State<Arc<ConnectionLimiter>>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(request.uri().path(), "/livez" | "/readyz") {
        let is_exceeded = limiter.is_exceeded_by_probe(&request);
        let mut response = next.run(request).await;
        if is_exceeded {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        return response;
    }
    match limiter.admit_request(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Refuses requests to Socket.IO as [`limit_requests`] does.
///
/// Requests of sessions are counted there instead.
async fn limit_handshakes(
    limiter: State<Arc<ConnectionLimiter>>,
    request: Request,
    next: Next,
) -> Response {
    if Sessions::names_session(request.uri()) {
        return next.run(request).await;
    }
    limit_requests(limiter, request, next).await
}

/// Refuses HTTP/1.1 requests without `Host`, as RFC 9112, section 3.2 requires.
async fn require_host(request: Request, next: Next) -> Response {
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST) {
        return (StatusCode::BAD_REQUEST, "`Host` is missing\n").into_response();
    }
    next.run(request).await
}

fn index(site: &Site, uri: &Uri, request: &Request) -> Response {
    if !matches!(request.uri().path(), "" | "/") {
        return StatusCode::NOT_FOUND.into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let prefix = format!("{}/", uri.path().trim_end_matches('/'));
    page::index(site, &prefix, request.headers())
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    page::asset(&name, &headers)
}
