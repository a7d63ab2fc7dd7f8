//! Every history of a few peers, up to the point where nothing new can happen, beside an oracle that knows the rules.
//!
//! The oracle counts time in ticks and people on its fingers: it knows who shares what with whom from the tables at
//! the end, and nothing of buckets, lines and alarms.

mod world;

use std::collections::{BTreeSet, HashSet, VecDeque};

use world::{Bug, Cast, Role, World};

use super::*;

/// Searches widen to language after one tick and to anyone after two; from then on, time changes nothing.
const LAST_TICK: u32 = 2;

/// How many courses of chance are tried at most until all that may come of a step has.
const SEEDS: u64 = 30;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Enter(usize),
    Leave(usize),
    Part(usize),
    /// The partner just given to this peer was a ghost, so it comes back to where it was.
    Return(usize),
    Tick,
}

/// What the oracle knows of a peer. Times are in ticks.
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
        /// How long it had waited, if that was in the last step.
        just_after: Option<u32>,
    },
}

/// One end of a history.
#[derive(Clone)]
struct Situation {
    world: World,
    known: Vec<Known>,
    /// Whom each peer met last.
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

    /// What can happen next and would change something, or must not.
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

    /// Takes a step with the machine, and holds what it does against what it may do.
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
            (Err(AlreadyHere), Known::Waiting { .. } | Known::Paired { .. }) => Ok(None),
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

    /// Takes note of the pairs that the machine made.
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

    /// All that may come of these peers looking for a partner, in whatever order they do.
    ///
    /// Whoever has not looked yet in this tick is found only where it was found before.
    fn allowed(&self, cast: &Cast, looking: &[usize]) -> Vec<Outcome> {
        let waiting: Vec<(usize, u32)> =
            (0..cast.peers.len()).filter_map(|peer| Some((peer, self.waited(peer)?))).collect();
        let somebody_fits = waiting.iter().enumerate().any(|(index, a)| {
            waiting[..index].iter().any(|b| self.worth(cast, *a, *b, *b).is_some())
        });
        if !somebody_fits {
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

    /// What the other is worth to a seeker, if they may meet: how close they are, how much they share, how long it has
    /// waited. `standing` is how long it had waited when it last looked.
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

    /// A picture that is the same for the same situations.
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
    /// What it would meet somebody for after so many ticks: anything, a language, an interest.
    fn accepts_after(&self, ticks: u32) -> [&[&str]; 3] {
        let languages = if ticks >= 1 || self.interests.is_empty() { self.languages } else { &[] };
        let nothing = self.interests.is_empty() && self.languages.is_empty();
        let anything: &[&str] = if ticks >= 2 || nothing { &["anything"] } else { &[] };
        [anything, languages, self.interests]
    }
}

/// Breadth first over every history and every course of chance, to the fixpoint. Returns how many situations there are.
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

const NOBODY: Role =
    Role { person: 0, interests: &[], languages: &[], encrypts: false, blocks: &[], relaxes: 0 };

/// Four who have met before or not: more or less alike, more or less patient.
const STRANGERS: Cast = Cast {
    peers: &[
        Role { person: 1, interests: &["cats", "tea"], languages: &["en"], relaxes: 1, ..NOBODY },
        Role { person: 2, interests: &["cats", "tea"], languages: &["fr"], relaxes: 2, ..NOBODY },
        Role { person: 3, interests: &["tea"], languages: &["en"], relaxes: 1, ..NOBODY },
        Role { person: 4, relaxes: 1, ..NOBODY },
    ],
    choice: Choice::Oldest,
};

/// Two who are the same, one who has blocked another, and one who encrypts.
const ESTRANGED: Cast = Cast {
    peers: &[
        Role { person: 1, interests: &["cats", "tea"], languages: &["en"], ..NOBODY },
        Role { person: 1, interests: &["cats"], languages: &["en"], ..NOBODY },
        Role { person: 2, interests: &["cats", "tea"], blocks: &[3], ..NOBODY },
        Role { person: 3, interests: &["cats"], languages: &["en"], ..NOBODY },
        Role { person: 4, interests: &["cats"], languages: &["en"], encrypts: true, ..NOBODY },
    ],
    choice: Choice::Oldest,
};

/// Those whom one who comes may choose from, as chance will have it.
const CROWD: Cast = Cast {
    peers: &[
        Role { person: 1, interests: &["cats", "tea"], relaxes: 1, ..NOBODY },
        Role { person: 1, interests: &["cats", "tea"], ..NOBODY },
        Role { person: 2, interests: &["cats", "tea"], relaxes: 1, ..NOBODY },
        Role { person: 1, ..NOBODY },
    ],
    choice: Choice::Random,
};

#[test]
fn the_rules_hold_in_every_history() {
    // The numbers are what was found; they say that the search went somewhere.
    for (cast, least) in [(&STRANGERS, 17_000), (&ESTRANGED, 17_000), (&CROWD, 3_000)] {
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
        (&ESTRANGED, Bug::SamePerson, "made the pairs {[0, 1]}"),
        (&ESTRANGED, Bug::IgnoredBlock, "made the pairs {[2, 3]}"),
        (&ESTRANGED, Bug::Unsealed, "4]} where it could make [{}]"),
        (&STRANGERS, Bug::RepeatedPartner, "where it could make [{}]"),
        (&STRANGERS, Bug::NeverRelaxes, "made the pairs {} where"),
        (&ESTRANGED, Bug::SharesUncounted, "{[1, 2]} where it could make [{[0, 2]}]"),
        (&STRANGERS, Bug::PrefersYounger, "{[1, 2]} where it could make [{[0, 2]}]"),
        (&STRANGERS, Bug::LostPlace, "made the pairs {} where"),
    ] {
        let found = explore(cast, bug).expect_err("the bug goes unseen");
        assert!(found.contains(fault), "{bug:?}: {found}");
    }
}
