//! Random worlds of hundreds of peers, compared with a model that judges every pair of peers.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use proptest::{prelude::*, test_runner::TestCaseError};

use super::{
    search::{INITIAL_SCAN, RANDOM_PROBES, RESUMED_SCAN},
    *,
};
use crate::{
    matching::{
        rule::Choice,
        rules::{Anyone, Interests, Languages, PairingExt},
    },
    model::{attributes::Attributes, profile::Search},
};

/// The bounds that [`Matchmaker`] documents: entries of all buckets together per first search and
/// per resumed search, and the pause between them.
const VISITED_FIRST: u64 = 16;
const VISITED: u64 = 256;
const EVERY: Duration = Duration::from_millis(100);

/// The recent partners that a peer avoids.
const REMEMBERED: usize = 5;

/// What happens in a world. Numbers wrap around at the number of peers or pairs.
#[derive(Clone, Debug)]
enum Step {
    Enter(usize),
    /// So many peers enter at once: every other one, beginning with this one.
    Crowd(usize, usize),
    Leave(usize),
    /// So many waiting peers leave at once, beginning with this one.
    Exodus(usize, usize),
    Part {
        pair: usize,
        blocks: bool,
    },
    /// One of a pair is gone, and the other enters again with its waited time.
    Ghost(usize),
    /// So many milliseconds pass.
    Pass(u64),
}

/// The number of peers and the rules they use.
#[derive(Clone, Copy, Debug)]
struct Climate {
    peers: usize,
    rules: &'static [usize],
    /// One in this many peers is the same person as the peer before.
    twins: u64,
}

/// Peers with tags, languages or neither.
const CITY: Climate = Climate { peers: 240, rules: &[0, 1, 1, 1, 2, 3, 4, 7], twins: 10 };

/// Hundreds of peers in one bucket that refuse each other, among a few that do not.
const CROWD: Climate =
    Climate { peers: 900, rules: &[5, 5, 5, 6, 6, 8, 5, 5, 5, 6, 6, 8, 1], twins: 50 };

/// Kinds that seek each other.
const KINDS: Climate = Climate { peers: 400, rules: &[9, 9, 9, 10, 10, 11, 11, 2], twins: 10 };

/// A mixture of all rules.
const FAIR: Climate =
    Climate { peers: 400, rules: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 5, 5, 6], twins: 10 };

/// A peer in the model.
struct Person {
    ticket: Ticket,
    rule: Arc<dyn Pairing>,
    /// The number of its buckets after the last widening step.
    buckets: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Away,
    Waiting { since: Duration, place: PlaceKey },
    Paired { with: usize, pair: PairKey, waited: Duration },
}

struct World {
    machine: Matchmaker<usize>,
    people: Vec<Person>,
    now: Duration,
    /// Pairs of waiting peers, each with the time from which they could meet.
    could_meet: BTreeSet<(Duration, usize, usize)>,
    /// The number of waiting peers, with the time from which it holds.
    crowds: Vec<(Duration, u64)>,
    pairs: HashSet<PairKey>,
}

impl World {
    fn new(climate: Climate, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let rules: [Arc<dyn Pairing>; 12] = [
            Arc::new(Anyone),
            Arc::new(Interests::default()),
            Arc::new(Languages),
            Arc::new(Languages.and(Interests::default())),
            Arc::new(Languages.widening(Duration::from_secs(3), Anyone)),
            Arc::new(Mates(Choice::Oldest)),
            Arc::new(Mates(Choice::Random)),
            Arc::new(Interests::default().widen_after(EVERY, EVERY * 2).and(Languages)),
            Arc::new(Creeping),
            Arc::new(Kinds),
            Arc::new(Languages.and(Kinds)),
            Arc::new(Kinds.widening(Duration::from_secs(3), Languages)),
        ];
        let mut people: Vec<Person> = Vec::new();
        for peer in 0..climate.peers {
            let mut ticket = Ticket::new(PeerId::from_bits(peer as u64));
            if peer > 0 && random.u64(..climate.twins) == 0 {
                ticket.person = people[peer - 1].ticket.person;
            }
            // Skewed: a few subjects are common, most are rare.
            let mut skewed = |most: f64| (random.f64().powi(3) * most) as usize;
            let interests = (0..skewed(6.0)).map(|_| format!("subject {}", skewed(30.0)));
            let interests: Vec<String> = interests.collect();
            let languages = (0..skewed(4.0)).map(|_| ["en", "fr", "de", "it"][skewed(4.0)]);
            let languages: Vec<&str> = languages.collect();
            ticket.search =
                Search::for_interests(interests.iter().map(String::as_str)).in_languages(languages);
            ticket.hello.encrypts = random.u64(..20) == 0;
            ticket.attributes = Attributes::default().with("kind", random.i64(0..3));
            ticket.exclusions.relax_after =
                Duration::from_millis([0, 3_000, 7_500][random.usize(..3)]);
            let rule = Arc::clone(&rules[climate.rules[random.usize(..climate.rules.len())]]);
            let last = rule.widen_at().last().copied().unwrap_or_default();
            let buckets = buckets_of(&*rule, &ticket, last).len() as u64;
            people.push(Person { ticket, rule, buckets, state: State::Away });
        }
        Self {
            machine: Matchmaker::new(seed),
            people,
            now: Duration::ZERO,
            could_meet: BTreeSet::new(),
            crowds: vec![(Duration::ZERO, 0)],
            pairs: HashSet::new(),
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Enter(peer) => self.enter(peer % self.people.len(), Duration::ZERO)?,
            Step::Crowd(first, count) => {
                for peer in (first..).step_by(2).take(count) {
                    self.enter(peer % self.people.len(), Duration::ZERO)?;
                }
            }
            Step::Leave(which) => self.leave(which, 1),
            Step::Exodus(first, count) => self.leave(first, count),
            Step::Part { pair, blocks } => {
                if let Some([a, b]) = self.part(pair) {
                    for (peer, with) in [(a, b), (b, a)] {
                        let with = self.people[with].ticket.person;
                        let exclusions = &mut self.people[peer].ticket.exclusions;
                        let recent = exclusions.recent.iter().copied().filter(|it| *it != with);
                        exclusions.recent =
                            [with].into_iter().chain(recent).take(REMEMBERED).collect();
                        if blocks && peer == a {
                            *exclusions = std::mem::take(exclusions).blocking([with]);
                        }
                    }
                }
            }
            Step::Ghost(pair) => {
                let before: Vec<State> = self.people.iter().map(|person| person.state).collect();
                if let Some([left, _]) = self.part(pair)
                    && let State::Paired { waited, .. } = before[left]
                {
                    self.enter(left, waited)?;
                }
            }
            Step::Pass(milliseconds) => self.pass(Duration::from_millis(milliseconds))?,
        }
        self.check()
    }

    fn enter(&mut self, peer: usize, waited: Duration) -> Result<(), TestCaseError> {
        let person = &self.people[peer];
        let ticket = Arc::new(Ticket { waited, ..person.ticket.clone() });
        let request = Request::new(ticket, Arc::clone(&person.rule));
        let entered = self.machine.handle_enter(self.now, request, peer);
        prop_assert_eq!(entered.is_ok(), person.state == State::Away, "{:?}", person.state);
        if let Ok(place) = entered {
            let since = self.now - waited;
            self.people[peer].state = State::Waiting { since, place };
            let waiting = self.waiting();
            self.crowds.push((self.now, waiting.len() as u64));
            for (other, _) in waiting {
                if let Some(from) = self.meet_from(peer, other) {
                    self.could_meet.insert((from.max(self.now), peer, other));
                }
            }
        }
        self.note_pairs()
    }

    fn leave(&mut self, first: usize, count: usize) {
        let waiting = self.waiting();
        let first = first.checked_rem(waiting.len()).unwrap_or_default();
        for (peer, place) in waiting.into_iter().skip(first).take(count) {
            self.machine.handle_leave(place);
            self.people[peer].state = State::Away;
        }
    }

    /// Ends a pair and returns its peers.
    fn part(&mut self, which: usize) -> Option<[usize; 2]> {
        let paired =
            self.people.iter().enumerate().filter_map(|(peer, person)| match person.state {
                State::Paired { with, pair, .. } => Some((peer, with, pair)),
                State::Away | State::Waiting { .. } => None,
            });
        let paired: Vec<_> = paired.collect();
        let (peer, with, pair) = *paired.get(which.checked_rem(paired.len())?)?;
        self.machine.handle_part(pair);
        for peer in [peer, with] {
            self.people[peer].state = State::Away;
        }
        Some([peer, with])
    }

    /// Lets time pass as an owner of the machine does: each timeout is handled when it is due.
    fn pass(&mut self, duration: Duration) -> Result<(), TestCaseError> {
        let end = self.now + duration;
        while let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) {
            prop_assert!(due >= self.now, "a timeout was due in the past");
            self.now = due;
            self.machine.handle_timeout(due);
            self.note_pairs()?;
        }
        self.now = end;
        Ok(())
    }

    fn note_pairs(&mut self) -> Result<(), TestCaseError> {
        while let Some(made) = self.machine.poll_match() {
            let [a, b] = made.sides.each_ref().map(|side| side.seat);
            prop_assert_ne!(a, b);
            prop_assert!(self.pairs.insert(made.pair), "a pair's name was used before");
            let from = self.meet_from(a, b);
            prop_assert!(from.is_some_and(|from| from <= self.now), "{} {} {:?}", a, b, from);
            for (side, with) in made.sides.iter().zip([b, a]) {
                let person = &mut self.people[side.seat];
                prop_assert_eq!(side.ticket.peer, person.ticket.peer);
                let State::Waiting { since, .. } = person.state else {
                    return Err(TestCaseError::fail(format!("paired while {:?}", person.state)));
                };
                let waited = self.now - since;
                person.state = State::Paired { with, pair: made.pair, waited };
            }
        }
        Ok(())
    }

    /// Returns the time from which two waiting peers could meet, if they ever can.
    fn meet_from(&self, a: usize, b: usize) -> Option<Duration> {
        let (first, second) = (&self.people[a], &self.people[b]);
        let (State::Waiting { since: since_a, .. }, State::Waiting { since: since_b, .. }) =
            (first.state, second.state)
        else {
            return None;
        };
        let never = first.ticket.person == second.ticket.person
            || first.ticket.hello.encrypts != second.ticket.hello.encrypts
            || first.ticket.exclusions.blocks(second.ticket.person)
            || second.ticket.exclusions.blocks(first.ticket.person)
            || !first.rule.accepts(&first.ticket, &second.ticket)
            || !second.rule.accepts(&second.ticket, &first.ticket);
        if never {
            return None;
        }
        let steps = |person: &Person, since: Duration| {
            let steps = [Duration::ZERO].into_iter().chain(person.rule.widen_at().iter().copied());
            let steps = steps.map(|due| {
                let looks = person.rule.buckets(&person.ticket, due);
                let stands = person.rule.stands_in(&person.ticket, due);
                (since + due, stands.unwrap_or_else(|| looks.clone()), looks)
            });
            steps.collect::<Vec<_>>()
        };
        let (steps_a, steps_b) = (steps(first, since_a), steps(second, since_b));
        let meetings = steps_a.iter().flat_map(|(time_a, stands_a, looks_a)| {
            let finds = |looks: &[Bucket], stands: &[Bucket]| {
                looks.iter().any(|bucket| stands.contains(bucket))
            };
            let common = steps_b.iter().filter(move |(_, stands_b, looks_b)| {
                let found = finds(looks_a, stands_b);
                assert_eq!(found, finds(looks_b, stands_a), "the rule is one-sided");
                found
            });
            common.map(|(time_b, ..)| *time_a.max(time_b))
        });
        let meet = meetings.min()?;
        let met = first.ticket.exclusions.recent.contains(&second.ticket.person)
            || second.ticket.exclusions.recent.contains(&first.ticket.person);
        let relaxes = (since_a + first.ticket.exclusions.relax_after)
            .max(since_b + second.ticket.exclusions.relax_after);
        Some(if met { meet.max(relaxes) } else { meet })
    }

    fn waiting(&self) -> Vec<(usize, PlaceKey)> {
        let waiting =
            self.people.iter().enumerate().filter_map(|(peer, person)| match person.state {
                State::Waiting { place, .. } => Some((peer, place)),
                State::Away | State::Paired { .. } => None,
            });
        waiting.collect()
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let waiting: HashMap<usize, PlaceKey> = self.waiting().into_iter().collect();
        self.crowds.push((self.now, waiting.len() as u64));
        let here = self.people.iter().filter(|person| person.state != State::Away).count();
        let pairs = (here - waiting.len()) / 2;
        prop_assert_eq!(self.machine.census(), Census::new(waiting.len() as u64, pairs as u64));
        let timeouts = waiting.values().filter_map(|place| self.machine.poll_timeout_of(*place));
        prop_assert_eq!(timeouts.clone().min(), self.machine.poll_timeout());
        prop_assert_eq!(timeouts.count(), self.machine.timeouts.len());
        self.could_meet.retain(|(_, a, b)| waiting.contains_key(a) && waiting.contains_key(b));
        for (from, a, b) in self.could_meet.range(..(self.now, 0, 0)) {
            let since = self.crowds.partition_point(|(time, _)| time < from).saturating_sub(1);
            let most = self.crowds[since..].iter().map(|(_, waiting)| *waiting).max();
            let buckets = [a, b].map(|peer| self.people[*peer].buckets).into_iter().max();
            let entries = most.unwrap_or_default() * buckets.unwrap_or_default();
            let searches = entries.saturating_sub(VISITED_FIRST).div_ceil(VISITED);
            let bound = EVERY * u32::try_from(searches).unwrap();
            prop_assert!(
                self.now <= *from + bound,
                "{} and {} could meet from {:?} on, and at {:?} both wait",
                a,
                b,
                from,
                self.now
            );
        }
        Ok(())
    }

    /// Ends all pairs and waits, and checks that the machine holds nothing any more.
    fn end(&mut self) -> Result<(), TestCaseError> {
        while self.part(0).is_some() {}
        self.leave(0, self.people.len());
        self.check()?;
        let machine = &self.machine;
        prop_assert!(machine.waiting.is_empty() && machine.pairs.is_empty());
        prop_assert!(machine.peers.is_empty() && machine.queues.is_empty());
        prop_assert!(machine.timeouts.is_empty() && machine.made.is_empty());
        Ok(())
    }
}

/// Pairs kind 0 with kind 1, and kind 2 with itself.
#[derive(Debug)]
struct Kinds;

impl Pairing for Kinds {
    fn buckets(&self, ticket: &Ticket, _: Duration) -> Vec<Bucket> {
        let seeks = [1_i64, 0, 2][ticket.attributes.integer("kind").unwrap_or(2) as usize];
        vec![Bucket::of("kind", &seeks)]
    }

    fn stands_in(&self, ticket: &Ticket, _: Duration) -> Option<Vec<Bucket>> {
        Some(vec![Bucket::of("kind", &ticket.attributes.integer("kind").unwrap_or(2))])
    }
}

/// Accepts pairs of peers whose ids differ in the last bit only. All share the bucket of `Anyone`.
#[derive(Debug)]
struct Mates(Choice);

impl Pairing for Mates {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        Anyone.buckets(ticket, waited)
    }

    fn choice(&self) -> Choice {
        self.0
    }

    fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
        a.peer.to_bits() / 2 == b.peer.to_bits() / 2
    }
}

/// Like [`Mates`], with one more bucket every 70 ms for a while.
#[derive(Debug)]
struct Creeping;

const CREEPS: [Duration; 10] = {
    let mut creeps = [Duration::ZERO; 10];
    let mut index = 0;
    while index < creeps.len() {
        creeps[index] = Duration::from_millis(70 * (1 + index as u64));
        index += 1;
    }
    creeps
};

impl Pairing for Creeping {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        let later = CREEPS.iter().filter(|due| **due <= waited);
        let later = later.map(|due| Bucket::new("later", &due.as_millis().to_string()));
        Anyone.buckets(ticket, waited).into_iter().chain(later).collect()
    }

    fn widen_at(&self) -> &[Duration] {
        &CREEPS
    }

    fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
        Mates(Choice::Oldest).accepts(a, b)
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..900).prop_map(Step::Enter),
        3 => (0_usize..900, 0_usize..300).prop_map(|(first, count)| Step::Crowd(first, count)),
        6 => (0_usize..900).prop_map(Step::Leave),
        1 => (0_usize..900, 0_usize..600).prop_map(|(first, count)| Step::Exodus(first, count)),
        8 => (0_usize..900, prop::bool::weighted(0.2))
            .prop_map(|(pair, blocks)| Step::Part { pair, blocks }),
        2 => (0_usize..900).prop_map(Step::Ghost),
        6 => (0_u64..400).prop_map(Step::Pass),
        2 => (0_u64..9_000).prop_map(Step::Pass),
    ]
}

fn play(climate: Climate, seed: u64, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new(climate, seed);
    for step in steps {
        world.take(step)?;
    }
    // Searches that are still under way must end in time, too.
    for _ in 0..10 {
        world.take(&Step::Pass(50))?;
    }
    world.end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn city(seed: u64, steps in prop::collection::vec(step(), 1..200)) {
        play(CITY, seed, &steps)?;
    }

    #[test]
    fn crowd(seed: u64, steps in prop::collection::vec(step(), 1..80)) {
        play(CROWD, seed, &steps)?;
    }

    #[test]
    fn kinds(seed: u64, steps in prop::collection::vec(step(), 1..200)) {
        play(KINDS, seed, &steps)?;
    }

    #[test]
    fn fair(seed: u64, steps in prop::collection::vec(step(), 1..100)) {
        play(FAIR, seed, &steps)?;
    }
}

/// Refuses every pair and counts the calls.
#[derive(Debug)]
struct Refusing(Choice, AtomicUsize);

impl Pairing for Refusing {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        Anyone.buckets(ticket, waited)
    }

    fn choice(&self) -> Choice {
        self.0
    }

    fn accepts(&self, _: &Ticket, _: &Ticket) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed);
        false
    }
}

fn enter(
    machine: &mut Matchmaker<u64>,
    now: Duration,
    peer: u64,
    rule: &Arc<impl Pairing>,
) -> PlaceKey {
    let ticket = Arc::new(Ticket::new(PeerId::from_bits(peer)));
    let rule = Arc::clone(rule);
    machine.handle_enter(now, Request::new(ticket, rule), peer).unwrap()
}

#[test]
fn visits_per_search_are_bounded() {
    for (choice, most) in [
        (Choice::Oldest, INITIAL_SCAN.per_bucket),
        (Choice::Random, INITIAL_SCAN.per_bucket + RANDOM_PROBES),
    ] {
        let rule = Arc::new(Refusing(choice, AtomicUsize::new(0)));
        let mut machine = Matchmaker::new(3);
        for peer in 0..100_000 {
            enter(&mut machine, Duration::ZERO, peer, &rule);
            assert!(rule.1.swap(0, Ordering::Relaxed) <= most);
        }
        machine.handle_timeout(EVERY);
        let asked = rule.1.load(Ordering::Relaxed);
        assert!(
            (1..=TIMEOUT_BUDGET + RESUMED_SCAN.total + SEARCHES_PER_TIMEOUT * RANDOM_PROBES)
                .contains(&asked),
            "{asked}"
        );
    }
}

/// A search has passed most of a long queue when the entries it has passed leave.
#[test]
fn search_resumes_after_compaction() {
    let rule = Arc::new(Mates(Choice::Oldest));
    let mut machine = Matchmaker::new(3);
    let places: Vec<PlaceKey> =
        (0..1_500).map(|peer| enter(&mut machine, Duration::ZERO, 2 * peer, &rule)).collect();
    let mate = 2 * 1_450 + 1;
    // Until the searches of all others have ended.
    let mut now = Duration::from_secs(1);
    while let Some(due) = machine.poll_timeout() {
        now = now.max(due);
        machine.handle_timeout(now);
    }
    enter(&mut machine, now, mate, &rule);
    for _ in 0..5 {
        now += EVERY;
        machine.handle_timeout(now);
    }
    for place in &places[100..900] {
        machine.handle_leave(*place);
    }
    let held: usize = machine.queues.values().map(WaitQueue::held).sum();
    assert!(held < 800, "the queue was not compacted: {held}");
    assert!(machine.poll_match().is_none());
    machine.handle_timeout(now + EVERY);
    assert_eq!(machine.poll_match().unwrap().sides.map(|side| side.seat), [mate - 1, mate]);
}

/// Refuses every pair, with as many buckets as a ticket has tags.
#[derive(Debug)]
struct RefusingTags(AtomicUsize);

impl Pairing for RefusingTags {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        Interests::default().buckets(ticket, waited)
    }

    fn accepts(&self, _: &Ticket, _: &Ticket) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        false
    }
}

#[test]
fn visits_are_bounded_over_all_buckets() {
    let rule = Arc::new(RefusingTags(AtomicUsize::new(0)));
    let asked = || rule.0.swap(0, Ordering::Relaxed);
    let mut machine = Matchmaker::new(3);
    for peer in 0..2_000 {
        let mut ticket = Ticket::new(PeerId::from_bits(peer));
        ticket.search = Search::for_interests(
            (0..32)
                .map(|tag| format!("{}", (peer + tag) % 64))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str),
        );
        let request = Request::new(Arc::new(ticket), rule.clone());
        machine.handle_enter(Duration::ZERO, request, peer).unwrap();
        assert!(asked() <= INITIAL_SCAN.total);
    }
    for tick in 1..50 {
        machine.handle_timeout(EVERY * tick);
        assert!(asked() <= TIMEOUT_BUDGET + RESUMED_SCAN.total);
    }

    // No peer stands in two of the buckets, so every visited entry is asked about.
    let mut machine = Matchmaker::new(3);
    let tags: Vec<_> = (0..32).map(|tag| tag.to_string()).collect();
    let enter = |machine: &mut Matchmaker<u64>, peer: u64, tags: &[String]| {
        let mut ticket = Ticket::new(PeerId::from_bits(peer));
        ticket.search = Search::for_interests(tags.iter().map(String::as_str));
        machine.handle_enter(Duration::ZERO, Request::new(Arc::new(ticket), rule.clone()), peer)
    };
    for peer in 0..3_200 {
        enter(&mut machine, peer, &tags[peer as usize % 32..][..1]).unwrap();
    }
    while let Some(due) = machine.poll_timeout() {
        machine.handle_timeout(due);
    }
    asked();
    let place = enter(&mut machine, 3_200, &tags).unwrap();
    assert_eq!(asked(), INITIAL_SCAN.total);
    machine.handle_timeout(machine.poll_timeout_of(place).unwrap());
    assert_eq!(asked(), RESUMED_SCAN.total);
}

/// Widens to a bucket in which no other peer stands, so that a search visits nothing.
#[derive(Debug)]
struct Lonely;

impl Pairing for Lonely {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        let bucket = |step: &str| Bucket::new(step, &ticket.peer.to_bits().to_string());
        if waited < EVERY { vec![bucket("first")] } else { vec![bucket("first"), bucket("second")] }
    }

    fn widen_at(&self) -> &[Duration] {
        &[EVERY]
    }

    fn accepts(&self, _: &Ticket, _: &Ticket) -> bool {
        true
    }
}

#[test]
fn searches_per_timeout_are_bounded() {
    let mut machine = Matchmaker::new(3);
    let rule = Arc::new(Lonely);
    for peer in 0..1_000 {
        enter(&mut machine, Duration::ZERO, peer, &rule);
    }
    for timeout in 1..=3 {
        machine.handle_timeout(EVERY);
        assert_eq!(machine.timeouts.len(), 1_000 - timeout * SEARCHES_PER_TIMEOUT);
    }
}

/// Accepts one pair of peers.
#[derive(Debug)]
struct OnlyPair([u64; 2]);

impl Pairing for OnlyPair {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        Interests::default().buckets(ticket, waited)
    }

    fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
        let peers = self.0.map(PeerId::from_bits);
        peers == [a.peer, b.peer] || peers == [b.peer, a.peer]
    }
}

#[test]
fn unused_shares_of_a_scan_go_to_longer_buckets() {
    const CROWD: u64 = 800;
    let rule = Arc::new(OnlyPair([CROWD - 1, CROWD]));
    let mut machine = Matchmaker::new(3);
    let mut now = Duration::ZERO;
    for peer in 0..CROWD {
        let mut ticket = Ticket::new(PeerId::from_bits(peer));
        ticket.search = Search::for_interests(["shared"]);
        machine.handle_enter(now, Request::new(Arc::new(ticket), rule.clone()), peer).unwrap();
    }
    // Until the crowd has searched in vain, and widened as far as it goes.
    while let Some(due) = machine.poll_timeout() {
        now = now.max(due);
        machine.handle_timeout(now);
    }
    let mut ticket = Ticket::new(PeerId::from_bits(CROWD));
    let own: Vec<String> = (0..31).map(|tag| format!("own {tag}")).collect();
    ticket.search =
        Search::for_interests(std::iter::once("shared").chain(own.iter().map(String::as_str)));
    machine.handle_enter(now, Request::new(Arc::new(ticket), rule), CROWD).unwrap();
    let resumed = (0..100).take_while(|_| {
        now += RESUME_AFTER;
        machine.handle_timeout(now);
        machine.poll_match().is_none()
    });
    // All 800 but the first 16, 256 at a time.
    assert_eq!(resumed.count() + 1, 784_usize.div_ceil(256));
}

/// Counts the pairs that it is asked about.
#[derive(Debug)]
struct CountedKinds(AtomicUsize);

impl Pairing for CountedKinds {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        Kinds.buckets(ticket, waited)
    }

    fn stands_in(&self, ticket: &Ticket, waited: Duration) -> Option<Vec<Bucket>> {
        Kinds.stands_in(ticket, waited)
    }

    fn accepts(&self, _: &Ticket, _: &Ticket) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[test]
fn crowd_of_one_kind_is_idle_and_other_kind_is_matched_at_once() {
    let rule = Arc::new(CountedKinds(AtomicUsize::new(0)));
    let mut machine = Matchmaker::new(3);
    let enter = |machine: &mut Matchmaker<u64>, peer: u64, kind: i64| {
        let mut ticket = Ticket::new(PeerId::from_bits(peer));
        ticket.attributes = Attributes::default().with("kind", kind);
        machine.handle_enter(EVERY, Request::new(Arc::new(ticket), rule.clone()), peer).unwrap()
    };
    for mentee in 0..20_000 {
        enter(&mut machine, mentee, 0);
    }
    assert_eq!(machine.poll_timeout(), None, "mentees search each other");
    assert_eq!(rule.0.load(Ordering::Relaxed), 0);
    for mentor in 0..100 {
        enter(&mut machine, 20_000 + mentor, 1);
        let made = machine.poll_match().unwrap();
        assert_eq!(made.sides.map(|side| side.seat), [mentor, 20_000 + mentor]);
    }
    assert!(rule.0.load(Ordering::Relaxed) <= 100 * INITIAL_SCAN.per_bucket);
}

fn ticket(peer: u64, person: u64, origin: u64) -> Request {
    let mut ticket = Ticket::new(PeerId::from_bits(peer));
    (ticket.person, ticket.origin) = (PersonId::from_bits(person), OriginKey::from_bits(origin));
    Request::new(Arc::new(ticket), Arc::new(Languages))
}

#[test]
fn waiting_places_are_limited_per_person_and_origin() {
    let limits = PlaceLimits { per_person: 2, per_origin: 3 };
    let mut machine = Matchmaker::new(3).with_limits(limits);
    let enter = |machine: &mut Matchmaker<u64>, peer, person, origin| {
        machine.handle_enter(Duration::ZERO, ticket(peer, person, origin), peer)
    };
    let first = enter(&mut machine, 1, 7, 9).unwrap();
    enter(&mut machine, 2, 7, 9).unwrap();
    assert_eq!(enter(&mut machine, 3, 7, 8), Err(EnterError::PersonLimit));
    assert_eq!(enter(&mut machine, 2, 7, 8), Err(EnterError::AlreadyHere));
    machine.handle_leave(first);
    enter(&mut machine, 3, 7, 9).unwrap();
    // A match frees two places.
    enter(&mut machine, 4, 8, 9).unwrap();
    let pair = machine.poll_match().unwrap().pair;
    machine.handle_part(pair);
    enter(&mut machine, 5, 7, 9).unwrap();
    assert_eq!(enter(&mut machine, 6, 7, 9), Err(EnterError::PersonLimit));

    let mut machine = Matchmaker::new(3).with_limits(PlaceLimits { per_person: 0, per_origin: 3 });
    for peer in 0..3 {
        enter(&mut machine, peer, 7, 9).unwrap();
    }
    assert_eq!(enter(&mut machine, 3, 7, 9), Err(EnterError::OriginLimit));
    enter(&mut machine, 3, 7, 8).unwrap();
    enter(&mut machine, 4, 7, 0).unwrap();
    assert_eq!(machine.origins.len(), 2);
}

/// Peer 9 of origin 1 enters where others wait, oldest first. The row names the one it is matched
/// with.
#[test]
fn partners_of_other_origins_are_preferred_among_equals() {
    for (origins, expected) in [
        (&[1, 2][..], 1),
        (&[1, 1], 0),
        (&[2, 3], 0),
        (&[0, 2], 0),
        // Five places of one origin are a crowd.
        (&[2, 2, 2, 2, 2, 3], 5),
        (&[2, 2, 2, 2, 3], 0),
        (&[1, 2, 2, 2, 2, 2], 1),
    ] {
        let mut machine = Matchmaker::new(3);
        for (peer, origin) in origins.iter().enumerate() {
            let request = ticket(peer as u64, 100, *origin);
            machine.handle_enter(Duration::from_secs(peer as u64), request, peer).unwrap();
        }
        machine.handle_enter(Duration::from_secs(60), ticket(9, 9, 1), 9).unwrap();
        let made = machine.poll_match().unwrap();
        assert_eq!(made.sides.map(|side| side.seat), [expected, 9], "{origins:?}");
    }
}
