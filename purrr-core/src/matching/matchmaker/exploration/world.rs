//! The machine under exploration, with or without a planted bug.

use super::*;
use crate::{
    matching::{rule::Choice, rules::Interests},
    model::{ids::PersonId, profile::Search, ticket::Exclusions},
};

/// The unit of all times in the tables.
const TICK: Duration = Duration::from_secs(5);

const WIDEN_AT: [Duration; 2] = [TICK, Duration::from_secs(10)];

/// The peers that take part, and how they choose among equals.
pub(super) struct Cast {
    pub(super) peers: &'static [Role],
    pub(super) choice: Choice,
}

/// The ticket of a peer.
pub(super) struct Role {
    pub(super) person: u64,
    pub(super) interests: &'static [&'static str],
    pub(super) languages: &'static [&'static str],
    pub(super) encrypts: bool,
    pub(super) blocks: &'static [u64],
    /// The ticks for which it avoids its last partner.
    pub(super) relaxes: u32,
}

/// A bug planted in the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bug {
    None,
    /// A peer that enters twice is paired with itself.
    SelfMatch,
    /// The second side of a pair is replaced with a third peer.
    ForgottenPartner,
    /// A peer that waits or chats may enter again.
    SecondPlace,
    /// Two peers of one person count as two persons.
    SamePerson,
    IgnoredBlock,
    /// Encrypting and plain clients share buckets.
    Unpartitioned,
    /// A recent partner is matched at once.
    RepeatedPartner,
    /// A recent partner is never matched again.
    NeverRelaxes,
    PrefersYounger,
    /// The number of shared interests does not count.
    SharesUncounted,
    /// A peer that enters again loses its waited time.
    LostPlace,
}

/// The machine and the state of a planted bug.
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
    ) -> Result<PlaceKey, EnterError> {
        let role = &cast.peers[peer];
        self.entered += 1;
        let id = if self.bug == Bug::SecondPlace { u64::from(self.entered) } else { peer as u64 };
        let mut ticket = Ticket::new(PeerId::from_bits(id));
        ticket.person = PersonId::from_bits(role.person);
        ticket.search = Search::for_interests(role.interests.iter().copied())
            .in_languages(role.languages.iter().copied());
        ticket.hello.encrypts = role.encrypts && self.bug != Bug::Unpartitioned;
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
                // Later entries seem to have waited longer. All other times shift along.
                rule.early = TICK * 100 * self.entered;
                rule.widen_at = WIDEN_AT.map(|due| due + rule.early);
                ticket.waited += rule.early;
                ticket.exclusions.relax_after += rule.early;
            }
            _ => {}
        }
        let entered = self.machine.handle_enter(
            time(now),
            Request::new(Arc::new(ticket), Arc::new(rule)),
            peer,
        );
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

/// Late enough that no peer can have waited since before time zero.
fn time(ticks: u32) -> Duration {
    TICK * (100_000 + ticks)
}

/// `Interests` with a choice, and with the changes that bugs make.
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
