//! Every client searches.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Spent, each, say_latencies};
use crate::{
    args::Args, crowd::Crowd, dialect::Dialect, report::Report, server::Server, talk::Talk,
};

pub(super) fn run<D: Dialect>(
    args: &Args,
    server: &Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    ensure!(D::HAS_LOBBY, "this dialect has no lobby to search in");
    if let Some(rate) = args.rate {
        report.measure("rate", rate);
    }
    let mut latencies = Talk::new(0)?.latencies;
    let mut rounds = Vec::new();
    for round in 0..=args.rounds {
        // No client meets the same stranger twice in a row, so each round has clients of its own.
        let mut crowd = Crowd::<D>::open(args, server)?;
        let mut talk = Talk::new(crowd.len())?;
        let spent = pair_all(args, server, &mut crowd, &mut talk)?;
        talk.introduce(args, &mut crowd)?;
        // The first one is to warm up.
        if round > 0 {
            rounds.push(spent);
            latencies.add(&talk.latencies)?;
        }
    }
    let pairs = args.pairs() as u64;
    report.median(
        "server_cpu_us_per_pair",
        rounds.iter().filter_map(|spent| Some(each(spent.server?, pairs))),
    );
    report.median("load_cpu_us_per_pair", rounds.iter().map(|spent| each(spent.own, pairs)));
    report.median(
        "pairs_per_second",
        rounds.iter().map(|spent| pairs as f64 / spent.time.as_secs_f64()),
    );
    say_latencies(report, "find_to_matched", &latencies);
    Ok(())
}

/// Has everyone look for a partner, at once or at the rate asked for, and returns what it took until all have one.
fn pair_all<D: Dialect>(
    args: &Args,
    server: &Server,
    crowd: &mut Crowd<D>,
    talk: &mut Talk,
) -> anyhow::Result<Spent> {
    let began = Instant::now();
    let before = Spent::now(server, began)?;
    let mut looking = 0;
    while looking < crowd.len() {
        let due = args.rate.map_or(crowd.len(), |rate| {
            crowd.len().min((2.0 * rate * began.elapsed().as_secs_f64()) as usize)
        });
        for member in looking..due {
            talk.find(crowd, member)?;
        }
        looking = due;
        let patience = if args.rate.is_some() { Duration::from_millis(1) } else { Duration::ZERO };
        crowd.turn(patience, talk)?;
    }
    talk.meet(args, crowd)?;
    Ok(Spent::now(server, began)?.since(before))
}
