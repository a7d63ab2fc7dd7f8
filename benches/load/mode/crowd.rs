//! Very many connect, are paired, and talk now and then.
//!
//! One table of descriptors, one address and one thread do not reach far enough, so the crowd comes
//! in parts that each have their own. What they have in common is who talks to whom, as it would be
//! with one part.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use benches::descriptors::{connections_per_table, own_table};

use super::{Spent, each, relay::STRIDE, say_latencies};
use crate::{
    args::Args,
    crowd::{Crowd, Hear, OPENING, Voice},
    dialect::{Dialect, News},
    process::{Machine, Process},
    report::Report,
    server::Server,
    talk::Talk,
};

/// Connections of one part at most: fewer than one address has ports.
const PART: usize = 25_000;

/// The first port of each part; the last is below those that the system gives out. To let it choose
/// is slow once half of them are taken.
const FIRST_PORT: u16 = 7_000;

/// Messages a second of everyone together, unless told otherwise.
const RATE: f64 = 10_000.0;

/// How many look for a partner, or introduce themself, at any time.
const UNDER_WAY: usize = 10_000;

/// How many of these one part adds before it listens again.
const AT_ONCE: usize = 32;

/// How long a part listens before it looks what there is to say.
const TICK: Duration = Duration::from_millis(5);

/// What everyone does. Each begins when all have finished with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Stage {
    Open,
    Find,
    Introduce,
    Rest,
    Talk,
    Drain,
    End,
}

const STAGES: [Stage; 7] = [
    Stage::Open,
    Stage::Find,
    Stage::Introduce,
    Stage::Rest,
    Stage::Talk,
    Stage::Drain,
    Stage::End,
];

/// What all parts share.
struct Town<'a> {
    args: &'a Args,
    server: &'a Server,
    everyone: usize,
    parts: usize,
    stage: AtomicU8,
    /// Connections that are open.
    opened: AtomicUsize,
    /// Clients that have begun to search.
    looking: AtomicUsize,
    talk: Mutex<Talk>,
    /// The first thing that went wrong.
    failure: Mutex<Option<anyhow::Error>>,
}

/// The clients of one thread.
struct Part {
    number: usize,
    /// The first of them, counted through all parts, and how many they are.
    first: usize,
    len: usize,
}

pub(super) fn run<D: Dialect>(
    args: &Args,
    server: &Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    let everyone = 2 * args.pairs();
    let parts = parts(everyone, connections_per_table()?.min(PART));
    report.say("connections", everyone);
    report.say("parts", parts.len());
    ensure!(
        args.from.is_empty() || args.from.len() >= parts.len(),
        "--from must have an address for each of {} parts",
        parts.len()
    );
    let town = Town {
        args,
        server,
        everyone,
        parts: parts.len(),
        stage: AtomicU8::new(Stage::Open as u8),
        opened: AtomicUsize::new(0),
        looking: AtomicUsize::new(0),
        talk: Mutex::new(Talk::new(everyone)?),
        failure: Mutex::new(None),
    };
    let empty = Footprint::now(server)?;
    let town = &town;
    let watched = thread::scope(|scope| {
        for part in parts {
            scope.spawn(move || {
                if let Err(error) = town.take_part::<D>(&part) {
                    lock(&town.failure).get_or_insert(error);
                }
            });
        }
        let watched = town.watch::<D>(&empty, report);
        town.enter(Stage::End);
        watched
    });
    watched.with_context(|| {
        let opened = town.opened.load(Ordering::Relaxed);
        format!("{opened} of {everyone} connected, {} were paired", lock(&town.talk).matched)
    })
}

/// No code panics while it holds these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Divides everyone into parts of at most `most`, all about as large.
fn parts(everyone: usize, most: usize) -> Vec<Part> {
    let count = everyone.div_ceil(most);
    let begins = |number: usize| number * everyone / count;
    (0..count)
        .map(|number| Part {
            number,
            first: begins(number),
            len: begins(number + 1) - begins(number),
        })
        .collect()
}

impl Town<'_> {
    fn stage(&self) -> Stage {
        STAGES[usize::from(self.stage.load(Ordering::Acquire))]
    }

    fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// Has the stages follow each other, and reports what each of them took.
    fn watch<D: Dialect>(&self, empty: &Footprint, report: &mut Report) -> anyhow::Result<()> {
        let (everyone, began) = (self.everyone as u64, Instant::now());
        let spent = || Spent::now(self.server, began);
        let before = spent()?;
        self.wait(|| self.opened.load(Ordering::Relaxed) as u64 == everyone, || None)?;
        let opening = spent()?.since(before);
        report.measure("seconds_to_open", opening.time.as_secs_f64());
        say_each(report, "connection", opening, everyone);
        Footprint::now(self.server)?.say(report, "open", empty, everyone);

        if D::HAS_LOBBY {
            let before = spent()?;
            self.enter(Stage::Find);
            let matched = || lock(&self.talk).matched as u64;
            self.wait(|| matched() == everyone, || Some(matched()))?;
            let finding = spent()?.since(before);
            report.measure("seconds_to_pair", finding.time.as_secs_f64());
            say_each(report, "pair", finding, everyone / 2);
            let mut talk = lock(&self.talk);
            say_latencies(report, "find_to_matched", &talk.latencies);
            talk.forget_latencies();
        }
        self.enter(Stage::Introduce);
        let introduced = || lock(&self.talk).introduced as u64;
        self.wait(|| introduced() == everyone, || Some(introduced()))?;
        lock(&self.talk).check_introductions()?;

        self.enter(Stage::Rest);
        let before = spent()?;
        self.wait_for(self.args.warm_up)?;
        let resting = spent()?.since(before);
        report.median("server_cores_while_nobody_talks", resting.server_cores());
        Footprint::now(self.server)?.say(report, "paired", empty, everyone);

        let before = spent()?;
        self.enter(Stage::Talk);
        self.wait_for(self.args.seconds)?;
        let talking = spent()?.since(before);
        self.enter(Stage::Drain);
        let under_way = || lock(&self.talk).under_way;
        self.wait(|| under_way() == 0, || Some(under_way()))?;
        let talk = lock(&self.talk);
        report.say("messages", talk.heard);
        report.measure("messages_per_second", talk.heard as f64 / talking.time.as_secs_f64());
        say_latencies(report, "latency", &talk.latencies);
        say_each(report, "message", talking, talk.heard);
        report.median("server_cores_while_they_talk", talking.server_cores());
        Ok(())
    }

    /// Waits until something is done, or until what there is of it has not changed for the run's patience.
    fn wait(
        &self,
        done: impl Fn() -> bool,
        progress: impl Fn() -> Option<u64>,
    ) -> anyhow::Result<()> {
        let (mut last, mut since) = (progress(), Instant::now());
        while !done() {
            self.wait_for(TICK)?;
            let now = progress();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            ensure!(
                now.is_none() || since.elapsed() < self.args.patience,
                "nothing happened any more ({:?}): {} messages are lost",
                self.stage(),
                lock(&self.talk).under_way
            );
        }
        Ok(())
    }

    /// Waits, unless something goes wrong in a part.
    fn wait_for(&self, time: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            if let Some(failure) = lock(&self.failure).take() {
                return Err(failure);
            }
            let left = time.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(10 * TICK));
        }
    }

    fn take_part<D: Dialect>(&self, part: &Part) -> anyhow::Result<()> {
        own_table()?;
        let own = self.address(part);
        let mut ports = FIRST_PORT..=u16::MAX;
        let from = || own.zip(ports.next()).map(SocketAddr::from);
        let at_once = (OPENING / self.parts).max(1);
        let mut crowd =
            Crowd::<D>::open_part(self.args, self.server, part.len, from, at_once, || {
                self.opened.fetch_add(1, Ordering::Relaxed);
                ensure!(self.stage() == Stage::Open, "the run has ended");
                Ok(())
            })?;
        let mut ears = Ears { talk: &self.talk, first: part.first };
        let (mut stage, mut began, mut done) = (Stage::Open, Instant::now(), 0);
        loop {
            if self.stage() != stage {
                (stage, began, done) = (self.stage(), Instant::now(), 0);
            }
            match stage {
                Stage::Open | Stage::Rest | Stage::Drain => {}
                Stage::Find => self.find(part, &mut crowd, &mut done)?,
                Stage::Introduce => self.introduce(part, &mut crowd, &mut done)?,
                Stage::Talk => self.talk(part, &mut crowd, began.elapsed(), &mut done)?,
                Stage::End => return Ok(()),
            }
            crowd.turn(TICK, &mut ears)?;
        }
    }

    /// Lets some more look for a partner.
    fn find<D: Dialect>(
        &self,
        part: &Part,
        crowd: &mut Crowd<D>,
        done: &mut usize,
    ) -> anyhow::Result<()> {
        for _ in 0..AT_ONCE.min(part.len - *done) {
            let mut talk = lock(&self.talk);
            if self.looking.load(Ordering::Relaxed) - talk.matched >= UNDER_WAY {
                break;
            }
            self.looking.fetch_add(1, Ordering::Relaxed);
            talk.note_find(part.first + *done);
            drop(talk);
            crowd.with(*done, |voice| voice.find())??;
            *done += 1;
        }
        Ok(())
    }

    /// Lets some more tell their partner who they are.
    fn introduce<D: Dialect>(
        &self,
        part: &Part,
        crowd: &mut Crowd<D>,
        done: &mut usize,
    ) -> anyhow::Result<()> {
        for _ in 0..AT_ONCE.min(part.len - *done) {
            let mut talk = lock(&self.talk);
            if talk.under_way >= UNDER_WAY as u64 {
                break;
            }
            let line = talk.next_line(part.first + *done);
            drop(talk);
            crowd.with(*done, |voice| voice.say(line))?;
            *done += 1;
        }
        Ok(())
    }

    /// Lets those talk whose turn it is by now.
    fn talk<D: Dialect>(
        &self,
        part: &Part,
        crowd: &mut Crowd<D>,
        elapsed: Duration,
        done: &mut usize,
    ) -> anyhow::Result<()> {
        let share = part.len as f64 / self.everyone as f64;
        let rate = self.args.rate.unwrap_or(RATE) * share;
        let due = (rate * elapsed.as_secs_f64()) as usize;
        for number in *done..due {
            let member = (number * STRIDE) % part.len;
            let line = lock(&self.talk).next_line(part.first + member);
            crowd.with(member, |voice| voice.say(line))?;
        }
        *done = due;
        Ok(())
    }

    /// Where the people of a part come from: on this machine, an address that is theirs alone.
    fn address(&self, part: &Part) -> Option<IpAddr> {
        let [high, low] = (part.number as u16 + 2).to_be_bytes();
        let own = Ipv4Addr::new(127, 1, high, low).into();
        let here = self.server.address.is_ipv4() && self.server.address.ip().is_loopback();
        self.args
            .from
            .get(part.number % self.args.from.len().max(1))
            .copied()
            .or(here.then_some(own))
    }
}

/// Hears for a part, and tells what concerns everyone.
struct Ears<'a> {
    talk: &'a Mutex<Talk>,
    first: usize,
}

impl<D: Dialect> Hear<D> for Ears<'_> {
    fn hear(
        &mut self,
        member: usize,
        news: News<'_>,
        voice: &mut Voice<'_, D>,
    ) -> anyhow::Result<()> {
        match news {
            News::Ready | News::Other => Ok(()),
            _ => lock(self.talk).hear(self.first + member, news, voice),
        }
    }
}

/// Bytes of memory at one moment.
struct Footprint {
    server: Option<u64>,
    own: u64,
    machine: Machine,
}

impl Footprint {
    fn now(server: &Server) -> anyhow::Result<Self> {
        Ok(Self {
            server: server.process.as_ref().map(Process::resident).transpose()?,
            own: Process::own().resident()?,
            machine: Machine::now()?,
        })
    }

    /// Reports what has been added since it was `empty`, for each of so many connections and in all.
    fn say(&self, report: &mut Report, when: &str, empty: &Self, connections: u64) {
        let server = self.server.zip(empty.server);
        let all = [
            ("server", server),
            ("load", Some((self.own, empty.own))),
            ("slab", Some((self.machine.slab, empty.machine.slab))),
            ("machine", Some((self.machine.taken, empty.machine.taken))),
        ];
        for (what, now_and_then) in all {
            let Some((now, then)) = now_and_then else { continue };
            let more = now.saturating_sub(then) as f64;
            report.measure(
                &format!("{when}_{what}_kb_per_connection"),
                more / 1024.0 / connections as f64,
            );
            report.measure(&format!("{when}_{what}_mib"), more / 1024.0 / 1024.0);
        }
    }
}

fn say_each(report: &mut Report, what: &str, spent: Spent, count: u64) {
    if let Some(server) = spent.server {
        report.measure(&format!("server_cpu_us_per_{what}"), each(server, count));
    }
    report.measure(&format!("load_cpu_us_per_{what}"), each(spent.own, count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_in_one_part_and_no_part_is_too_large() {
        for (everyone, most) in
            [(2, 20_000), (20_000, 20_000), (20_001, 20_000), (1_000_000, 19_936)]
        {
            let parts = parts(everyone, most);
            let mut next = 0;
            for (number, part) in parts.iter().enumerate() {
                assert_eq!((part.number, part.first), (number, next));
                assert!((1..=most).contains(&part.len));
                next += part.len;
            }
            assert_eq!(next, everyone);
            assert_eq!(parts.len(), everyone.div_ceil(most));
        }
    }
}
