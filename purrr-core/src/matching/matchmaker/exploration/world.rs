//! What is explored: the machine itself, or the machine behind a planted bug.

use super::*;
use crate::{
    matching::rules::Interests,
    model::{ids::PersonId, profile::Search, ticket::Exclusions},
};

/// What every time in the tables is a multiple of.
const TICK: Duration = Duration::from_secs(5);

const WIDEN_AT: [Duration; 2] = [TICK, Duration::from_secs(10)];

/// Who takes part, and how whoever comes chooses among equals.
pub(super) struct Cast {
    pub(super) peers: &'static [Role],
    pub(super) choice: Choice,
}

/// What a peer enters with.
pub(super) struct Role {
    pub(super) person: u64,
    pub(super) interests: &'static [&'static str],
    pub(super) languages: &'static [&'static str],
    pub(super) encrypts: bool,
    pub(super) blocks: &'static [u64],
    /// For how many ticks it avoids whoever it met last.
    pub(super) relaxes: u32,
}

/// What can be wrong with the machine that is explored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bug {
    None,
    /// A peer that enters twice is paired with itself.
    SelfMatch,
    /// Of a pair, only the first is matched; the other is matched with a peer that knows nothing of it.
    ForgottenPartner,
    /// The machine does not know a peer again when it enters a second time.
    SecondPlace,
    /// Two peers are two people, whoever is behind them.
    SamePerson,
    IgnoredBlock,
    /// Those who encrypt are searched for as if they did not.
    Unsealed,
    /// A recent partner is taken at once.
    RepeatedPartner,
    /// A recent partner is never taken again.
    NeverRelaxes,
    PrefersYounger,
    /// Whoever shares most of the interests is worth no more than who shares one.
    SharesUncounted,
    /// A peer that comes back stands at the end.
    LostPlace,
}

/// The machine, and what a planted bug must remember.
#[derive(Clone)]
pub(super) struct World {
    pub(super) machine: Matchmaker<usize>,
    bug: Bug,
    entered: u32,
    twice: Option<usize>,
}

impl World {
    pub(super) fn new(bug: Bug) -> Self {
        Self { machine: Matchmaker::new(7), bug, entered: 0, twice: None }
    }

    pub(super) fn enter(
        &mut self,
        cast: &Cast,
        (now, waited): (u32, u32),
        peer: usize,
        met: Option<usize>,
    ) -> Result<PlaceKey, AlreadyHere> {
        let role = &cast.peers[peer];
        self.entered += 1;
        let id = if self.bug == Bug::SecondPlace { u64::from(self.entered) } else { peer as u64 };
        let mut ticket = Ticket::new(PeerId::from_bits(id));
        ticket.person = PersonId::from_bits(role.person);
        ticket.search = Search::for_interests(role.interests.iter().copied())
            .in_languages(role.languages.iter().copied());
        ticket.hello.encrypts = role.encrypts && self.bug != Bug::Unsealed;
        ticket.waited = TICK * waited;
        if self.bug != Bug::IgnoredBlock {
            ticket.exclusions = Exclusions::default()
                .blocking(role.blocks.iter().copied().map(PersonId::from_bits));
        }
        ticket.exclusions.recent =
            met.map(|met| PersonId::from_bits(cast.peers[met].person)).into_iter().collect();
        ticket.exclusions.relax_after = TICK * role.relaxes;
        let mut rule =
            Rule { choice: cast.choice, early: Duration::ZERO, counts: true, widen_at: WIDEN_AT };
        match self.bug {
            Bug::SamePerson => ticket.person = PersonId::from_bits(id),
            Bug::RepeatedPartner => ticket.exclusions.recent = Box::default(),
            Bug::NeverRelaxes => ticket.exclusions.relax_after = TICK * 1_000,
            Bug::LostPlace => ticket.waited = Duration::ZERO,
            Bug::SharesUncounted => rule.counts = false,
            Bug::PrefersYounger => {
                // Whoever comes later seems to have waited longer, which changes nothing else.
                rule.early = TICK * 100 * self.entered;
                rule.widen_at = WIDEN_AT.map(|due| due + rule.early);
                ticket.waited += rule.early;
                ticket.exclusions.relax_after += rule.early;
            }
            _ => {}
        }
        let entered = self.machine.handle_enter(time(now), Arc::new(ticket), Arc::new(rule), peer);
        if entered.is_err() && self.bug == Bug::SelfMatch {
            self.twice = Some(peer);
        }
        entered
    }

    pub(super) fn pass_time(&mut self, now: u32) {
        self.machine.handle_timeout(time(now));
    }

    pub(super) fn made(&mut self, cast: &Cast) -> Option<(PairKey, [usize; 2])> {
        if let Some(peer) = self.twice.take() {
            return Some((PairKey::default(), [peer, peer]));
        }
        let made = self.machine.poll_match()?;
        let [a, b] = made.sides.map(|side| side.seat);
        let stranger = (0..cast.peers.len()).find(|peer| *peer != a && *peer != b);
        let sides = match (self.bug, stranger) {
            (Bug::ForgottenPartner, Some(stranger)) => [a, stranger],
            (Bug::PrefersYounger, _) => [b, a],
            _ => [a, b],
        };
        Some((made.pair, sides))
    }
}

/// So late that nobody can have waited longer.
fn time(ticks: u32) -> Duration {
    TICK * (100_000 + ticks)
}

/// `Interests` with a choice, and with what bugs want to change about it.
#[derive(Debug)]
struct Rule {
    choice: Choice,
    early: Duration,
    counts: bool,
    widen_at: [Duration; 2],
}

impl Pairing for Rule {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        let rule = Interests::default().widen_after(WIDEN_AT[0], WIDEN_AT[1]);
        let mut buckets = rule.buckets(ticket, waited.saturating_sub(self.early));
        if !self.counts {
            for (bucket, tag) in buckets.iter_mut().zip(&ticket.search.interests) {
                *bucket = Bucket::new(tag.as_ref(), "of a kind of its own");
            }
        }
        buckets
    }

    fn widen_at(&self) -> &[Duration] {
        &self.widen_at
    }

    fn choice(&self) -> Choice {
        self.choice
    }
}
