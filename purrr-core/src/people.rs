//! Who is known, as a pure machine: blocks, recent partners and resume tokens. [`Registry`].
//!
//! Contract of use: `handle_arrive` and `handle_depart` for every session, in between
//! `handle_resume`, `handle_met` and `handle_block` as they happen.
//! [`exclusions`](Registry::exclusions) and [`keeps_apart`](Registry::keeps_apart) say who must not
//! meet. There is nothing to drain and no timeout: entries that have expired are evicted when
//! others are added.
//!
//! A peer that has met no partner takes one entry while it is present, and nothing afterwards. A
//! person who has met a partner is kept for [`Limits::recent_for`] after its last presence, and one
//! who has blocked or was blocked for [`Limits::resume_for`].

#[cfg(test)]
mod properties;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::model::{
    ids::{PersonId, ResumeToken},
    limits::Limits,
    ticket::Exclusions,
};

/// Persons and their tokens.
///
/// Invariants: every `known.token` is in `tokens`; every known person is in `expiring` exactly
/// once, at `known.expires`; a token that is in `tokens` belongs to a present peer or is the
/// `known.token` of its person.
///
/// The hash need not resist collisions that a client picks: all keys are drawn at random, or by the
/// embedder.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    tokens: HashMap<ResumeToken, TokenOwner, RandomState>,
    known: HashMap<PersonId, Known, RandomState>,
    /// Known persons by the time of their eviction.
    expiring: BTreeSet<(Instant, PersonId)>,
}

/// The person that a token resumes.
#[derive(Debug)]
struct TokenOwner {
    person: PersonId,
    /// Whether the peer that was given the token is present.
    present: bool,
}

/// What is remembered of a person.
#[derive(Debug)]
struct Known {
    /// Recent partners with the time of their match, latest first.
    met: VecDeque<(PersonId, Instant)>,
    /// Persons that this one blocked, latest first.
    blocked: VecDeque<PersonId>,
    /// Whether another person blocked this one, which holds only as long as this one is known.
    was_blocked: bool,
    /// The token of the last peer of this person.
    token: Option<ResumeToken>,
    expires: Instant,
}

impl Registry {
    /// Registers a peer's token for its person.
    pub(crate) fn handle_arrive(&mut self, token: ResumeToken, person: PersonId) {
        self.tokens.insert(token, TokenOwner { person, present: true });
        self.bind_token(person, token);
    }

    /// Redeems `other` for the peer that has `token`. Returns the person that it is from now on.
    ///
    /// Tokens are single use. Returns `None` if `other` is unknown, is `token` itself, or belongs
    /// to another person than `authenticated`, and if `token` itself was redeemed.
    pub(crate) fn handle_resume(
        &mut self,
        token: ResumeToken,
        other: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Option<PersonId> {
        let person = self.tokens.get(&other)?.person;
        // Must not be registered again, otherwise a redeemed token could be used a second time.
        let is_redeemed = !self.tokens.contains_key(&token);
        if token == other || is_redeemed || authenticated.is_some_and(|is| is != person) {
            return None;
        }
        self.tokens.remove(&other);
        if let Some(TokenOwner { person: before, .. }) = self.tokens.get(&token)
            && let Some(known) = self.known.get_mut(before)
            && known.token == Some(token)
        {
            known.token = None;
        }
        self.handle_arrive(token, person);
        Some(person)
    }

    /// Marks the peer that has this token as gone.
    pub(crate) fn handle_depart(&mut self, limits: &Limits, now: Instant, token: ResumeToken) {
        let Some(owner) = self.tokens.get_mut(&token) else { return };
        let person = owner.person;
        match self.known.get(&person) {
            Some(known) if known.token.is_none_or(|latest| latest == token) => {
                owner.present = false;
                self.bind_token(person, token);
                self.touch(limits, now, person);
            }
            _ => drop(self.tokens.remove(&token)),
        }
    }

    /// Remembers the partner of a person that has this token.
    pub(crate) fn handle_met(
        &mut self,
        limits: &Limits,
        now: Instant,
        (person, token): (PersonId, ResumeToken),
        partner: PersonId,
    ) {
        if limits.recent_partners == 0 {
            return;
        }
        let met = &mut self.known_or_new(limits, now, person, token).met;
        met.retain(|(other, _)| *other != partner);
        met.push_front((partner, now));
        met.truncate(limits.recent_partners);
        self.touch(limits, now, person);
    }

    /// Blocks `other` for a person that has this token.
    pub(crate) fn handle_block(
        &mut self,
        limits: &Limits,
        now: Instant,
        (person, token): (PersonId, ResumeToken),
        other: PersonId,
    ) {
        let blocked = &mut self.known_or_new(limits, now, person, token).blocked;
        blocked.retain(|known| *known != other);
        blocked.push_front(other);
        blocked.truncate(limits.blocks);
        self.touch(limits, now, person);
        // The other's token is not known here; it is bound when the other departs.
        self.known_or_new(limits, now, other, ResumeToken::NONE).was_blocked = true;
        self.touch(limits, now, other);
    }

    /// Returns whom a person must not meet now.
    pub(crate) fn exclusions(&self, limits: &Limits, now: Instant, person: PersonId) -> Exclusions {
        let Some(known) = self.known.get(&person) else { return Exclusions::default() };
        let recent = known.met.iter().filter(|(_, met)| now - *met < limits.recent_for);
        let recent = recent.map(|(partner, _)| *partner);
        Exclusions::default()
            .recently(recent, limits.recent_relax)
            .blocking(known.blocked.iter().copied())
    }

    /// Returns true if either person has blocked the other.
    pub(crate) fn keeps_apart(&self, a: PersonId, b: PersonId) -> bool {
        let blocks = |a: PersonId, b: PersonId| {
            self.known.get(&a).is_some_and(|known| known.blocked.contains(&b))
        };
        blocks(a, b) || blocks(b, a)
    }

    fn known_or_new(
        &mut self,
        limits: &Limits,
        now: Instant,
        person: PersonId,
        token: ResumeToken,
    ) -> &mut Known {
        let newcomers = usize::from(!self.known.contains_key(&person));
        self.evict(limits, now, newcomers);
        // A token that was redeemed meanwhile belongs to no person.
        let token = self.tokens.get(&token).filter(|owner| owner.person == person).map(|_| token);
        self.known.entry(person).or_insert_with(|| Known {
            met: VecDeque::new(),
            blocked: VecDeque::new(),
            was_blocked: false,
            token,
            expires: now,
        })
    }

    /// Makes this the only token that resumes a known person.
    fn bind_token(&mut self, person: PersonId, token: ResumeToken) {
        let Some(known) = self.known.get_mut(&person) else { return };
        if let Some(old) = known.token.replace(token)
            && old != token
        {
            self.tokens.remove(&old);
        }
    }

    /// Postpones the eviction of a known person.
    fn touch(&mut self, limits: &Limits, now: Instant, person: PersonId) {
        let Some(known) = self.known.get_mut(&person) else { return };
        let has_block = known.was_blocked || !known.blocked.is_empty();
        let keep = if has_block { limits.resume_for } else { limits.recent_for };
        self.expiring.remove(&(known.expires, person));
        known.expires = after(now, keep);
        self.expiring.insert((known.expires, person));
    }

    /// Evicts expired persons who are absent, and the first to expire while there is no room for
    /// newcomers.
    fn evict(&mut self, limits: &Limits, now: Instant, newcomers: usize) {
        while let Some((expires, person)) = self.expiring.first().copied() {
            let is_full = self.known.len() + newcomers > limits.remembered.max(1);
            if expires > now && !is_full {
                return;
            }
            let token = self.known.get(&person).and_then(|known| known.token);
            let owner = token.and_then(|token| self.tokens.get(&token));
            let present = owner.is_some_and(|owner| owner.present);
            if present && !is_full {
                self.touch(limits, now, person);
                continue;
            }
            self.expiring.pop_first();
            self.known.remove(&person);
            if let (Some(token), false) = (token, present) {
                self.tokens.remove(&token);
            }
        }
    }
}

/// Clamped to 1 s to 30 years: zero would evict the entry that is being added, and large values
/// overflow `Instant`.
fn after(now: Instant, span: Duration) -> Instant {
    now + span.clamp(Duration::from_secs(1), Duration::from_secs(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: PersonId = PersonId::from_bits(1);
    const BOB: PersonId = PersonId::from_bits(2);

    fn token(number: u128) -> ResumeToken {
        ResumeToken::from_bits(number)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// A registry in which person n has token n, unless a test says otherwise.
    struct Story {
        registry: Registry,
        limits: Limits,
        start: Instant,
    }

    impl Story {
        fn new(limits: Limits) -> Self {
            Self { registry: Registry::default(), limits, start: Instant::now() }
        }
        fn at(&self, second: u64) -> Instant {
            self.start + seconds(second)
        }
        fn met(&mut self, second: u64, person: PersonId, partner: PersonId) {
            let who = (person, token(u128::from(person.to_bits())));
            self.registry.handle_met(&self.limits, self.at(second), who, partner);
        }
        fn block(&mut self, second: u64, person: PersonId, other: PersonId) {
            let who = (person, token(u128::from(person.to_bits())));
            self.registry.handle_block(&self.limits, self.at(second), who, other);
        }
        fn depart(&mut self, second: u64, token: ResumeToken) {
            self.registry.handle_depart(&self.limits, self.at(second), token);
        }
        fn exclusions(&self, second: u64, person: PersonId) -> Exclusions {
            self.registry.exclusions(&self.limits, self.at(second), person)
        }
        fn sizes(&self) -> [usize; 3] {
            [self.registry.tokens.len(), self.registry.known.len(), self.registry.expiring.len()]
        }
    }

    #[test]
    fn recent_partners_excluded_until_they_expire() {
        let mut story = Story::new(Limits::default());
        for partner in 10..20 {
            story.met(partner, ANN, PersonId::from_bits(partner));
        }
        let recent = |second| -> Vec<u64> {
            story.exclusions(second, ANN).recent.iter().map(|person| person.to_bits()).collect()
        };
        assert_eq!(recent(20), [19, 18, 17, 16, 15]);
        assert_eq!(recent(15 + 600), [19, 18, 17, 16]);
        assert!(recent(19 + 600).is_empty());
        assert_eq!(story.exclusions(20, BOB), Exclusions::default());
    }

    #[test]
    fn block_survives_reconnects_of_either_side() {
        let mut story = Story::new(Limits::default());
        story.registry.handle_arrive(token(1), ANN);
        story.block(0, ANN, BOB);
        story.depart(10, token(1));
        let near_the_end = 10 + story.limits.resume_for.as_secs() - 1;
        story.met(near_the_end, BOB, PersonId::from_bits(3));
        story.registry.handle_arrive(token(2), PersonId::from_bits(4));
        assert_eq!(story.registry.handle_resume(token(2), token(1), None), Some(ANN));
        assert!(story.exclusions(near_the_end, ANN).blocks(BOB));
        // Presence alone postpones the eviction.
        story.met(near_the_end + 5 * 86_400, BOB, PersonId::from_bits(3));
        assert!(story.exclusions(near_the_end, ANN).blocks(BOB));
    }

    #[test]
    fn resume_token_single_use() {
        let mut story = Story::new(Limits::default());
        story.registry.handle_arrive(token(1), ANN);
        story.block(0, ANN, BOB);
        story.registry.handle_arrive(token(2), BOB);
        assert_eq!(story.registry.handle_resume(token(2), token(2), None), None);
        assert_eq!(story.registry.handle_resume(token(2), ResumeToken::NONE, None), None);
        // Also while the connection that it was given to still looks open.
        assert_eq!(story.registry.handle_resume(token(2), token(1), None), Some(ANN));
        assert_eq!(story.registry.handle_resume(token(3), token(1), None), None);
        story.depart(1, token(1));
        assert!(story.exclusions(1, ANN).blocks(BOB));
    }

    #[test]
    fn resume_after_chat_keeps_the_resumed_person() {
        let mut story = Story::new(Limits::default());
        story.registry.handle_arrive(token(3), ANN);
        story.block(0, ANN, BOB);
        story.depart(0, token(3));
        // Arrives as a new person, meets a partner, and resumes only then.
        let newcomer = PersonId::from_bits(4);
        story.registry.handle_arrive(token(4), newcomer);
        story.met(1, newcomer, BOB);
        assert_eq!(story.registry.handle_resume(token(4), token(3), None), Some(ANN));
        story.depart(2, token(4));
        // The newcomer is evicted, and Ann is not.
        story.met(700, BOB, newcomer);
        story.registry.handle_arrive(token(5), PersonId::from_bits(5));
        assert_eq!(story.registry.handle_resume(token(5), token(4), None), Some(ANN));
        assert!(story.exclusions(700, ANN).blocks(BOB));
    }

    #[test]
    fn authenticated_person_cannot_resume_another() {
        let mut story = Story::new(Limits::default());
        story.registry.handle_arrive(token(1), ANN);
        story.registry.handle_arrive(token(2), BOB);
        assert_eq!(story.registry.handle_resume(token(2), token(1), Some(BOB)), None);
        story.registry.handle_arrive(token(3), ANN);
        assert_eq!(story.registry.handle_resume(token(3), token(1), Some(ANN)), Some(ANN));
    }

    #[test]
    fn expired_persons_evicted() {
        let mut story = Story::new(Limits::default());
        story.registry.handle_arrive(token(1), ANN);
        story.registry.handle_arrive(token(2), BOB);
        story.registry.handle_arrive(token(3), PersonId::from_bits(3));
        story.met(0, ANN, BOB);
        story.met(0, BOB, ANN);
        for number in 1..=3 {
            story.depart(1, token(number));
        }
        assert_eq!(story.sizes(), [2, 2, 2]);
        story.met(602, PersonId::from_bits(4), ANN);
        assert_eq!(story.sizes(), [0, 1, 1]);
    }

    #[test]
    fn remembered_limit_evicts_the_first_to_expire() {
        let mut story = Story::new(Limits { remembered: 100, blocks: 3, ..Limits::default() });
        for number in 0..1_000 {
            let person = PersonId::from_bits(number);
            story.registry.handle_arrive(token(number.into()), person);
            for other in 0..10 {
                story.block(number, person, PersonId::from_bits(5_000 + other));
            }
            story.depart(number, token(number.into()));
        }
        assert_eq!(story.sizes(), [90, 100, 100]);
        let kept = story.exclusions(1_000, PersonId::from_bits(999));
        assert!(
            kept.blocks(PersonId::from_bits(5_009)) && !kept.blocks(PersonId::from_bits(5_006))
        );
    }
}
