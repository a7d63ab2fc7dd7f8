//! Every history of four peers, up to the point where nothing new can happen, beside an oracle that knows the rules.

use std::collections::{HashSet, VecDeque};

use super::*;
use crate::{pairing::Interests, protocol::Search};

const PEERS: usize = 4;
const TICK: Duration = Duration::from_secs(5);

/// Time goes on mattering until the last widening, after four ticks.
const LAST_TICK: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Enter(usize),
    Leave(usize),
    Part(usize),
    Tick,
}

/// What is explored: the machine itself, or the machine behind a planted bug.
trait World {
    fn enter(&mut self, now: Duration, peer: usize) -> Result<PlaceKey, AlreadyHere>;
    fn leave(&mut self, place: PlaceKey);
    fn part(&mut self, pair: PairKey);
    fn tick(&mut self, now: Duration);
    fn made(&mut self) -> Option<(PairKey, [usize; 2])>;
    fn census(&self) -> Census;
}

struct Plain(Matchmaker<usize>);

/// Two who like cats, one who likes trains, and one who does not mind.
fn ticket(peer: usize, id: u64) -> Arc<Ticket> {
    let interests: &[&str] = [&["cats"][..], &["cats", "tea"], &["trains"], &[]][peer];
    let search = Search::for_interests(interests.iter().copied());
    Arc::new(Ticket { search, ..Ticket::new(PeerId::from_bits(id)) })
}

impl Plain {
    fn new() -> Self {
        Self(Matchmaker::new(7))
    }

    fn enter_as(&mut self, now: Duration, peer: usize, id: u64) -> Result<PlaceKey, AlreadyHere> {
        self.0.handle_enter(now, ticket(peer, id), Arc::new(Interests::default()), peer)
    }
}

impl World for Plain {
    fn enter(&mut self, now: Duration, peer: usize) -> Result<PlaceKey, AlreadyHere> {
        self.enter_as(now, peer, peer as u64)
    }
    fn leave(&mut self, place: PlaceKey) {
        self.0.handle_leave(place);
    }
    fn part(&mut self, pair: PairKey) {
        self.0.handle_part(pair);
    }
    fn tick(&mut self, now: Duration) {
        self.0.handle_timeout(now);
    }
    fn made(&mut self) -> Option<(PairKey, [usize; 2])> {
        self.0.poll_match().map(|made| (made.pair, made.sides.map(|side| side.seat)))
    }
    fn census(&self) -> Census {
        self.0.census()
    }
}

/// What the oracle knows of a peer.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Known {
    Away,
    Waiting { since: u32, place: PlaceKey },
    Paired { with: usize, pair: PairKey },
}

/// Plays a history from its beginning. Returns a picture of where it ends that is the same for the same situations.
fn play(world: &mut dyn World, history: &[Step]) -> Result<Vec<(u8, u32, usize)>, String> {
    let mut known = [Known::Away; PEERS];
    let mut ticks = 0;
    // The order of arrival decides who is met first, so it is part of the picture.
    let mut arrivals: Vec<usize> = Vec::new();
    for step in history {
        let now = TICK * ticks;
        match *step {
            Step::Enter(peer) => match (world.enter(now, peer), known[peer]) {
                (Ok(place), Known::Away) => {
                    known[peer] = Known::Waiting { since: ticks, place };
                    arrivals.push(peer);
                }
                (Err(AlreadyHere), Known::Waiting { .. } | Known::Paired { .. }) => {}
                (answer, state) => return Err(format!("{step:?} got {answer:?} while {state:?}")),
            },
            Step::Leave(peer) => {
                if let Known::Waiting { place, .. } = known[peer] {
                    world.leave(place);
                    known[peer] = Known::Away;
                }
            }
            Step::Part(peer) => {
                if let Known::Paired { with, pair } = known[peer] {
                    world.part(pair);
                    known[peer] = Known::Away;
                    known[with] = Known::Away;
                }
            }
            Step::Tick => {
                ticks += 1;
                world.tick(TICK * ticks);
            }
        }
        while let Some((pair, [a, b])) = world.made() {
            if a == b {
                return Err(format!("{a} was paired with itself"));
            }
            for (peer, with) in [(a, b), (b, a)] {
                let Known::Waiting { .. } = known[peer] else {
                    return Err(format!("{peer} was paired while {:?}", known[peer]));
                };
                known[peer] = Known::Paired { with, pair };
            }
        }
        arrivals.retain(|peer| matches!(known[*peer], Known::Waiting { .. }));
        check(world, &known, ticks)?;
    }
    Ok((0..PEERS)
        .map(|peer| match known[peer] {
            Known::Away => (0, 0, 0),
            Known::Waiting { since, .. } => {
                let order = arrivals.iter().position(|other| *other == peer).unwrap_or(PEERS);
                (1, (ticks - since).min(LAST_TICK), order)
            }
            Known::Paired { with, .. } => (2, 0, with),
        })
        .collect())
}

fn check(world: &dyn World, known: &[Known; PEERS], ticks: u32) -> Result<(), String> {
    let waiting: Vec<(usize, u32)> = known
        .iter()
        .enumerate()
        .filter_map(|(peer, known)| match known {
            Known::Waiting { since, .. } => Some((peer, ticks - since)),
            _ => None,
        })
        .collect();
    let paired = known.iter().filter(|known| matches!(known, Known::Paired { .. })).count();
    let expected = Census::new(waiting.len() as u64, paired as u64 / 2);
    if world.census() != expected {
        return Err(format!("counts {:?} where there are {expected:?}", world.census()));
    }
    let looks_in = |(peer, waited)| Interests::default().buckets(&ticket(peer, 0), TICK * waited);
    for (index, a) in waiting.iter().enumerate() {
        for b in &waiting[..index] {
            if looks_in(*a).iter().any(|bucket| looks_in(*b).contains(bucket)) {
                return Err(format!("{} and {} fit and both wait", a.0, b.0));
            }
        }
    }
    Ok(())
}

/// Breadth first over every history, to the fixpoint. Returns how many situations there are.
fn explore<W: World>(new: impl Fn() -> W) -> Result<usize, String> {
    let steps: Vec<Step> = (0..PEERS)
        .flat_map(|peer| [Step::Enter(peer), Step::Leave(peer), Step::Part(peer)])
        .chain([Step::Tick])
        .collect();
    let mut seen = HashSet::from([vec![(0, 0, 0); PEERS]]);
    let mut open = VecDeque::from([Vec::new()]);
    while let Some(history) = open.pop_front() {
        for step in &steps {
            let mut longer: Vec<Step> = history.clone();
            longer.push(*step);
            let situation =
                play(&mut new(), &longer).map_err(|fault| format!("{fault}, after {longer:?}"))?;
            if seen.insert(situation) {
                open.push_back(longer);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn the_rules_hold_in_every_history() {
    let situations = explore(Plain::new).unwrap();
    // The number is what was found; it says that the search went somewhere.
    assert!(situations > 300, "{situations}");
}

/// A peer that enters twice is paired with itself.
struct SelfMatch(Plain, Option<usize>);
/// Of a pair, only the first is matched; the other is matched with a peer that knows nothing of it.
struct ForgottenPartner(Plain);
/// The machine does not know a peer again when it enters a second time.
struct SecondPlace(Plain, u64);

macro_rules! delegate {
    ($($method:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $method(&mut self, $($argument: $kind),*) $(-> $result)? {
            self.0.$method($($argument),*)
        })*
        fn census(&self) -> Census {
            self.0.census()
        }
    };
}

impl World for SelfMatch {
    delegate! {
        leave(place: PlaceKey);
        part(pair: PairKey);
        tick(now: Duration);
    }
    fn enter(&mut self, now: Duration, peer: usize) -> Result<PlaceKey, AlreadyHere> {
        let entered = self.0.enter(now, peer);
        if entered.is_err() {
            self.1 = Some(peer);
        }
        entered
    }
    fn made(&mut self) -> Option<(PairKey, [usize; 2])> {
        let twice = self.1.take().map(|peer| (PairKey::default(), [peer, peer]));
        twice.or_else(|| self.0.made())
    }
}

impl World for ForgottenPartner {
    delegate! {
        enter(now: Duration, peer: usize) -> Result<PlaceKey, AlreadyHere>;
        leave(place: PlaceKey);
        part(pair: PairKey);
        tick(now: Duration);
    }
    fn made(&mut self) -> Option<(PairKey, [usize; 2])> {
        self.0.made().map(|(pair, [a, b])| {
            (pair, [a, (0..PEERS).find(|peer| *peer != a && *peer != b).unwrap_or(b)])
        })
    }
}

impl World for SecondPlace {
    delegate! {
        leave(place: PlaceKey);
        part(pair: PairKey);
        tick(now: Duration);
        made() -> Option<(PairKey, [usize; 2])>;
    }
    fn enter(&mut self, now: Duration, peer: usize) -> Result<PlaceKey, AlreadyHere> {
        self.1 += 1;
        self.0.enter_as(now, peer, self.1)
    }
}

#[test]
fn planted_bugs_are_caught() {
    for (found, fault) in [
        (explore(|| SelfMatch(Plain::new(), None)), "was paired with itself"),
        (explore(|| ForgottenPartner(Plain::new())), "was paired while Away"),
        (explore(|| SecondPlace(Plain::new(), 0)), "got Ok"),
    ] {
        let found = found.unwrap_err();
        assert!(found.contains(fault), "{found}");
    }
}
