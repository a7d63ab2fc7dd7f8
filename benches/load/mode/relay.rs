//! Everyone talks.

use std::time::{Duration, Instant};

use super::{Spent, each, say_latencies};
use crate::{
    args::Args, crowd::Crowd, dialect::Dialect, report::Report, server::Server, talk::Talk,
};

/// What one round gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) messages: u64,
    pub(super) spent: Spent,
}

pub(super) fn run<D: Dialect>(
    args: &Args,
    server: &Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (rounds, talk) = rounds::<D>(args, server, report)?;
    let of_server = rounds.iter().filter_map(|round| Some((round.spent.server?, round.messages)));
    report.median(
        "server_cpu_us_per_message",
        of_server.map(|(spent, messages)| each(spent, messages)),
    );
    report.median(
        "load_cpu_us_per_message",
        rounds.iter().map(|round| each(round.spent.own, round.messages)),
    );
    report.median(
        "messages_per_second",
        rounds.iter().map(|round| round.messages as f64 / round.spent.time.as_secs_f64()),
    );
    say_latencies(report, "latency", &talk.latencies);
    report.say("messages", talk.heard);
    Ok(())
}

/// Pairs everyone, lets them talk for all rounds, and waits for the last word.
pub(super) fn rounds<D: Dialect>(
    args: &Args,
    server: &Server,
    report: &mut Report,
) -> anyhow::Result<(Vec<Round>, Talk)> {
    report.say("bytes", args.bytes());
    match args.rate {
        Some(rate) => report.measure("rate", rate),
        None => report.say("under_way", args.under_way),
    }
    let mut crowd = Crowd::<D>::open(args, server)?;
    let mut talk = Talk::new(crowd.len())?;
    talk.pair_up(args, &mut crowd)?;
    if args.rate.is_none() {
        talk.start(&mut crowd, args.under_way)?;
    }
    talk_for(args, &mut crowd, &mut talk, args.warm_up)?;
    talk.forget_latencies();
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        let began = Instant::now();
        let (before, heard, idled) = (Spent::now(server, began)?, talk.heard, crowd.idled());
        talk_for(args, &mut crowd, &mut talk, args.seconds)?;
        let mut spent = Spent::now(server, began)?.since(before);
        spent.own = spent.own.saturating_sub(crowd.idled() - idled);
        rounds.push(Round { messages: talk.heard - heard, spent });
    }
    talk.drain(args, &mut crowd)?;
    Ok((rounds, talk))
}

fn talk_for<D: Dialect>(
    args: &Args,
    crowd: &mut Crowd<D>,
    talk: &mut Talk,
    time: Duration,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let Some(rate) = args.rate else {
        while began.elapsed() < time {
            crowd.turn(time.saturating_sub(began.elapsed()), talk)?;
        }
        return Ok(());
    };
    let (mut said, everyone) = (0, crowd.len());
    let due = |at: Duration| (rate * at.as_secs_f64()) as usize;
    while began.elapsed() < time {
        let now_due = due(began.elapsed());
        for number in said..now_due {
            // Far apart, as people talk; a stride that shares no factor with their number reaches all of them.
            talk.say_with(crowd, (number * STRIDE) % everyone)?;
        }
        said = now_due;
        crowd.turn(Duration::from_millis(1), talk)?;
    }
    Ok(())
}

/// A prime.
pub(super) const STRIDE: usize = 7_919;
