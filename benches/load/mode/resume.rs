//! All connections are lost and return.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{Spent, each};
use crate::{
    args::Args, crowd::Crowd, dialect::Dialect, report::Report, server::Server, talk::Talk,
};

/// How long the server may take to notice that all connections are lost. Longer than it tells the partners nothing.
const NOTICING: Duration = Duration::from_secs(2);

pub(super) fn run<D: Dialect>(
    args: &Args,
    server: &Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut fresh, mut losses, mut resumes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=args.rounds {
        let mut talk = Talk::new(2 * args.pairs())?;
        let [one, loss, resume] = run_round::<D>(args, server, &mut talk)?;
        // The first one is to warm up.
        if round > 0 {
            fresh.push(one);
            losses.push(loss);
            resumes.push(resume);
        }
    }
    let clients = 2 * args.pairs() as u64;
    for (name, rounds) in [
        ("server_cpu_us_per_connect_and_search", fresh),
        ("server_cpu_us_per_loss", losses),
        ("server_cpu_us_per_connect_and_resume", resumes),
    ] {
        let server = rounds.iter().filter_map(|spent| Some(each(spent.server?, clients)));
        report.median(name, server);
    }
    Ok(())
}

/// Returns what it took to connect and be matched, to lose all connections, and to connect and resume all chats.
fn run_round<D: Dialect>(
    args: &Args,
    server: &Server,
    talk: &mut Talk,
) -> anyhow::Result<[Spent; 3]> {
    let began = Instant::now();
    let start = Spent::now(server, began)?;
    let mut crowd = Crowd::<D>::open(args, server)?;
    for member in 0..crowd.len() {
        talk.find(&mut crowd, member)?;
    }
    talk.meet(args, &mut crowd)?;
    let matched = Spent::now(server, began)?;
    talk.introduce(args, &mut crowd)?;
    talk.drain(args, &mut crowd)?;
    let claims = crowd.claims().context("clients of this dialect do not resume")?;
    let introduced = Spent::now(server, began)?;
    drop(crowd);
    std::thread::sleep(NOTICING);
    let lost = Spent::now(server, began)?;
    let mut crowd = Crowd::<D>::open(args, server)?;
    for (member, claim) in claims.iter().enumerate() {
        crowd.with(member, |voice| voice.resume(claim))?;
    }
    let everyone = crowd.len();
    let all = crowd.turn_until(args.patience, talk, |talk| talk.resumed == everyone)?;
    ensure!(all, "only {} of {everyone} clients resumed their chat", talk.resumed);
    let resumed = Spent::now(server, began)?;
    for member in 0..everyone {
        talk.say_with(&mut crowd, member)?;
    }
    talk.drain(args, &mut crowd)?;
    Ok([matched.since(start), lost.since(introduced), resumed.since(lost)])
}
