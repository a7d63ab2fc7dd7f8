//! Prometheus metrics, served at `/metrics`: [`Metrics`].

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use axum::{
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};
use purrr_core::{Hub, backend::LobbyError, model::Census};
use tokio::runtime::Handle;

use super::{exposition::Format, origin::Origins};
use crate::limits::{
    connections::ConnectionLimiter,
    lock, log_lines,
    open::{Dialect, OpenConnections},
    requests::RequestLimiter,
};

/// The metrics of the routes of one [`RouterBuilder`](crate::RouterBuilder).
///
/// They are served at `/metrics`, and can be collected in a registry of the app. Nothing is counted
/// here: each scrape reads the counters elsewhere. The names have no prefix; `/metrics` has `purrr`.
///
/// ```
/// use prometheus_client::{encoding::text::encode, registry::Registry};
/// use purrr_core::Hub;
/// use purrr_server::RouterBuilder;
///
/// let (chat, handle) = RouterBuilder::new(Hub::builder()).build::<()>();
/// let mut registry = Registry::default();
/// let metrics = Box::new(handle.metrics().clone());
/// registry.sub_registry_with_prefix("purrr").register_collector(metrics);
/// let mut text = String::new();
/// encode(&mut text, &registry).unwrap();
/// assert!(text.contains("purrr_online 0"));
/// # let _ = chat;
/// ```
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Sources>);

/// The counters that a scrape reads.
#[derive(Debug)]
struct Sources {
    hub: Hub,
    open: OpenConnections,
    limiter: Arc<ConnectionLimiter>,
    origins: Arc<Origins>,
    /// The last census that the lobby gave.
    census: Mutex<Census>,
}

impl Metrics {
    pub(super) fn new(
        hub: Hub,
        open: OpenConnections,
        limiter: Arc<ConnectionLimiter>,
        origins: Arc<Origins>,
    ) -> Self {
        Self(Arc::new(Sources { hub, open, limiter, origins, census: Mutex::default() }))
    }

    /// Asks the lobby how many peers wait, for the next scrape.
    ///
    /// Only for a lobby that does not answer at once: a collector cannot wait. The lobby in memory
    /// is asked by each scrape.
    ///
    /// # Errors
    ///
    /// The error of the lobby.
    pub async fn refresh(&self) -> Result<(), LobbyError> {
        let census = self.0.hub.census().await?;
        *lock(&self.0.census) = census;
        Ok(())
    }
}

/// Answers a scrape in the format that it asks for, or with 503 if the lobby does not answer.
pub(super) async fn scrape(State(metrics): State<Metrics>, headers: HeaderMap) -> Response {
    if metrics.refresh().await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let mut registry = Registry::with_prefix("purrr");
    registry.register_collector(Box::new(metrics));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string does not fail");
    let format = Format::asked_for(&headers);
    let headers = [(CONTENT_TYPE, format.content_type()), (VARY, ACCEPT.as_str())];
    (headers, format.of(text)).into_response()
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(Ok(census)) = self.0.hub.census().now_or_never() {
            *lock(&self.0.census) = census;
        }
        self.0.encode(encoder)
    }
}

impl Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        let help = "Version of the server.";
        version.encode(encoder.encode_descriptor("build", help, None, MetricType::Info)?)?;
        let Census { waiting, pairs, .. } = *lock(&self.census);
        let stats = self.hub.stats();
        for (name, help, value) in [
            ("online", "Peers online.", self.hub.online()),
            ("waiting", "Peers waiting for a partner.", waiting),
            ("pairs", "Chats in progress.", pairs),
            ("detached", "Sessions without a connection that may be resumed.", stats.detached),
            (
                "buffered_bytes",
                "Bytes of large messages in memory.",
                self.limiter.budget().held() as u64,
            ),
            (
                "provisional_sessions",
                "Polling sessions whose client has sent nothing yet.",
                self.limiter.provisional().count() as u64,
            ),
            ("tasks", "Tasks of the runtime, including those of other services.", alive_tasks()),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let help = "Open connections, by dialect.";
        let mut family = encoder.encode_descriptor("connections", help, None, MetricType::Gauge)?;
        for dialect in Dialect::ALL {
            let gauge = ConstGauge::new(self.open.count(dialect));
            gauge.encode(family.encode_family(&[("dialect", dialect.name())])?)?;
        }
        for (name, help, value) in [
            ("arrivals", "Peers that have connected.", stats.arrivals),
            ("matches", "Matched peers (two per chat).", stats.matches),
            ("resumed", "Sessions resumed over another connection.", stats.resumed),
            ("expired", "Sessions whose client did not return in time.", stats.expired),
            ("frames", "Frames sent to partners.", stats.frames),
            ("frame_bytes", "Bytes of those frames.", stats.bytes),
            (
                "log_lines_dropped",
                "Log lines dropped, since nothing read them.",
                log_lines::dropped(),
            ),
        ] {
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(descriptor)?;
        }
        let help = "Inputs refused, by error code.";
        let mut family = encoder.encode_descriptor("refused", help, None, MetricType::Counter)?;
        for (code, count) in &stats.refused {
            let counter = ConstCounter::new(*count);
            counter.encode(family.encode_family(&[("code", code.as_str())])?)?;
        }
        let (name, help) = ("connections_rejected", "Connections rejected, by limit.");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (limit, count) in self.limiter.rejected() {
            let counter = ConstCounter::new(count);
            counter.encode(family.encode_family(&[("limit", limit)])?)?;
        }
        let (name, help) = ("provisional_sessions_ended", "Provisional sessions ended, by reason.");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, count) in self.limiter.provisional().ended() {
            let counter = ConstCounter::new(count);
            counter.encode(family.encode_family(&[("reason", reason)])?)?;
        }
        let (name, help) = ("flooders_ended", "Connections ended for useless input, by limit.");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (limit, count) in self.limiter.ended().into_iter().flat_map(|it| it.by_limit()) {
            let counter = ConstCounter::new(count);
            counter.encode(family.encode_family(&[("limit", limit)])?)?;
        }
        let (name, help) = ("requests_rejected", "Requests rejected, by reason.");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        let by_rate = self.limiter.requests().into_iter().flat_map(RequestLimiter::rejected);
        for (reason, count) in self.origins.refused().into_iter().chain(by_rate) {
            let counter = ConstCounter::new(count);
            counter.encode(family.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}

/// Returns the number of tasks on the current runtime, on which scrapes are answered.
fn alive_tasks() -> u64 {
    Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks() as u64)
}
