//! Nobody says anything.

use std::time::Instant;

use anyhow::Context;

use crate::{
    args::Args,
    crowd::{Crowd, Hear, Voice},
    dialect::{Dialect, News},
    process::Process,
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
    let (empty, own) = (process.resident()?, Process::own().resident()?);
    let began = Instant::now();
    let mut crowd = Crowd::<D>::open(args, server)?;
    let connections = crowd.len() as f64;
    report.say("connections", crowd.len());
    report.measure("seconds_to_open", began.elapsed().as_secs_f64());
    if args.paired {
        Talk::new(crowd.len())?.pair_up(args, &mut crowd)?;
    }
    let began = Instant::now();
    while began.elapsed() < args.seconds {
        crowd.turn(args.seconds.saturating_sub(began.elapsed()), &mut Listening)?;
    }
    crowd.rest();
    let kilobytes = |before: u64, after: u64| after.saturating_sub(before) as f64 / 1024.0;
    report.measure("server_kb_per_connection", kilobytes(empty, process.resident()?) / connections);
    report.measure(
        "load_kb_per_connection",
        kilobytes(own, Process::own().resident()?) / connections,
    );
    Ok(())
}

/// Answers what the protocol wants answered, and nothing else.
#[derive(Debug)]
struct Listening;

impl<D> Hear<D> for Listening {
    fn hear(&mut self, _: usize, _: News<'_>, _: &mut Voice<'_, D>) -> anyhow::Result<()> {
        Ok(())
    }
}
