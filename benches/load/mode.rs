//! What can be measured, one file each.

mod crowd;
mod idle;
mod image;
mod pair;
mod relay;
mod resume;

use std::time::{Duration, Instant};

use clap::ValueEnum;
use hdrhistogram::Histogram;

use crate::{
    args::{Args, Mode},
    dialect::Dialect,
    process::Process,
    report::Report,
    server::Server,
};

/// Adds to the report as it goes, so that a run which fails has told what came before.
pub(crate) fn run<D: Dialect>(
    args: &Args,
    server: &Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    for (name, value) in
        [("mode", args.mode.to_possible_value()), ("dialect", args.dialect.to_possible_value())]
    {
        report.say(name, value.as_ref().map_or("", |value| value.get_name()));
    }
    report.say("pairs", args.pairs());
    match args.mode {
        Mode::Relay => relay::run::<D>(args, server, report),
        Mode::Pair => pair::run::<D>(args, server, report),
        Mode::Idle => idle::run::<D>(args, server, report),
        Mode::Image => image::run::<D>(args, server, report),
        Mode::Crowd => crowd::run::<D>(args, server, report),
        Mode::Resume => resume::run::<D>(args, server, report),
    }
}

/// What passed between two looks at the clock and at both processes.
#[derive(Clone, Copy, Debug)]
struct Spent {
    time: Duration,
    /// CPU of the server, if it is known which process that is.
    server: Option<Duration>,
    own: Duration,
}

impl Spent {
    /// All that was spent so far.
    fn now(server: &Server, began: Instant) -> anyhow::Result<Self> {
        Ok(Self {
            time: began.elapsed(),
            server: server.process.as_ref().map(Process::cpu).transpose()?,
            own: Process::own().cpu()?,
        })
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            time: self.time - earlier.time,
            server: self.server.zip(earlier.server).map(|(now, then)| now - then),
            own: self.own - earlier.own,
        }
    }

    /// How many cores the server kept busy, if that is known.
    fn server_cores(self) -> Option<f64> {
        Some(self.server?.as_secs_f64() / self.time.as_secs_f64())
    }
}

/// Microseconds for each of so many things.
fn each(spent: Duration, count: u64) -> f64 {
    spent.as_secs_f64() * 1e6 / count.max(1) as f64
}

fn say_latencies(report: &mut Report, what: &str, latencies: &Histogram<u64>) {
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let nanos = latencies.value_at_quantile(quantile);
        report.measure(&format!("{what}_{name}_us"), nanos as f64 / 1e3);
    }
}
