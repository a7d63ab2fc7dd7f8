//! Explores every history of a few peers, to the fixpoint, and compares the machine with an oracle.
//!
//! The oracle counts time in ticks. It knows the peers from the tables at the end, and nothing of
//! buckets, queues and timeouts.

mod world;

use std::collections::{BTreeSet, HashSet, VecDeque};

use world::{Bug, Cast, Role, World};

use super::*;
use crate::matching::rule::Choice;

/// Searches widen to language after one tick and to anyone after two; from then on, time changes
/// nothing.
const LAST_TICK: u32 = 2;

/// The most seeds that are tried until every allowed outcome of a step has occurred.
const SEEDS: u64 = 30;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Enter(usize),
    Leave(usize),
    Part(usize),
    /// The partner just matched with this peer is gone, so the peer enters again with its waited
    /// time.
    Return(usize),
    Tick,
}

/// A peer's state in the oracle. Times are in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    Away,
    Waiting {
        since: u32,
        place: PlaceKey,
    },
    Paired {
        with: usize,
        pair: PairKey,
        /// The time it had waited, if it was paired in the last step.
        just_after: Option<u32>,
    },
}

/// One end of a history.
#[derive(Clone)]
struct Situation {
    world: World,
    known: Vec<Known>,
    /// The last partner of each peer.
    met: Vec<Option<usize>>,
    ticks: u32,
}

/// Pairs made in one step, in order of the peers.
type Outcome = BTreeSet<[usize; 2]>;

impl Situation {
    fn new(cast: &Cast, bug: Bug) -> Self {
        let peers = cast.peers.len();
        Self {
            world: World::new(bug),
            known: vec![Known::Away; peers],
            met: vec![None; peers],
            ticks: 0,
        }
    }

    /// Returns the steps that change the situation, and those that must be refused.
    fn steps(&self) -> Vec<Step> {
        let steps = self.known.iter().enumerate().flat_map(|(peer, known)| match *known {
            Known::Away => vec![Step::Enter(peer)],
            Known::Waiting { .. } => vec![Step::Enter(peer), Step::Leave(peer)],
            Known::Paired { with, just_after, .. } => {
                let ghost = just_after.map(|_| Step::Return(peer));
                let parts = (peer < with).then_some(Step::Part(peer));
                [Step::Enter(peer)].into_iter().chain(ghost).chain(parts).collect()
            }
        });
        steps.chain([Step::Tick]).collect()
    }

    /// Takes a step with the machine and compares the outcome with the allowed ones.
    fn take(
        &mut self,
        cast: &Cast,
        step: Step,
        seed: u64,
    ) -> Result<(Outcome, Vec<Outcome>), String> {
        self.world.machine.random = fastrand::Rng::with_seed(seed);
        let before = self.known.clone();
        for known in &mut self.known {
            if let Known::Paired { just_after, .. } = known {
                *just_after = None;
            }
        }
        let mut looking = Vec::new();
        match step {
            Step::Enter(peer) => looking.extend(self.enter(cast, peer, 0)?),
            Step::Leave(peer) => {
                if let Known::Waiting { place, .. } = self.known[peer] {
                    self.world.machine.handle_leave(place);
                    self.known[peer] = Known::Away;
                }
            }
            Step::Part(peer) => self.part(peer, |met, with| *met = Some(with)),
            Step::Return(peer) => {
                if let Known::Paired { just_after: Some(waited), .. } = before[peer] {
                    self.part(peer, |_, _| ());
                    looking.extend(self.enter(cast, peer, waited)?);
                }
            }
            Step::Tick => {
                self.ticks += 1;
                self.world.pass_time(self.ticks);
                looking =
                    (0..cast.peers.len()).filter(|peer| self.waited(*peer).is_some()).collect();
            }
        }
        let allowed = self.allowed(cast, &looking);
        let made = self.pair(cast)?;
        if !allowed.contains(&made) {
            return Err(format!("made the pairs {made:?} where it could make {allowed:?}"));
        }
        self.check(cast)?;
        Ok((made, allowed))
    }

    fn enter(&mut self, cast: &Cast, peer: usize, waited: u32) -> Result<Option<usize>, String> {
        match (self.world.enter(cast, (self.ticks, waited), peer, self.met[peer]), self.known[peer])
        {
            (Ok(place), Known::Away) => {
                self.known[peer] = Known::Waiting { since: self.ticks - waited, place };
                Ok(Some(peer))
            }
            (Err(EnterError::AlreadyHere), Known::Waiting { .. } | Known::Paired { .. }) => {
                Ok(None)
            }
            (answer, state) => Err(format!("{peer} entered and got {answer:?} while {state:?}")),
        }
    }

    fn part(&mut self, peer: usize, remember: impl Fn(&mut Option<usize>, usize)) {
        if let Known::Paired { with, pair, .. } = self.known[peer] {
            self.world.machine.handle_part(pair);
            for (peer, with) in [(peer, with), (with, peer)] {
                self.known[peer] = Known::Away;
                remember(&mut self.met[peer], with);
            }
        }
    }

    /// Records the pairs that the machine made.
    fn pair(&mut self, cast: &Cast) -> Result<Outcome, String> {
        let mut outcome = Outcome::new();
        while let Some((pair, [a, b])) = self.world.made(cast) {
            if a == b {
                return Err(format!("{a} was paired with itself"));
            }
            let [Known::Waiting { since: older, .. }, Known::Waiting { since: younger, .. }] =
                [self.known[a], self.known[b]]
            else {
                return Err(format!("{a} was paired with {b} in {:?}", self.known));
            };
            if older > younger {
                return Err(format!("{a} was put before {b}, who has waited longer"));
            }
            for (peer, with, since) in [(a, b, older), (b, a, younger)] {
                let just_after = Some(self.ticks - since);
                self.known[peer] = Known::Paired { with, pair, just_after };
            }
            outcome.insert([a.min(b), a.max(b)]);
        }
        Ok(outcome)
    }

    fn waited(&self, peer: usize) -> Option<u32> {
        match self.known[peer] {
            Known::Waiting { since, .. } => Some(self.ticks - since),
            Known::Away | Known::Paired { .. } => None,
        }
    }

    /// Returns every outcome of these peers' searches, in any order.
    ///
    /// A peer that has not searched yet in this tick is found only in its buckets of the last tick.
    fn allowed(&self, cast: &Cast, looking: &[usize]) -> Vec<Outcome> {
        let waiting: Vec<(usize, u32)> =
            (0..cast.peers.len()).filter_map(|peer| Some((peer, self.waited(peer)?))).collect();
        let any_fit = waiting.iter().enumerate().any(|(index, a)| {
            waiting[..index].iter().any(|b| self.worth(cast, *a, *b, *b).is_some())
        });
        if !any_fit {
            return vec![Outcome::new()];
        }
        let mut allowed = Vec::new();
        let mut open = vec![(waiting, looking.to_vec(), Outcome::new())];
        while let Some((waiting, looking, outcome)) = open.pop() {
            if looking.is_empty() && !allowed.contains(&outcome) {
                allowed.push(outcome.clone());
            }
            for seeker in &looking {
                let later: Vec<usize> = looking.iter().copied().filter(|it| it != seeker).collect();
                let Some(this) = waiting.iter().copied().find(|(peer, _)| peer == seeker) else {
                    open.push((waiting.clone(), later, outcome.clone()));
                    continue;
                };
                let found = waiting.iter().filter_map(|other| {
                    let standing = (other.0, other.1 - u32::from(later.contains(&other.0)));
                    Some((self.worth(cast, this, standing, *other)?, other.0))
                });
                let found: Vec<_> = found.collect();
                let best = found.iter().map(|(worth, _)| *worth).max();
                if best.is_none() {
                    open.push((waiting.clone(), later.clone(), outcome.clone()));
                }
                for (_, partner) in found.iter().filter(|(worth, _)| Some(*worth) == best) {
                    let pair = [*seeker.min(partner), *seeker.max(partner)];
                    let rest = waiting.iter().copied().filter(|(peer, _)| !pair.contains(peer));
                    let mut outcome = outcome.clone();
                    outcome.insert(pair);
                    open.push((rest.collect(), later.clone(), outcome));
                }
            }
        }
        allowed
    }

    /// Rates the other peer for a seeker: closeness, shared tags, time waited. `None` if they may
    /// not meet.
    ///
    /// `standing` is the time that the other peer had waited when it last searched.
    fn worth(
        &self,
        cast: &Cast,
        seeker: (usize, u32),
        standing: (usize, u32),
        other: (usize, u32),
    ) -> Option<(usize, usize, u32)> {
        let (mine, theirs) = (&cast.peers[seeker.0], &cast.peers[other.0]);
        let met = self.met[seeker.0].is_some_and(|met| cast.peers[met].person == theirs.person)
            || self.met[other.0].is_some_and(|met| cast.peers[met].person == mine.person);
        let avoided = met && (seeker.1 < mine.relaxes || other.1 < theirs.relaxes);
        let never = mine.person == theirs.person
            || mine.encrypts != theirs.encrypts
            || mine.blocks.contains(&theirs.person)
            || theirs.blocks.contains(&mine.person);
        if avoided || never {
            return None;
        }
        let (mine, theirs) = (mine.accepts_after(seeker.1), theirs.accepts_after(standing.1));
        (0..3).rev().find_map(|closeness| {
            let shared = mine[closeness].iter().filter(|it| theirs[closeness].contains(it)).count();
            let age = if cast.choice == Choice::Oldest { other.1 } else { 0 };
            (shared > 0).then_some((closeness, shared, age))
        })
    }

    fn check(&self, cast: &Cast) -> Result<(), String> {
        let waiting: Vec<(usize, u32)> =
            (0..cast.peers.len()).filter_map(|peer| Some((peer, self.waited(peer)?))).collect();
        for (index, a) in waiting.iter().enumerate() {
            for b in &waiting[..index] {
                if self.worth(cast, *a, *b, *b).is_some() {
                    return Err(format!("{} and {} fit and both wait", a.0, b.0));
                }
            }
        }
        let paired =
            self.known.iter().filter(|known| matches!(known, Known::Paired { .. })).count();
        let expected = Census::new(waiting.len() as u64, paired as u64 / 2);
        let counted = self.world.machine.census();
        if counted != expected {
            return Err(format!("counts {counted:?} where there are {expected:?}"));
        }
        Ok(())
    }

    /// Returns a fingerprint that equal situations share.
    fn picture(&self) -> Vec<(u8, u32, usize, Option<usize>)> {
        let sinces: BTreeSet<u32> = self.known.iter().filter_map(Known::since).collect();
        let picture = self.known.iter().zip(&self.met).map(|(known, met)| match *known {
            Known::Away => (0, 0, 0, *met),
            Known::Waiting { since, .. } => {
                let waited = (self.ticks - since).min(LAST_TICK);
                (1, waited, sinces.range(..since).count(), *met)
            }
            Known::Paired { with, just_after, .. } => {
                (2, just_after.map_or(0, |waited| 1 + waited.min(LAST_TICK)), with, *met)
            }
        });
        picture.collect()
    }
}

impl Known {
    const fn since(&self) -> Option<u32> {
        match self {
            Self::Waiting { since, .. } => Some(*since),
            Self::Away | Self::Paired { .. } => None,
        }
    }
}

impl Role {
    /// Returns what a partner must share after so many ticks: anything, a language, an interest.
    fn accepts_after(&self, ticks: u32) -> [&[&str]; 3] {
        let languages = if ticks >= 1 || self.interests.is_empty() { self.languages } else { &[] };
        let nothing = self.interests.is_empty() && self.languages.is_empty();
        let anything: &[&str] = if ticks >= 2 || nothing { &["anything"] } else { &[] };
        [anything, languages, self.interests]
    }
}

/// Explores every history and every random outcome, breadth first. Returns the number of
/// situations.
fn explore(cast: &Cast, bug: Bug) -> Result<usize, String> {
    let start = Situation::new(cast, bug);
    let mut seen = HashSet::from([start.picture()]);
    let mut open = VecDeque::from([(start, Vec::new())]);
    while let Some((situation, history)) = open.pop_front() {
        for step in situation.steps() {
            let mut drawn = HashSet::new();
            for seed in 0.. {
                let mut next = situation.clone();
                let (made, allowed) = next
                    .take(cast, step, seed)
                    .map_err(|fault| format!("{fault}, by {step:?} after {history:?}"))?;
                drawn.insert(made);
                if seen.insert(next.picture()) {
                    open.push_back((next, [&history[..], &[step]].concat()));
                }
                if drawn.len() == allowed.len() || cast.choice == Choice::Oldest {
                    break;
                }
                if seed == SEEDS {
                    // A tick lets several look at once, in an order that is not chance.
                    if step == Step::Tick {
                        break;
                    }
                    return Err(format!("only ever {drawn:?} of {allowed:?}, after {history:?}"));
                }
            }
        }
    }
    Ok(seen.len())
}

const DEFAULT: Role =
    Role { person: 0, interests: &[], languages: &[], encrypts: false, blocks: &[], relaxes: 0 };

/// Four persons with overlapping tags and different `relaxes`.
const STRANGERS: Cast = Cast {
    peers: &[
        Role { person: 1, interests: &["cats", "tea"], languages: &["en"], relaxes: 1, ..DEFAULT },
        Role { person: 2, interests: &["cats", "tea"], languages: &["fr"], relaxes: 2, ..DEFAULT },
        Role { person: 3, interests: &["tea"], languages: &["en"], relaxes: 1, ..DEFAULT },
        Role { person: 4, relaxes: 1, ..DEFAULT },
    ],
    choice: Choice::Oldest,
};

/// Two peers of one person, a peer that has blocked another, and an encrypting one.
const ACQUAINTED: Cast = Cast {
    peers: &[
        Role { person: 1, interests: &["cats", "tea"], languages: &["en"], ..DEFAULT },
        Role { person: 1, interests: &["cats"], languages: &["en"], ..DEFAULT },
        Role { person: 2, interests: &["cats", "tea"], blocks: &[3], ..DEFAULT },
        Role { person: 3, interests: &["cats"], languages: &["en"], ..DEFAULT },
        Role { person: 4, interests: &["cats"], languages: &["en"], encrypts: true, ..DEFAULT },
    ],
    choice: Choice::Oldest,
};

/// Peers among which a random choice is made.
const CROWD: Cast = Cast {
    peers: &[
        Role { person: 1, interests: &["cats", "tea"], relaxes: 1, ..DEFAULT },
        Role { person: 1, interests: &["cats", "tea"], ..DEFAULT },
        Role { person: 2, interests: &["cats", "tea"], relaxes: 1, ..DEFAULT },
        Role { person: 1, ..DEFAULT },
    ],
    choice: Choice::Random,
};

#[test]
fn every_history_keeps_the_rules() {
    // The numbers are those of a passing run. They prove that the exploration went somewhere.
    for (cast, least) in [(&STRANGERS, 17_000), (&ACQUAINTED, 17_000), (&CROWD, 3_000)] {
        let situations = explore(cast, Bug::None).unwrap();
        assert!(situations > least, "{situations}");
    }
}

#[test]
fn planted_bugs_are_caught() {
    for (cast, bug, fault) in [
        (&STRANGERS, Bug::SelfMatch, "was paired with itself"),
        (&STRANGERS, Bug::ForgottenPartner, "0 was paired with 2 in"),
        (&STRANGERS, Bug::SecondPlace, "got Ok"),
        (&ACQUAINTED, Bug::SamePerson, "made the pairs {[0, 1]}"),
        (&ACQUAINTED, Bug::IgnoredBlock, "made the pairs {[2, 3]}"),
        (&ACQUAINTED, Bug::Unpartitioned, "4]} where it could make [{}]"),
        (&STRANGERS, Bug::RepeatedPartner, "where it could make [{}]"),
        (&STRANGERS, Bug::NeverRelaxes, "made the pairs {} where"),
        (&ACQUAINTED, Bug::SharesUncounted, "{[1, 2]} where it could make [{[0, 2]}]"),
        (&STRANGERS, Bug::PrefersYounger, "{[1, 2]} where it could make [{[0, 2]}]"),
        (&STRANGERS, Bug::LostPlace, "made the pairs {} where"),
    ] {
        let found = explore(cast, bug).expect_err("the bug goes unseen");
        assert!(found.contains(fault), "{bug:?}: {found}");
    }
}
