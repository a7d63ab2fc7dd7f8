//! The events of the world in their order, and what is counted of them: [`World`] and [`Figures`].

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use purrr_core::{
    Pairing, Search,
    matching::{Made, Matchmaker, PairKey, PlaceKey, Request},
    model::{PeerId, PersonId, Ticket},
};

use crate::{Args, people::Crowd};

/// Whom one met is avoided for so many chats and for so long, and after some waiting no longer.
const REMEMBERED: usize = 5;
const REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);
const RELAX_AFTER: Duration = Duration::from_secs(3);

/// Everybody, the engine that pairs them, and what is going to happen.
#[derive(Debug)]
pub(crate) struct World {
    crowd: Crowd,
    machine: Matchmaker<u64>,
    rule: Arc<dyn Pairing>,
    meet_again: bool,
    people: HashMap<u64, Person>,
    /// The number tells events of the same time apart, in the order in which they were planned.
    agenda: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    planned: u64,
    newcomers: u64,
    counts_from: Duration,
    ends: Duration,
    figures: Figures,
}

/// How people fared.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    waits: Vec<Duration>,
    gave_up: usize,
    pub(crate) chats: usize,
    /// Chats of two who share an interest.
    pub(crate) in_common: usize,
    /// Chats of two of whom either still remembers the other.
    pub(crate) met_again: usize,
    /// People at the end.
    pub(crate) here: usize,
    pairs: usize,
    took: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A new person comes.
    Arrive,
    /// A person searches for the next partner.
    Search(u64),
    /// A person has waited long enough, if it is still this search.
    GiveUp(u64, PlaceKey),
    Part(PairKey, [u64; 2]),
}

#[derive(Debug)]
struct Person {
    search: Search,
    since: Duration,
    place: Option<PlaceKey>,
    /// Whom the person met lately, and when they parted.
    met: VecDeque<(u64, Duration)>,
}

impl World {
    pub(crate) fn new(args: &Args) -> Self {
        Self {
            crowd: Crowd::new(args),
            machine: Matchmaker::new(args.seed),
            rule: args.rule.build(),
            meet_again: args.meet_again,
            people: HashMap::new(),
            agenda: BinaryHeap::new(),
            planned: 0,
            newcomers: 0,
            counts_from: args.duration() / 6,
            ends: args.duration(),
            figures: Figures::default(),
        }
    }

    /// Lets everything happen until the time is over.
    pub(crate) fn run(mut self) -> Figures {
        let began = Instant::now();
        self.plan(Duration::ZERO, Event::Arrive);
        loop {
            let event = self.agenda.peek().map(|Reverse((due, ..))| *due);
            let alarm = self.machine.poll_timeout();
            let Some(now) = event.into_iter().chain(alarm).min() else { break };
            if now > self.ends {
                break;
            }
            if alarm == Some(now) {
                self.machine.handle_timeout(now);
            } else if let Some(Reverse((_, _, event))) = self.agenda.pop() {
                self.handle(now, event);
            }
            while let Some(made) = self.machine.poll_match() {
                self.meet(now, &made);
            }
        }
        self.figures.here = self.people.len();
        self.figures.took = began.elapsed();
        self.figures.waits.sort_unstable();
        self.figures
    }

    fn plan(&mut self, due: Duration, event: Event) {
        self.planned += 1;
        self.agenda.push(Reverse((due, self.planned, event)));
    }

    fn handle(&mut self, now: Duration, event: Event) {
        match event {
            Event::Arrive => {
                self.newcomers += 1;
                let (search, met) = (self.crowd.search(), VecDeque::new());
                let person = Person { search, since: now, place: None, met };
                self.people.insert(self.newcomers, person);
                self.search(now, self.newcomers);
                let next = now.saturating_add(self.crowd.until_next());
                self.plan(next, Event::Arrive);
            }
            Event::Search(id) => self.search(now, id),
            Event::GiveUp(id, place) => {
                if self.people.get(&id).is_some_and(|person| person.place == Some(place)) {
                    self.machine.handle_leave(place);
                    let since = self.people.remove(&id).map(|person| person.since);
                    self.figures.gave_up += usize::from(since >= Some(self.counts_from));
                }
            }
            Event::Part(pair, [a, b]) => {
                self.machine.handle_part(pair);
                for (id, partner) in [(a, b), (b, a)] {
                    self.go_on(now, id, partner);
                }
            }
        }
    }

    fn search(&mut self, now: Duration, id: u64) {
        let Some(person) = self.people.get_mut(&id) else { return };
        person.since = now;
        let mut ticket = Ticket::new(PeerId::from_bits(id));
        ticket.person = PersonId::from_bits(id);
        ticket.search = person.search.clone();
        if !self.meet_again {
            let recent = person.remembered(now).map(PersonId::from_bits);
            ticket.exclusions.recent = recent.collect();
            ticket.exclusions.relax_after = RELAX_AFTER;
        }
        let entered = self.machine.handle_enter(
            now,
            Request::new(Arc::new(ticket), Arc::clone(&self.rule)),
            id,
        );
        let place = entered.expect("a person searches only when they neither wait nor chat");
        person.place = Some(place);
        let due = now.saturating_add(self.crowd.patience());
        self.plan(due, Event::GiveUp(id, place));
    }

    fn meet(&mut self, now: Duration, made: &Made<u64>) {
        let [a, b] = &made.sides;
        let sides = [a.seat, b.seat];
        let ends = now.saturating_add(self.crowd.chat());
        self.plan(ends, Event::Part(made.pair, sides));
        let counts = now >= self.counts_from;
        let mut met_again = false;
        for (id, partner) in [(a.seat, b.seat), (b.seat, a.seat)] {
            let Some(person) = self.people.get_mut(&id) else { continue };
            person.place = None;
            met_again |= person.remembered(now).any(|met| met == partner);
            if person.since >= self.counts_from {
                self.figures.waits.push(now - person.since);
            }
        }
        self.figures.pairs += 1;
        self.figures.chats += usize::from(counts);
        self.figures.met_again += usize::from(counts && met_again);
        let in_common = a.ticket.shared_interests(&b.ticket).next().is_some();
        self.figures.in_common += usize::from(counts && in_common);
    }

    fn go_on(&mut self, now: Duration, id: u64, partner: u64) {
        if !self.crowd.goes_on() {
            self.people.remove(&id);
            return;
        }
        if let Some(person) = self.people.get_mut(&id) {
            person.met.truncate(REMEMBERED - 1);
            person.met.push_front((partner, now));
        }
        let due = now.saturating_add(self.crowd.pause());
        self.plan(due, Event::Search(id));
    }
}

impl Person {
    fn remembered(&self, now: Duration) -> impl Iterator<Item = u64> {
        let lately = move |parted: &Duration| now.saturating_sub(*parted) < REMEMBERED_FOR;
        self.met.iter().filter(move |(_, parted)| lately(parted)).map(|(partner, _)| *partner)
    }
}

impl Figures {
    /// The wait that this share of the matched people did not exceed.
    pub(crate) fn wait(&self, share: f64) -> Duration {
        let rank = (share * self.waits.len() as f64).ceil() as usize;
        self.waits.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The share of searches that ended without a chat.
    pub(crate) fn unpaired(&self) -> f64 {
        Self::share(self.gave_up, self.gave_up + self.waits.len())
    }

    pub(crate) fn share(part: usize, whole: usize) -> f64 {
        part as f64 / whole.max(1) as f64
    }

    pub(crate) fn pairs_per_second(&self) -> f64 {
        self.pairs as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }
}
