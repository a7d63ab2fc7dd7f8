//! All clients are silent.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::Spent;
use crate::{
    args::Args,
    crowd::{Crowd, Hear, Voice},
    dialect::{Dialect, News},
    process::{Machine, Process},
    report::Report,
    server::Server,
    talk::Talk,
};

pub(super) fn run<D: Dialect>(
    args: &Args,
    server: &Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    let process = server.process.as_ref().context(
        "memory can only be measured of a known process; use --server-pid or give a command",
    )?;
    let (empty, own, machine) = (process.resident()?, Process::own().resident()?, Machine::now()?);
    let began = Instant::now();
    let mut crowd = Crowd::<D>::open(args, server)?;
    let connections = crowd.len() as f64;
    report.say("connections", crowd.len());
    report.measure("seconds_to_open", began.elapsed().as_secs_f64());
    if args.paired {
        Talk::new(crowd.len())?.pair_up(args, &mut crowd)?;
    }
    if args.waiting {
        for member in 0..crowd.len() {
            crowd.with(member, |voice| voice.find_nobody(member))??;
            crowd.turn(Duration::ZERO, &mut Listening)?;
        }
    }
    let began = Instant::now();
    let before = Spent::now(server, began)?;
    while began.elapsed() < args.seconds {
        crowd.turn(args.seconds.saturating_sub(began.elapsed()), &mut Listening)?;
    }
    let spent = Spent::now(server, began)?.since(before);
    crowd.rest();
    let kilobytes = |before: u64, after: u64| after.saturating_sub(before) as f64 / 1024.0;
    report.measure("server_kb_per_connection", kilobytes(empty, process.resident()?) / connections);
    report.measure(
        "load_kb_per_connection",
        kilobytes(own, Process::own().resident()?) / connections,
    );
    let slab = Machine::now()?.slab;
    report.measure("slab_kb_per_connection", kilobytes(machine.slab, slab) / connections);
    // The cost of keeping a connection: heartbeats and timers.
    let kept = connections * spent.time.as_secs_f64();
    if let Some(server) = spent.server {
        report.measure("server_cpu_us_per_connection_second", server.as_secs_f64() * 1e6 / kept);
    }
    report.measure("load_cpu_us_per_connection_second", spent.own.as_secs_f64() * 1e6 / kept);
    Ok(())
}

/// Answers what the protocol wants answered, and nothing else.
#[derive(Debug)]
struct Listening;

impl<D> Hear<D> for Listening {
    fn hear(&mut self, member: usize, news: News<'_>, _: &mut Voice<'_, D>) -> anyhow::Result<()> {
        ensure!(!matches!(news, News::Matched | News::Parted), "{member} heard {news:?}");
        Ok(())
    }
}
