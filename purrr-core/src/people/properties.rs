//! The store beside a plain one: any history of arrivals, resumes, chats, blocks and departures.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;

/// One thing that happens. Sessions and tokens are chosen among those there are.
#[derive(Clone, Debug)]
enum Step {
    /// A session begins with a token of its own, as a person that may be present already.
    Arrive(PersonAt),
    /// A session presents a token. With `authenticated`, a login has said who its person is.
    Resume {
        session: usize,
        token: usize,
        authenticated: bool,
    },
    Met(usize, u64),
    Block(usize, PersonAt),
    Depart(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let person = 1_u64..7;
    let person_at = (person.clone(), 0_u64..4).prop_map(|(person, origin)| at(person, origin));
    let index = 0_usize..64;
    let step = prop_oneof![
        3 => person_at.clone().prop_map(Step::Arrive),
        3 => (index.clone(), index.clone(), prop::bool::weighted(0.2))
            .prop_map(|(session, token, authenticated)| Step::Resume { session, token, authenticated }),
        3 => (index.clone(), person).prop_map(|(session, other)| Step::Met(session, other)),
        2 => (index.clone(), person_at).prop_map(|(session, other)| Step::Block(session, other)),
        3 => index.prop_map(Step::Depart),
        2 => (0_u64..40).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..120)
}

fn at(person: u64, origin: u64) -> PersonAt {
    PersonAt { person: PersonId::from_bits(person), origin: OriginKey::from_bits(origin) }
}

/// Small enough that everything is evicted and expires.
fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.remembered, limits.recent_partners, limits.blocks) = (3, 2, 2);
    limits.recent_for = Duration::from_secs(10);
    limits.block_address_for = Duration::from_secs(20);
    limits.resume_for = Duration::from_secs(50);
    limits
}

/// The same rules over plain lists that are searched from end to end.
struct Plain {
    limits: Limits,
    /// The peers that are present.
    peers: Vec<(ResumeToken, PersonId)>,
    /// The tokens that can be redeemed.
    good: Vec<(ResumeToken, PersonId)>,
    known: Vec<Remembered>,
    departures: usize,
}

struct Remembered {
    at: PersonAt,
    met: Vec<(PersonId, Instant)>,
    blocked: Vec<PersonId>,
    origins: Vec<(OriginKey, Instant)>,
    was_blocked: bool,
    token: Option<ResumeToken>,
    /// When it expires, and how many departed before, unless it is present.
    absence: Option<(Instant, usize)>,
}

impl Plain {
    fn new(limits: Limits) -> Self {
        let (peers, good, known) = (Vec::new(), Vec::new(), Vec::new());
        Self { limits, peers, good, known, departures: 0 }
    }

    fn bearer(&self, token: ResumeToken) -> Option<PersonId> {
        self.good.iter().find(|(good, _)| *good == token).map(|(_, person)| *person)
    }

    fn revoke(&mut self, token: ResumeToken) {
        self.good.retain(|(good, _)| *good != token);
    }

    fn get(&self, person: PersonId) -> Option<&Remembered> {
        self.known.iter().find(|known| known.at.person == person)
    }

    fn get_mut(&mut self, person: PersonId) -> Option<&mut Remembered> {
        self.known.iter_mut().find(|known| known.at.person == person)
    }

    fn is_present(&self, person: PersonId) -> bool {
        self.peers.iter().any(|(_, is)| *is == person)
    }

    fn arrive(&mut self, token: ResumeToken, person: PersonId) {
        self.revoke(token);
        self.peers.retain(|(own, _)| *own != token);
        self.peers.push((token, person));
        self.good.push((token, person));
        let Some(known) = self.get_mut(person) else { return };
        known.absence = None;
        if let Some(old) = known.token.replace(token).filter(|old| *old != token) {
            self.revoke(old);
        }
    }

    fn resume(
        &mut self,
        now: Instant,
        own: ResumeToken,
        other: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Option<PersonId> {
        let (person, before) = (self.bearer(other)?, self.bearer(own)?);
        if own == other || authenticated.is_some_and(|authenticated| authenticated != person) {
            return None;
        }
        self.revoke(other);
        for known in &mut self.known {
            known.token = known.token.filter(|token| *token != own);
        }
        self.arrive(own, person);
        self.settle(now, before);
        Some(person)
    }

    fn depart(&mut self, now: Instant, token: ResumeToken, person: PersonId) {
        self.peers.retain(|(own, _)| *own != token);
        let is_good = self.bearer(token).is_some();
        match self.get_mut(person) {
            Some(known) if is_good && known.token.is_none_or(|latest| latest == token) => {
                known.token = Some(token);
            }
            _ => self.revoke(token),
        }
        self.settle(now, person);
    }

    fn meet(&mut self, now: Instant, peer: Identity, other: PersonId) {
        let most = self.limits.recent_partners;
        let known = self.remember(peer.person_at(), peer.token);
        known.met.retain(|(met, _)| *met != other);
        known.met.insert(0, (other, now));
        known.met.truncate(most);
        self.settle(now, peer.person);
    }

    fn block(&mut self, now: Instant, peer: Identity, other: PersonAt) {
        let (most, until) = (self.limits.blocks, now + self.limits.block_address_for);
        let known = self.remember(peer.person_at(), peer.token);
        known.blocked.retain(|blocked| *blocked != other.person);
        known.blocked.insert(0, other.person);
        known.blocked.truncate(most);
        if other.origin != OriginKey::NONE && other.origin != peer.origin {
            known.origins.push((other.origin, until));
        }
        self.settle(now, peer.person);
        self.remember(other, ResumeToken::NONE).was_blocked = true;
        self.settle(now, other.person);
    }

    fn remember(&mut self, at: PersonAt, token: ResumeToken) -> &mut Remembered {
        if self.get(at.person).is_none() {
            self.known.push(Remembered {
                at,
                met: Vec::new(),
                blocked: Vec::new(),
                origins: Vec::new(),
                was_blocked: false,
                token: Some(token).filter(|token| self.bearer(*token) == Some(at.person)),
                absence: None,
            });
        }
        let known = self.get_mut(at.person).expect("it was just pushed");
        known.at = at;
        known
    }

    fn settle(&mut self, now: Instant, person: PersonId) {
        let (is_present, number) = (self.is_present(person), self.departures);
        let (short, long) = (self.limits.recent_for, self.limits.resume_for);
        if let Some(known) = self.get_mut(person).filter(|_| !is_present) {
            let for_long = known.was_blocked || !known.blocked.is_empty();
            known.absence = Some((now + if for_long { long } else { short }, number));
            self.departures += 1;
        }
        for _ in 0..EVICTIONS {
            let absent = || self.known.iter().filter_map(|known| Some((known.at, known.absence?)));
            let expired = absent().map(|(at, (until, _))| (until, at.person)).min();
            let share = |origin| absent().filter(move |(at, _)| at.origin == origin);
            let oldest = |origin| share(origin).map(|(_, (_, number))| number).min();
            let largest = absent()
                .map(|(at, _)| at.origin)
                .max_by_key(|origin| (share(*origin).count(), Reverse(oldest(*origin)), *origin));
            let gone = match (expired, largest) {
                (Some((until, person)), _) if until <= now => person,
                (_, Some(origin)) if absent().count() > self.limits.remembered => {
                    let first = share(origin).min_by_key(|(_, (_, number))| *number);
                    first.expect("the origin has a person").0.person
                }
                _ => return,
            };
            let token = self.get(gone).and_then(|known| known.token);
            self.known.retain(|known| known.at.person != gone);
            self.good.retain(|(good, _)| Some(*good) != token);
        }
    }

    fn avoided(&self, now: Instant, person: PersonId) -> Exclusions {
        let Some(known) = self.get(person) else {
            return Exclusions::default().recently([], self.limits.recent_relax);
        };
        let recent = known.met.iter().filter(|(_, met)| now - *met < self.limits.recent_for);
        let origins = known.origins.iter().filter(|(_, until)| *until > now);
        Exclusions::default()
            .recently(recent.map(|(partner, _)| *partner), self.limits.recent_relax)
            .blocking(known.blocked.iter().copied())
            .blocking_origins(origins.map(|(origin, _)| *origin))
    }

    fn keeps_apart(&self, now: Instant, a: PersonAt, b: PersonAt) -> bool {
        let blocks = |a: PersonAt, b: PersonAt| {
            let exclusions = self.avoided(now, a.person);
            exclusions.blocks(b.person)
                || (a.origin != b.origin && exclusions.blocks_origin(b.origin))
        };
        blocks(a, b) || blocks(b, a)
    }
}

/// The maps agree, and none outgrows its bound.
fn check_invariants(registry: &Registry, plain: &Plain) {
    registry.absent.check_invariants();
    let is_absent = |person: &&Person| person.peers == 0;
    assert_eq!(registry.persons.values().filter(is_absent).count(), registry.absent.len());
    assert!(registry.absent.len() <= registry.limits.remembered);
    for (id, person) in &registry.persons {
        let peers = plain.peers.iter().filter(|(_, is)| is == id).count();
        assert_eq!(person.peers as usize, peers, "each peer counts until it departs");
        let Some(memory) = &person.memory else { continue };
        assert_eq!(memory.absence.is_some(), peers == 0);
        assert!(memory.met.len() <= registry.limits.recent_partners);
        if let Some(blocks) = &memory.blocks {
            assert!(blocks.persons.len() <= registry.limits.blocks);
            assert!(blocks.origins.len() <= BLOCKED_ORIGINS);
        }
        if let Some(token) = memory.token {
            let owner = registry.tokens.get(&token).map(|owner| owner.person);
            assert_eq!(owner, Some(*id), "a remembered person's token is its own");
        }
    }
    for (token, owner) in &registry.tokens {
        let is_present = plain.peers.contains(&(*token, owner.person));
        assert_eq!(owner.state == TokenState::Left, !is_present);
        let latest = registry.remembered(owner.person).and_then(|memory| memory.token);
        assert!(is_present || latest == Some(*token), "a token without peer or person");
    }
    let is_good = |owner: &&TokenOwner| owner.state != TokenState::Used;
    assert_eq!(registry.tokens.values().filter(is_good).count(), plain.good.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn people_store_matches_plain_model(steps in steps()) {
        let (mut people, mut plain) = (Registry::new(limits()), Plain::new(limits()));
        let mut now = Instant::now();
        let mut sessions: Vec<Identity> = Vec::new();
        let mut tokens: Vec<ResumeToken> = Vec::new();
        let mut used: Vec<ResumeToken> = Vec::new();
        for step in steps {
            let index = |index: usize| index % sessions.len().max(1);
            match step {
                Step::Arrive(PersonAt { person, origin }) => {
                    let token = ResumeToken::from_bits(tokens.len() as u128 + 1);
                    let peer = Identity { person, token, origin };
                    people.handle_arrive(peer);
                    plain.arrive(token, person);
                    tokens.push(token);
                    sessions.push(peer);
                }
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
                _ if sessions.is_empty() => {}
                Step::Resume { session, token, authenticated } => {
                    let session = index(session);
                    let Identity { person, token: own, .. } = sessions[session];
                    let (other, authenticated) = (tokens[token % tokens.len()], authenticated.then_some(person));
                    let resumed = people.handle_resume(now, own, other, authenticated);
                    prop_assert_eq!(resumed, plain.resume(now, own, other, authenticated));
                    if let Some(person) = resumed {
                        prop_assert!(!used.contains(&other), "a token was good twice");
                        used.push(other);
                        sessions[session].person = person;
                    }
                }
                Step::Met(session, other) => {
                    let (peer, other) = (sessions[index(session)], PersonId::from_bits(other));
                    people.handle_met(now, peer, other);
                    plain.meet(now, peer, other);
                }
                Step::Block(session, other) => {
                    let peer = sessions[index(session)];
                    people.handle_block(now, peer, other);
                    plain.block(now, peer, other);
                }
                Step::Depart(session) => {
                    let peer = sessions.swap_remove(index(session));
                    people.handle_depart(now, peer.token);
                    plain.depart(now, peer.token, peer.person);
                }
            }
            check_invariants(&people, &plain);
            for person in 1..7 {
                let id = PersonId::from_bits(person);
                prop_assert_eq!(people.exclusions(|| now, id), plain.avoided(now, id), "{:?}", id);
                for other in 1..7 {
                    for (a, b) in [(1, 2), (2, 2), (3, 0)] {
                        let (a, b) = (at(person, a), at(other, b));
                        prop_assert_eq!(
                            people.keeps_apart(|| now, a, b),
                            plain.keeps_apart(now, a, b)
                        );
                    }
                }
            }
        }
    }
}
