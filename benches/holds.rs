//! Longest holds of the lobby's lock, and bytes per waiting ticket, with 1,000,000 waiting.
//!
//! A hold is one call of [`Matchmaker`], which the lobby makes under its lock. Requests are built
//! before and dropped values are freed after it, as the lobby does. The machine decides the same in
//! every run, so the longest hold of a call is the least of three runs: another program that takes
//! the processor disturbs one run only. A smoke run (`--test`) measures a smaller crowd once.
//!
//! `HOLDS_WAITING` sets another number of waiting peers.

#![expect(clippy::print_stdout, reason = "what was measured is printed")]

mod counting;

use std::{
    env,
    hint::black_box,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use counting::BYTES;
use purrr_core::{
    Anyone, Interests, Pairing, Search,
    matching::{Matchmaker, PlaceKey, Request},
    model::{Interest, PeerId, PersonId, Ticket},
};

const TAGS: u64 = 1_000;
const TAGS_EACH: usize = 5;

/// The calls that are measured, in the order in which they are made.
const CALLS: [&str; 5] =
    ["enter", "search and match", "cancel", "enter again", "leave until empty"];

/// The hold of each call of each kind, in nanoseconds.
type Holds = [Vec<u32>; CALLS.len()];

struct World {
    machine: Matchmaker<u64>,
    rule: Arc<dyn Pairing>,
    tags: Vec<Interest>,
    waiting: u64,
    places: Vec<PlaceKey>,
    holds: Holds,
}

fn main() {
    let is_smoke = env::args().any(|argument| argument == "--test");
    let waiting = env::var("HOLDS_WAITING").ok().and_then(|number| number.parse().ok());
    let waiting = if is_smoke { 2_000 } else { waiting.unwrap_or(1_000_000) };
    let runs = if is_smoke { 1 } else { 3 };
    let tags = || (0..TAGS).map(|tag| Interest::from(&*format!("tag-{tag:04}"))).collect();
    for (name, rule, tags) in [
        ("anyone", Arc::new(Anyone) as Arc<dyn Pairing>, Vec::new()),
        ("interests", Arc::new(Interests::default()), tags()),
    ] {
        let mut least: Option<Holds> = None;
        let mut bytes = 0;
        for _ in 0..runs {
            let mut world = World::new(waiting, Arc::clone(&rule), tags.clone());
            bytes = world.run();
            let holds = world.holds;
            if let Some(least) = &mut least {
                let pairs = least.iter_mut().zip(&holds).flat_map(|(a, b)| a.iter_mut().zip(b));
                pairs.for_each(|(least, hold)| *least = (*least).min(*hold));
            } else {
                least = Some(holds);
            }
        }
        println!("{name}: {waiting} waiting, {bytes} bytes per waiting ticket, machine included");
        println!("| call | mean | longest |\n|---|--:|--:|");
        for (call, holds) in CALLS.iter().zip(least.iter().flatten()) {
            let sum: u64 = holds.iter().map(|hold| u64::from(*hold)).sum();
            let mean = sum / (holds.len() as u64).max(1);
            let longest = holds.iter().max().copied().unwrap_or_default();
            println!("| {call} | {mean} ns | {:.1} µs |", f64::from(longest) / 1_000.0);
        }
    }
}

impl World {
    fn new(waiting: u64, rule: Arc<dyn Pairing>, tags: Vec<Interest>) -> Self {
        let (machine, places, holds) = (Matchmaker::new(1), Vec::new(), Holds::default());
        Self { machine, rule, tags, waiting, places, holds }
    }

    /// Makes all calls. Returns the bytes of a ticket while all wait.
    fn run(&mut self) -> u64 {
        let mut random = fastrand::Rng::with_seed(5);
        self.places.reserve_exact(self.waiting as usize);
        self.holds[0].reserve_exact(self.waiting as usize);
        let before = BYTES.load(Ordering::Relaxed);
        for peer in 0..self.waiting {
            let place = self.enter(peer, 0);
            self.places.push(place);
        }
        let bytes = (BYTES.load(Ordering::Relaxed) - before) as u64 / self.waiting;
        for newcomer in 0..self.waiting / 10 {
            self.meet(self.waiting + newcomer);
            let peer = random.u64(..self.waiting);
            self.leave(peer, 2);
            self.places[peer as usize] = self.enter(peer, 3);
        }
        let mut order: Vec<u64> = (0..self.waiting).collect();
        random.shuffle(&mut order);
        for peer in order {
            self.leave(peer, 4);
        }
        bytes
    }

    fn enter(&mut self, peer: u64, call: usize) -> PlaceKey {
        let request = self.request(peer);
        let started = Instant::now();
        let entered = self.machine.handle_enter(Duration::ZERO, request, peer);
        self.note(call, started);
        entered.expect("a peer enters when it has left")
    }

    /// Matches a newcomer, ends the chat, and lets the partner enter again.
    fn meet(&mut self, newcomer: u64) {
        let request = self.request(newcomer);
        let started = Instant::now();
        let entered = self.machine.handle_enter(Duration::ZERO, request, newcomer);
        let made = self.machine.poll_match();
        self.note(1, started);
        let place = entered.expect("every newcomer enters once");
        let Some(made) = made else {
            // No peer of the crowd shares a tag, which is possible in a small crowd.
            return drop(black_box(self.machine.handle_leave(place)));
        };
        self.machine.handle_part(made.pair);
        for partner in made.sides.map(|side| side.seat).into_iter().filter(|it| *it != newcomer) {
            self.places[partner as usize] = self.enter(partner, 3);
        }
    }

    fn leave(&mut self, peer: u64, call: usize) {
        let started = Instant::now();
        let departed = self.machine.handle_leave(self.places[peer as usize]);
        self.note(call, started);
        drop(black_box(departed));
    }

    fn note(&mut self, call: usize, started: Instant) {
        let hold = u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX);
        self.holds[call].push(hold);
    }

    /// All peers of the crowd are of one person, so that no two of them are matched.
    fn request(&self, peer: u64) -> Request {
        let mut ticket = Ticket::new(PeerId::from_bits(peer));
        if peer < self.waiting {
            ticket.person = PersonId::from_bits(u64::MAX);
        }
        let mut random = fastrand::Rng::with_seed(peer);
        let mine = random.choose_multiple(self.tags.iter(), TAGS_EACH);
        let mut search = Search::default();
        search.interests = mine.into_iter().cloned().collect();
        ticket.search = search;
        Request::new(Arc::new(ticket), Arc::clone(&self.rule))
    }
}
