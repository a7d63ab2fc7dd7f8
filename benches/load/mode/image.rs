//! Everyone sends pictures, one after the other.

use super::{relay::rounds, say_latencies};
use crate::{args::Args, dialect::Dialect, report::Report, server::Server};

pub(super) fn run<D: Dialect>(
    args: &Args,
    server: &Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (rounds, talk) = rounds::<D>(args, server, report)?;
    let megabytes = |messages: u64| messages as f64 * args.bytes() as f64 / 1e6;
    report.median(
        "megabytes_per_second_of_server_cpu",
        rounds.iter().filter_map(|round| {
            Some(megabytes(round.messages) / round.spent.server?.as_secs_f64())
        }),
    );
    report.median(
        "megabytes_per_second_of_load_cpu",
        rounds.iter().map(|round| megabytes(round.messages) / round.spent.own.as_secs_f64()),
    );
    report.median(
        "megabytes_per_second",
        rounds.iter().map(|round| megabytes(round.messages) / round.spent.time.as_secs_f64()),
    );
    if let Some(process) = &server.process {
        report.measure("server_resident_mb", process.resident()? as f64 / 1e6);
    }
    say_latencies(report, "latency", &talk.latencies);
    report.say("pictures", talk.heard);
    Ok(())
}
