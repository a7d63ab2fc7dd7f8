//! What Prometheus reads at `/metrics`: [`render`], and [`Connections`], which the hub does not count.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};
use purrr_core::{Census, Hub};
use tokio::runtime::Handle;

use crate::limits::connections::Admission;

/// The content type of [`render`]'s text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Which dialect a connection speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dialect {
    Native,
    PurrrChat,
}

/// How many connections are open in each dialect. A polling session is one for as long as it lasts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    open: Arc<[AtomicU64; Dialect::ALL.len()]>,
}

/// A connection that is counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Counted {
    connections: Connections,
    dialect: Dialect,
}

impl Dialect {
    const ALL: [Self; 2] = [Self::Native, Self::PurrrChat];

    const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::PurrrChat => "purrr-chat",
        }
    }
}

impl Connections {
    /// Counts a connection until the value is dropped.
    pub(crate) fn count(&self, dialect: Dialect) -> Counted {
        self.of(dialect).fetch_add(1, Ordering::Relaxed);
        Counted { connections: self.clone(), dialect }
    }

    fn of(&self, dialect: Dialect) -> &AtomicU64 {
        &self.open[dialect as usize]
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.of(self.dialect).fetch_sub(1, Ordering::Relaxed);
    }
}

/// Called on the runtime, as a handler is.
fn tasks() -> u64 {
    Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks() as u64)
}

/// The hub's numbers, these and the door's, in the OpenMetrics text format.
pub(crate) fn render(
    hub: &Hub,
    census: Census,
    connections: &Connections,
    admission: &Admission,
) -> String {
    let stats = hub.stats();
    let mut registry = Registry::with_prefix("purrr");
    for (name, help, value) in [
        ("online", "People who are here", hub.online()),
        ("waiting", "People who wait for a partner", census.waiting),
        ("pairs", "Chats under way", census.pairs),
        (
            "buffered_bytes",
            "Bytes of large messages that are held",
            admission.budget().held() as u64,
        ),
        ("tasks", "Tasks that the runtime has, the server's and whatever else it runs", tasks()),
    ] {
        let gauge = Gauge::<i64, AtomicI64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
    let open = Family::<Vec<(&'static str, &'static str)>, Gauge<u64, AtomicU64>>::default();
    for dialect in Dialect::ALL {
        let count = connections.of(dialect).load(Ordering::Relaxed);
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
