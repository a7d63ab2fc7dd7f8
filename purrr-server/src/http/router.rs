//! The routes, and the checks before them: [`Routes`].

use std::sync::Arc;

use axum::{
    Router,
    extract::{OriginalUri, RawPathParams, Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{ALLOW, CONNECTION},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use purrr_core::Hub;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{
    health,
    metrics::{self, Metrics},
    origin::Origins,
    page::{self, Site},
    semantics,
};
use crate::{
    config::Config,
    dialect::{native, purrr_chat},
    identify::Identifier,
    limits::{connections::ConnectionLimiter, open::OpenConnections},
    transport::engineio::Sessions,
};

/// A part of the routes, which an app can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The web page: `/` and `/assets/`. It needs the native dialect.
    Page,
    /// The probes and metrics: `/livez`, `/readyz`, `/healthz` and `/metrics`.
    Operations,
    /// Of these, `/healthz` and `/metrics`, which say more than a visitor should know.
    Metrics,
    /// The native dialect: `/ws`.
    Native,
    /// The Purrr.chat dialect: `/socket.io/`.
    PurrrChat,
}

/// What the routes are made of.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) hub: Hub,
    pub(super) config: Config,
    pub(super) identifier: Identifier,
    pub(super) connections: OpenConnections,
    pub(super) limiter: Arc<ConnectionLimiter>,
    pub(super) origins: Arc<Origins>,
    pub(super) metrics: Metrics,
    pub(super) left_out: Vec<Part>,
}

/// The parameter of the path of an asset. The path that the routes are nested under may have others.
const ASSET: &str = "purrr_asset";

impl Routes {
    /// Returns the routes that are not left out.
    pub(super) fn build<S>(self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let Self { hub, config, identifier, connections, limiter, origins, metrics, left_out } =
            self;
        let has = |part| !left_out.contains(&part);
        let site = Arc::new(Site::new(&config));
        let config = Arc::new(config);
        let mut open = Router::new();
        if has(Part::Page) {
            open = page_routes(site);
        }
        if has(Part::Operations) {
            open = open.merge(probes(&hub));
            if has(Part::Metrics) {
                open = open.merge(health_and_metrics(&hub, &metrics));
            }
        }
        let open = open.layer(middleware::from_fn_with_state(Arc::clone(&limiter), limit_requests));
        let mut guarded = Router::new();
        if has(Part::Native) {
            let native = native::Native::new(
                hub.clone(),
                identifier.clone(),
                Arc::clone(&config),
                connections.clone(),
                Arc::clone(&limiter),
            );
            let limit = middleware::from_fn_with_state(Arc::clone(&limiter), limit_requests);
            guarded = guarded.route("/ws", any(native::handle).with_state(native).layer(limit));
        }
        if has(Part::PurrrChat) {
            let limit = middleware::from_fn_with_state(Arc::clone(&limiter), limit_handshakes);
            let socketio = any(purrr_chat::handle)
                .with_state(purrr_chat::SocketIo::new(
                    hub,
                    identifier,
                    config,
                    connections,
                    limiter,
                ))
                .layer(cors(Arc::clone(&origins)))
                .layer(limit);
            guarded = guarded.route("/socket.io", socketio.clone()).route("/socket.io/", socketio);
        }
        if has(Part::Native) || has(Part::PurrrChat) {
            // Before the rate: requests of other sites must not use up the rate of their visitors.
            guarded = guarded.layer(middleware::from_fn_with_state(origins, check_origin));
        }
        open.merge(guarded).layer(middleware::from_fn(semantics::apply))
    }
}

/// Returns the routes of [`Part::Operations`] alone.
pub(super) fn operations<S>(
    hub: &Hub,
    limiter: &Arc<ConnectionLimiter>,
    metrics: &Metrics,
) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    probes(hub)
        .merge(health_and_metrics(hub, metrics))
        .layer(middleware::from_fn_with_state(Arc::clone(limiter), limit_requests))
        .layer(middleware::from_fn(semantics::apply))
}

fn probes<S>(hub: &Hub) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(health::ready).with_state(hub.clone()))
}

fn health_and_metrics<S>(hub: &Hub, metrics: &Metrics) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/healthz", get(health::health).with_state(hub.clone()))
        .route("/metrics", get(metrics::scrape).with_state(metrics.clone()))
}

fn page_routes<S>(site: Arc<Site>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route(&format!("/assets/{{*{ASSET}}}"), get(asset))
        // Also for the root, which has two paths in a router that is mounted as a service.
        .fallback(async move |OriginalUri(uri): OriginalUri, request: Request| {
            index(&site, &uri, &request)
        })
}

/// Returns the layer that lets pages of listed origins read the answers.
fn cors(origins: Arc<Origins>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| origins.lists(origin)))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
}

/// Refuses pages of other origins and sites.
async fn check_origin(
    State(origins): State<Arc<Origins>>,
    request: Request,
    next: Next,
) -> Response {
    match origins.check(&request) {
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

fn index(site: &Site, uri: &Uri, request: &Request) -> Response {
    let is_of_server = *request.method() == Method::OPTIONS && request.uri().path() == "*";
    if !is_of_server && !matches!(request.uri().path(), "" | "/") {
        return StatusCode::NOT_FOUND.into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    page::index(site, uri.path(), request)
}

async fn asset(parameters: RawPathParams, headers: HeaderMap) -> Response {
    let name = parameters.iter().find_map(|(name, value)| (name == ASSET).then_some(value));
    page::asset(name.unwrap_or_default(), &headers)
}
