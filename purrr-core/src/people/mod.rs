//! Who is known, as a pure machine: blocks, recent partners and resume tokens. [`Registry`].
//!
//! Contract of use: `handle_arrive` and `handle_depart` for every session, in between
//! `handle_resume`, `handle_met` and `handle_block` as they happen.
//! [`exclusions`](Registry::exclusions) and [`keeps_apart`](Registry::keeps_apart) say who must not
//! meet. There is nothing to drain and no timeout: each `handle_*` evicts a few persons that have
//! expired.
//!
//! A person is present while any of its peers is, and is never evicted then. A person that has met
//! a partner is kept for [`Limits::recent_for`] after its last presence, and one that has blocked
//! or was blocked for [`Limits::resume_for`]. Beyond [`Limits::remembered`] absent persons the
//! origin with the most of them gives way, the person that left first before others.
//!
//! Each call takes O(log n). A peer that has met no partner takes two entries while it is present,
//! and nothing afterwards.

mod absent;
#[cfg(test)]
mod properties;

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use self::absent::{Absence, AbsentPersons};
use crate::model::{
    ids::{OriginKey, PersonId, ResumeToken},
    limits::Limits,
    person::{Identity, PersonAt},
    ticket::Exclusions,
};

/// Persons and their tokens.
///
/// Invariants: a person has an entry if it is present or remembered; the remembered persons that
/// are not present are `absent`, each once; every `memory.token` is in `tokens`, and so is the token
/// of every present peer; other tokens are not.
///
/// The hash need not resist collisions that a client picks: all keys are drawn at random, or by the
/// embedder.
#[derive(Debug)]
pub(crate) struct Registry {
    limits: Limits,
    tokens: HashMap<ResumeToken, TokenOwner, RandomState>,
    persons: HashMap<PersonId, Person, RandomState>,
    absent: AbsentPersons,
}

/// The person that a token resumes.
#[derive(Clone, Copy, Debug)]
struct TokenOwner {
    person: PersonId,
    state: TokenState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenState {
    /// Its peer is present, and the token resumes the person.
    Good,
    /// Its peer is present, and the token is used up.
    Used,
    /// Its peer has departed, and the token resumes the person.
    Left,
}

#[derive(Debug, Default)]
struct Person {
    /// The number of its peers that are present.
    peers: u32,
    /// Boxed, because most persons that are present have none.
    memory: Option<Box<Memory>>,
}

/// What is remembered of a person.
#[derive(Debug)]
struct Memory {
    /// Recent partners with the time of their match, latest first.
    met: VecDeque<(PersonId, Instant)>,
    blocks: Option<Box<Blocks>>,
    /// Whether another person blocked this one, which holds only as long as this one is known.
    was_blocked: bool,
    /// The token of the last peer of this person.
    token: Option<ResumeToken>,
    /// Where the person last met or was blocked.
    origin: OriginKey,
    /// Set while the person is absent.
    absence: Option<Absence>,
}

/// Whom a person has blocked, latest first.
#[derive(Debug, Default)]
struct Blocks {
    persons: VecDeque<PersonId>,
    /// The addresses of blocked persons, each with the time until which it is blocked.
    origins: VecDeque<(OriginKey, Instant)>,
}

/// The maximum number of addresses that one person has blocked. Above it the oldest is dropped.
const BLOCKED_ORIGINS: usize = 32;

/// The maximum number of persons that one call evicts. One call adds at most two.
const EVICTIONS: usize = 4;

impl Registry {
    /// Creates an empty registry, bounded by the limits of recent partners, blocks and remembered
    /// persons.
    pub(crate) fn new(limits: Limits) -> Self {
        let (tokens, persons) = (HashMap::default(), HashMap::default());
        Self { limits, tokens, persons, absent: AbsentPersons::default() }
    }

    /// Registers a peer as present, and its token for its person.
    pub(crate) fn handle_arrive(&mut self, Identity { person, token, .. }: Identity) {
        self.tokens.insert(token, TokenOwner { person, state: TokenState::Good });
        self.join(person, token);
    }

    /// Redeems `other` for the peer that has `token`. Returns the person that it is from now on.
    ///
    /// Tokens are single use. Returns `None` if `other` is unknown, is `token` itself, or belongs
    /// to another person than `authenticated`, and if `token` itself was redeemed.
    pub(crate) fn handle_resume(
        &mut self,
        now: Instant,
        token: ResumeToken,
        other: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Option<PersonId> {
        let TokenOwner { person, state } = *self.tokens.get(&other)?;
        let own = self.tokens.get_mut(&token)?;
        // Must not be good again, otherwise a redeemed token could be used a second time.
        let is_valid = own.state == TokenState::Good && state != TokenState::Used;
        if !is_valid || token == other || authenticated.is_some_and(|is| is != person) {
            return None;
        }
        let before = std::mem::replace(&mut own.person, person);
        self.use_up(other);
        if let Some(memory) = self.memory(before)
            && memory.token == Some(token)
        {
            memory.token = None;
        }
        self.join(person, token);
        self.part(now, before);
        Some(person)
    }

    /// Marks the peer that has this token as gone.
    pub(crate) fn handle_depart(&mut self, now: Instant, token: ResumeToken) {
        let Some(&TokenOwner { person, state }) = self.tokens.get(&token) else { return };
        let memory = self.persons.get_mut(&person).and_then(|person| person.memory.as_mut());
        match (state, memory) {
            (TokenState::Left, _) => return,
            (TokenState::Good, Some(memory)) if memory.token.is_none_or(|it| it == token) => {
                memory.token = Some(token);
                self.tokens.insert(token, TokenOwner { person, state: TokenState::Left });
            }
            _ => drop(self.tokens.remove(&token)),
        }
        self.part(now, person);
    }

    /// Remembers the partner of a peer's person.
    pub(crate) fn handle_met(&mut self, now: Instant, peer: Identity, partner: PersonId) {
        let most = self.limits.recent_partners;
        if most == 0 {
            return;
        }
        let met = &mut self.remember(peer.person_at(), peer.token).met;
        met.retain(|(other, _)| *other != partner);
        met.push_front((partner, now));
        met.truncate(most);
        self.settle(now, peer.person);
    }

    /// Blocks another person, and its address, for a peer's person.
    pub(crate) fn handle_block(&mut self, now: Instant, peer: Identity, other: PersonAt) {
        let address_for = self.limits.block_address_for;
        let covers_address = !address_for.is_zero()
            && other.origin != OriginKey::NONE
            && other.origin != peer.origin;
        let most = self.limits.blocks;
        let blocks = self.remember(peer.person_at(), peer.token).blocks.get_or_insert_default();
        blocks.persons.retain(|known| *known != other.person);
        blocks.persons.push_front(other.person);
        blocks.persons.truncate(most);
        if covers_address {
            blocks.origins.retain(|(known, until)| *known != other.origin && *until > now);
            blocks.origins.push_front((other.origin, after(now, address_for)));
            blocks.origins.truncate(BLOCKED_ORIGINS);
        }
        self.settle(now, peer.person);
        // The other's token is not known here; it is bound when the other departs.
        self.remember(other, ResumeToken::NONE).was_blocked = true;
        self.settle(now, other.person);
    }

    /// Returns whom a person must not meet now. `now` is called only for a remembered person.
    pub(crate) fn exclusions(&self, now: impl FnOnce() -> Instant, person: PersonId) -> Exclusions {
        let exclusions = Exclusions::default().recently([], self.limits.recent_relax);
        let Some(memory) = self.remembered(person) else { return exclusions };
        let now = now();
        let is_recent = |met: Instant| now - met < self.limits.recent_for;
        let recent = memory.met.iter().filter(|(_, met)| is_recent(*met));
        let exclusions =
            exclusions.recently(recent.map(|(partner, _)| *partner), self.limits.recent_relax);
        let Some(blocks) = &memory.blocks else { return exclusions };
        let origins = blocks.origins.iter().filter(|(_, until)| *until > now);
        exclusions
            .blocking(blocks.persons.iter().copied())
            .blocking_origins(origins.map(|(origin, _)| *origin))
    }

    /// Returns true if either person has blocked the other, or the other's address unless the two
    /// share it. `now` is called only for a person that has blocked another.
    pub(crate) fn keeps_apart(&self, now: impl Fn() -> Instant, a: PersonAt, b: PersonAt) -> bool {
        let blocks = |a: PersonAt, b: PersonAt| {
            let blocks = self.remembered(a.person).and_then(|memory| memory.blocks.as_ref());
            blocks.is_some_and(|it| {
                let now = now();
                let is_blocked = |(origin, until): &(OriginKey, Instant)| {
                    *origin == b.origin && *until > now && a.origin != b.origin
                };
                it.persons.contains(&b.person) || it.origins.iter().any(is_blocked)
            })
        };
        blocks(a, b) || blocks(b, a)
    }

    fn remembered(&self, person: PersonId) -> Option<&Memory> {
        self.persons.get(&person)?.memory.as_deref()
    }

    fn memory(&mut self, person: PersonId) -> Option<&mut Memory> {
        self.persons.get_mut(&person)?.memory.as_deref_mut()
    }

    /// Counts a peer of a person as present, and makes its token the only one that resumes a
    /// remembered person.
    fn join(&mut self, person: PersonId, token: ResumeToken) {
        let Person { peers, memory } = self.persons.entry(person).or_default();
        *peers += 1;
        let Some(memory) = memory else { return };
        if let Some(absence) = memory.absence.take() {
            self.absent.remove(PersonAt { person, origin: memory.origin }, absence);
        }
        if let Some(old) = memory.token.replace(token)
            && old != token
        {
            self.use_up(old);
        }
    }

    /// Counts a peer of a person as gone.
    fn part(&mut self, now: Instant, person: PersonId) {
        let Entry::Occupied(mut entry) = self.persons.entry(person) else { return };
        entry.get_mut().peers -= 1;
        if let Person { peers: 0, memory: None } = entry.get() {
            entry.remove();
        }
        self.settle(now, person);
    }

    /// Makes a token good for no further resume.
    fn use_up(&mut self, token: ResumeToken) {
        let Entry::Occupied(mut owner) = self.tokens.entry(token) else { return };
        match owner.get().state {
            // Kept until its peer departs, which must be counted then.
            TokenState::Good | TokenState::Used => owner.get_mut().state = TokenState::Used,
            TokenState::Left => drop(owner.remove()),
        }
    }

    /// Returns what is remembered of a person, to be changed. Must be followed by
    /// [`settle`](Self::settle), otherwise an absent person would never be evicted.
    fn remember(
        &mut self,
        PersonAt { person, origin }: PersonAt,
        token: ResumeToken,
    ) -> &mut Memory {
        let tokens = &self.tokens;
        let memory = self.persons.entry(person).or_default().memory.get_or_insert_with(|| {
            // A token that was redeemed meanwhile belongs to no person.
            let owner = tokens.get(&token).filter(|owner| owner.person == person);
            let is_good = owner.is_some_and(|owner| owner.state != TokenState::Used);
            Box::new(Memory::new(is_good.then_some(token)))
        });
        if let Some(absence) = memory.absence.take() {
            self.absent.remove(PersonAt { person, origin: memory.origin }, absence);
        }
        memory.origin = origin;
        memory
    }

    /// Begins the absence of a person without peers, and evicts others for it if need be.
    fn settle(&mut self, now: Instant, person: PersonId) {
        if let Some(Person { peers: 0, memory: Some(memory) }) = self.persons.get_mut(&person) {
            let has_block = memory.was_blocked || memory.blocks.is_some();
            let keep = if has_block { self.limits.resume_for } else { self.limits.recent_for };
            let absent = PersonAt { person, origin: memory.origin };
            memory.absence = Some(self.absent.insert(absent, after(now, keep)));
        }
        for _ in 0..EVICTIONS {
            let is_full = self.absent.len() > self.limits.remembered.max(1);
            let oldest = || is_full.then(|| self.absent.oldest_of_largest_share()).flatten();
            let Some(person) = self.absent.expired(now).or_else(oldest) else { return };
            self.evict(person);
        }
    }

    /// Evicts an absent person.
    fn evict(&mut self, person: PersonId) {
        let Some(Person { memory: Some(memory), .. }) = self.persons.remove(&person) else {
            return;
        };
        if let Some(absence) = memory.absence {
            self.absent.remove(PersonAt { person, origin: memory.origin }, absence);
        }
        if let Some(token) = memory.token {
            self.tokens.remove(&token);
        }
    }
}

impl Memory {
    const fn new(token: Option<ResumeToken>) -> Self {
        Self {
            met: VecDeque::new(),
            blocks: None,
            was_blocked: false,
            token,
            origin: OriginKey::NONE,
            absence: None,
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
    const CAT: PersonId = PersonId::from_bits(3);

    fn token(number: u128) -> ResumeToken {
        ResumeToken::from_bits(number)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// A registry in which person n has token n, unless a test says otherwise.
    struct Story {
        registry: Registry,
        start: Instant,
    }

    /// The identity of person n without an address.
    fn identity(person: PersonId) -> Identity {
        let token = token(u128::from(person.to_bits()));
        Identity { person, token, origin: OriginKey::NONE }
    }

    fn at(person: u64, origin: u64) -> PersonAt {
        PersonAt { person: PersonId::from_bits(person), origin: OriginKey::from_bits(origin) }
    }

    impl Story {
        fn new(limits: Limits) -> Self {
            Self { registry: Registry::new(limits), start: Instant::now() }
        }
        fn time(&self, second: u64) -> Instant {
            self.start + seconds(second)
        }
        fn arrive(&mut self, number: u128, person: PersonId) {
            self.registry.handle_arrive(Identity { token: token(number), ..identity(person) });
        }
        fn met(&mut self, second: u64, person: PersonId, partner: PersonId) {
            self.registry.handle_met(self.time(second), identity(person), partner);
        }
        fn block(&mut self, second: u64, person: PersonId, other: PersonId) {
            self.registry.handle_block(self.time(second), identity(person), other.into());
        }
        fn block_at(&mut self, second: u64, person: PersonAt, other: PersonAt) {
            let peer = identity(person.person).at(person.origin);
            self.registry.handle_block(self.time(second), peer, other);
        }
        fn resume(&mut self, own: u128, other: u128) -> Option<PersonId> {
            self.registry.handle_resume(self.time(0), token(own), token(other), None)
        }
        fn depart(&mut self, second: u64, number: u128) {
            self.registry.handle_depart(self.time(second), token(number));
        }
        fn exclusions(&self, second: u64, person: PersonId) -> Exclusions {
            self.registry.exclusions(|| self.time(second), person)
        }
        fn keeps_apart(&self, second: u64, a: PersonAt, b: PersonAt) -> bool {
            let time = self.time(second);
            let apart = self.registry.keeps_apart(|| time, a, b);
            assert_eq!(apart, self.registry.keeps_apart(|| time, b, a));
            apart
        }
        /// The numbers of tokens, of persons, and of those that are absent.
        fn sizes(&self) -> [usize; 3] {
            let registry = &self.registry;
            [registry.tokens.len(), registry.persons.len(), registry.absent.len()]
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
        assert_eq!(story.exclusions(20, BOB), Exclusions::default().recently([], seconds(3)));
    }

    #[test]
    fn block_survives_reconnects_of_either_side() {
        let mut story = Story::new(Limits::default());
        story.arrive(1, ANN);
        story.block(0, ANN, BOB);
        story.depart(10, 1);
        let near_the_end = 10 + story.registry.limits.resume_for.as_secs() - 1;
        story.met(near_the_end, BOB, PersonId::from_bits(3));
        story.arrive(2, PersonId::from_bits(4));
        assert_eq!(story.resume(2, 1), Some(ANN));
        assert!(story.exclusions(near_the_end, ANN).blocks(BOB));
        // Presence alone postpones the eviction.
        story.met(near_the_end + 5 * 86_400, BOB, PersonId::from_bits(3));
        assert!(story.exclusions(near_the_end, ANN).blocks(BOB));
    }

    #[test]
    fn resume_token_single_use() {
        let mut story = Story::new(Limits::default());
        story.arrive(1, ANN);
        story.block(0, ANN, BOB);
        story.arrive(2, BOB);
        assert_eq!(story.resume(2, 2), None);
        assert_eq!(story.resume(2, 0), None);
        // Also while the connection that it was given to still looks open.
        assert_eq!(story.resume(2, 1), Some(ANN));
        assert_eq!(story.resume(3, 1), None);
        story.depart(1, 1);
        assert!(story.exclusions(1, ANN).blocks(BOB));
    }

    #[test]
    fn resume_after_chat_keeps_the_resumed_person() {
        let mut story = Story::new(Limits::default());
        story.arrive(3, ANN);
        story.block(0, ANN, BOB);
        story.depart(0, 3);
        // Arrives as a new person, meets a partner, and resumes only then.
        let newcomer = PersonId::from_bits(4);
        story.arrive(4, newcomer);
        story.met(1, newcomer, BOB);
        assert_eq!(story.resume(4, 3), Some(ANN));
        story.depart(2, 4);
        // The newcomer is evicted, and Ann is not.
        story.met(700, BOB, newcomer);
        story.arrive(5, PersonId::from_bits(5));
        assert_eq!(story.resume(5, 4), Some(ANN));
        assert!(story.exclusions(700, ANN).blocks(BOB));
    }

    #[test]
    fn authenticated_person_cannot_resume_another() {
        let mut story = Story::new(Limits::default());
        let now = story.time(0);
        story.arrive(1, ANN);
        story.arrive(2, BOB);
        assert_eq!(story.registry.handle_resume(now, token(2), token(1), Some(BOB)), None);
        story.arrive(3, ANN);
        assert_eq!(story.registry.handle_resume(now, token(3), token(1), Some(ANN)), Some(ANN));
    }

    #[test]
    fn expired_persons_evicted() {
        let mut story = Story::new(Limits::default());
        story.arrive(1, ANN);
        story.arrive(2, BOB);
        story.arrive(3, PersonId::from_bits(3));
        story.met(0, ANN, BOB);
        story.met(0, BOB, ANN);
        for number in 1..=3 {
            story.depart(1, number);
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
            story.arrive(number.into(), person);
            for other in 0..10 {
                story.block(number, person, PersonId::from_bits(5_000 + other));
            }
            story.depart(number, number.into());
        }
        assert_eq!(story.sizes(), [90, 100, 100]);
        let kept = story.exclusions(1_000, PersonId::from_bits(999));
        assert!(
            kept.blocks(PersonId::from_bits(5_009)) && !kept.blocks(PersonId::from_bits(5_006))
        );
    }

    #[test]
    fn block_covers_the_address_of_the_blocked() {
        let mut story = Story::new(Limits::default());
        let hours = |count: u64| count * 3_600;
        let [ann, bob, cat] = [at(1, 1), at(2, 2), at(3, 3)];
        story.arrive(1, ann.person);
        story.block_at(0, ann, bob);
        // Bob again without a token, and another person of Bob's address.
        let again = at(4, 2);
        assert!(story.keeps_apart(hours(5), ann, again));
        assert_eq!(story.exclusions(hours(5), ann.person).blocked_origins(), [again.origin]);
        assert!(!story.keeps_apart(hours(6), ann, again));
        assert!(story.exclusions(hours(6), ann.person).blocked_origins().is_empty());
        assert!(story.keeps_apart(hours(6), ann, bob));
        // Only for Ann, and not while she has Bob's address.
        assert!(!story.keeps_apart(0, cat, again));
        assert!(!story.keeps_apart(0, at(5, 1), again));
        assert!(!story.keeps_apart(0, at(1, 2), again));
        assert_eq!(
            story.exclusions(0, bob.person),
            story.exclusions(0, again.person).recently([], seconds(3))
        );
    }

    #[test]
    fn block_covers_no_shared_or_unknown_address() {
        let off = Limits { block_address_for: Duration::ZERO, ..Limits::default() };
        for (limits, ann, bob) in [
            (Limits::default(), at(1, 2), at(2, 2)),
            (Limits::default(), at(1, 1), at(2, 0)),
            (off, at(1, 1), at(2, 2)),
        ] {
            let mut story = Story::new(limits);
            story.block_at(0, ann, bob);
            assert!(story.exclusions(0, ann.person).blocked_origins().is_empty());
            assert!(story.keeps_apart(0, ann, bob));
            assert!(!story.keeps_apart(0, at(1, 1), PersonAt { person: CAT, ..bob }));
        }
    }

    #[test]
    fn oldest_blocked_address_is_dropped() {
        let mut story = Story::new(Limits::default());
        let ann = at(1, 1);
        for other in 0..100 {
            story.block_at(other, ann, at(1_000 + other, 1_000 + other));
        }
        let kept = story.exclusions(100, ANN);
        let kept: Vec<u64> = kept.blocked_origins().iter().map(|it| it.to_bits()).collect();
        assert_eq!(kept, Vec::from_iter(1_068..1_100));
    }

    /// Strangers of a few addresses who meet and block each other, and leave.
    fn flood(story: &mut Story, second: u64, strangers: u64, origins: u64) {
        for number in 0..strangers {
            let stranger = |number: u64| at(1_000_000 + number, 1_000 + number % origins);
            let (stranger, other) = (stranger(number), stranger(number ^ 1));
            story.arrive(stranger.person.to_bits().into(), stranger.person);
            let peer = identity(stranger.person).at(stranger.origin);
            story.registry.handle_met(story.time(second), peer, other.person);
            story.block_at(second, stranger, other);
            story.depart(second, stranger.person.to_bits().into());
        }
    }

    #[test]
    fn flood_of_strangers_displaces_no_present_person() {
        let mut story = Story::new(Limits { remembered: 1_000, ..Limits::default() });
        story.arrive(1, ANN);
        story.arrive(2, BOB);
        story.block_at(0, at(1, 1), at(2, 2));
        // Cat left before, from an address of her own.
        story.arrive(3, CAT);
        story.block_at(0, at(3, 3), at(2, 2));
        story.depart(0, 3);
        flood(&mut story, 60, 10_000, 8);
        assert!(story.keeps_apart(60, at(1, 1), at(2, 2)));
        assert_eq!(story.resume(2, 3), Some(CAT));
        assert!(story.exclusions(60, CAT).blocks(BOB));
        assert_eq!(story.registry.absent.len(), 1_000);
        story.registry.absent.check_invariants();
    }

    #[test]
    fn largest_share_gives_way_first() {
        let mut story = Story::new(Limits { remembered: 100, ..Limits::default() });
        for person in 1..=80 {
            story.block_at(person, at(person, 1), at(person + 1, 1));
        }
        for person in 201..=300 {
            story.block_at(person, at(person, person), at(person + 1, person + 1));
        }
        // Once they are equal, the one that left first gives way.
        let kept = |person: u64| story.registry.remembered(PersonId::from_bits(person)).is_some();
        let kept: Vec<u64> = (1..=301).filter(|person| kept(*person)).collect();
        assert_eq!(kept, Vec::from_iter(202..=301));
    }

    #[test]
    fn person_is_present_while_any_of_its_peers_is() {
        let mut story = Story::new(Limits { remembered: 1, ..Limits::default() });
        // Two windows of one authenticated person, of which the second has done nothing.
        story.arrive(1, ANN);
        story.arrive(2, ANN);
        story.block(0, ANN, BOB);
        story.depart(0, 1);
        for person in 10..20 {
            story.met(1, PersonId::from_bits(person), CAT);
        }
        assert!(story.exclusions(1, ANN).blocks(BOB));
        story.depart(2, 2);
        story.met(3, PersonId::from_bits(20), CAT);
        assert!(!story.exclusions(3, ANN).blocks(BOB));
        assert_eq!(story.sizes(), [0, 1, 1]);
    }
}
