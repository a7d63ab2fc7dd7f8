//! Prometheus metrics, served at `/metrics`: [`serve`].

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64},
};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};
use purrr_core::{Hub, model::Census};
use tokio::runtime::Handle;

use crate::limits::{
    connections::ConnectionLimiter,
    open::{Dialect, OpenConnections},
};

/// The content type of [`render`]'s text.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers a request for the metrics.
pub(crate) async fn serve(
    State((hub, connections, limiter)): State<(Hub, OpenConnections, Arc<ConnectionLimiter>)>,
) -> Response {
    let Ok(census) = hub.census().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let text = render(&hub, census, &connections, &limiter);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

/// Called on the runtime, as a handler is.
fn tasks() -> u64 {
    Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks() as u64)
}

/// The hub's numbers, these and the door's, in the OpenMetrics text format.
fn render(
    hub: &Hub,
    census: Census,
    connections: &OpenConnections,
    limiter: &ConnectionLimiter,
) -> String {
    let stats = hub.stats();
    let mut registry = Registry::with_prefix("purrr");
    for (name, help, value) in [
        ("online", "People who are here", hub.online()),
        ("waiting", "People who wait for a partner", census.waiting),
        ("pairs", "Chats under way", census.pairs),
        ("buffered_bytes", "Bytes of large messages that are held", limiter.budget().held() as u64),
        ("tasks", "Tasks that the runtime has, the server's and whatever else it runs", tasks()),
    ] {
        let gauge = Gauge::<i64, AtomicI64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
    let open = Family::<Vec<(&'static str, &'static str)>, Gauge<u64, AtomicU64>>::default();
    for dialect in Dialect::ALL {
        let count = connections.count(dialect);
        open.get_or_create(&vec![("dialect", dialect.name())]).set(count);
    }
    registry.register("connections", "Connections that are open", open);
    for (name, help, value) in [
        ("arrivals", "People who came", stats.arrivals),
        ("matches", "Times somebody was matched; two for each pair", stats.matches),
        ("frames", "Frames that people sent to their partners", stats.frames),
        ("frame_bytes", "Bytes of those frames", stats.bytes),
    ] {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
    let refused = Family::<Vec<(&'static str, &'static str)>, Counter>::default();
    for (code, times) in &stats.refused {
        refused.get_or_create(&vec![("code", code.as_str())]).inc_by(*times);
    }
    registry.register("refused", "Inputs that were answered with an error", refused);
    let turned_away = Family::<Vec<(&'static str, &'static str)>, Counter>::default();
    for (reason, times) in limiter.rejected() {
        turned_away.get_or_create(&vec![("limit", reason)]).inc_by(times);
    }
    registry.register("turned_away", "Connections that a limit did not let in", turned_away);
    registry.register(
        "build",
        "The program",
        Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
    );
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}
