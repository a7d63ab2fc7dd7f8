//! What Prometheus reads at `/metrics`.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};
use purrr_core::{Census, Hub};

use crate::admission::Admission;

/// The content type of [`render`]'s text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The hub's numbers and the door's in the OpenMetrics text format.
pub(crate) fn render(hub: &Hub, census: Census, admission: &Admission) -> String {
    let stats = hub.stats();
    let mut registry = Registry::with_prefix("purrr");
    for (name, help, value) in [
        ("online", "People who are here", hub.online()),
        ("waiting", "People who wait for a partner", census.waiting),
        ("pairs", "Chats under way", census.pairs),
        ("connections", "WebSockets and Engine.IO sessions", admission.connections()),
    ] {
        let gauge = Gauge::<i64, AtomicI64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
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
    for (reason, times) in admission.refused() {
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
