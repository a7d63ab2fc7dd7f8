//! All connections are lost and return.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{Spent, each};
use crate::{
    args::Args, crowd::Crowd, dialect::Dialect, report::Report, server::Server, talk::Talk,
};

/// How long clients take to return: the server has noticed, and has not yet told their partners.
const ABSENCE: Duration = Duration::from_millis(500);

pub(super) fn run<D: Dialect>(
    args: &Args,
    server: &Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    let names = ["connect", "search", "loss", "connect_again", "resume"];
    let mut rounds = Vec::new();
    for round in 0..=args.rounds {
        let spent = run_round::<D>(args, server)?;
        // The first one is to warm up.
        if round > 0 {
            rounds.push(spent);
        }
    }
    let clients = 2 * args.pairs() as u64;
    for (step, name) in names.into_iter().enumerate() {
        let server = rounds.iter().filter_map(|spent| Some(each(spent[step].server?, clients)));
        report.median(&format!("server_cpu_us_per_{name}"), server);
    }
    Ok(())
}

/// Returns what it took to connect, to be matched, to lose all connections, to connect again, and to resume all chats.
fn run_round<D: Dialect>(args: &Args, server: &Server) -> anyhow::Result<[Spent; 5]> {
    let (began, mut talk) = (Instant::now(), Talk::new(2 * args.pairs())?);
    let spent = || Spent::now(server, began);
    let start = spent()?;
    let mut crowd = Crowd::<D>::open(args, server)?;
    let connected = spent()?;
    for member in 0..crowd.len() {
        talk.find(&mut crowd, member)?;
    }
    talk.meet(args, &mut crowd)?;
    let matched = spent()?;
    talk.introduce(args, &mut crowd)?;
    talk.drain(args, &mut crowd)?;
    let claims = crowd.claims().context("clients of this dialect do not resume")?;
    let introduced = spent()?;
    drop(crowd);
    std::thread::sleep(ABSENCE);
    let lost = spent()?;
    let mut crowd = Crowd::<D>::open(args, server)?;
    let connected_again = spent()?;
    for (member, claim) in claims.iter().enumerate() {
        crowd.with(member, |voice| voice.resume(claim))?;
    }
    let everyone = crowd.len();
    let all = crowd.turn_until(args.patience, &mut talk, |talk| talk.resumed == everyone)?;
    ensure!(all, "only {} of {everyone} clients resumed their chat", talk.resumed);
    let resumed = spent()?;
    for member in 0..everyone {
        talk.say_with(&mut crowd, member)?;
    }
    talk.drain(args, &mut crowd)?;
    Ok([
        connected.since(start),
        matched.since(connected),
        lost.since(introduced),
        connected_again.since(lost),
        resumed.since(connected_again),
    ])
}
