//! The store beside a plain one: any history of arrivals, resumes, chats, blocks and departures.

use proptest::prelude::*;

use super::*;

/// One thing that happens. Sessions and tokens are chosen among those there are.
#[derive(Clone, Debug)]
enum Step {
    /// A session begins with a token of its own, as a person that may be here already.
    Arrive(u64),
    /// A session presents a token. With `sure`, a login has said who its person is.
    Resume {
        session: usize,
        token: usize,
        sure: bool,
    },
    Met(usize, u64),
    Block(usize, u64),
    Depart(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let person = 1_u64..7;
    let index = 0_usize..64;
    let step = prop_oneof![
        3 => person.clone().prop_map(Step::Arrive),
        3 => (index.clone(), index.clone(), prop::bool::weighted(0.2))
            .prop_map(|(session, token, sure)| Step::Resume { session, token, sure }),
        3 => (index.clone(), person.clone()).prop_map(|(session, other)| Step::Met(session, other)),
        2 => (index.clone(), person).prop_map(|(session, other)| Step::Block(session, other)),
        2 => index.prop_map(Step::Depart),
        2 => (0_u64..40).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..120)
}

/// Small enough that everything is evicted and expires: 3 persons, 10 s and 50 s.
fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.remembered, limits.recent_partners, limits.blocks) = (3, 2, 2);
    limits.recent_for = Duration::from_secs(10);
    limits.resume_for = Duration::from_secs(50);
    limits
}

/// The same rules over plain lists that are searched from end to end, without an index of
/// deadlines.
#[derive(Default)]
struct Plain {
    tokens: Vec<(ResumeToken, PersonId, bool)>,
    known: Vec<(PersonId, Remembered)>,
}

struct Remembered {
    met: Vec<(PersonId, Instant)>,
    blocked: Vec<PersonId>,
    was_blocked: bool,
    token: Option<ResumeToken>,
    expires: Instant,
}

impl Plain {
    fn bearer(&self, token: ResumeToken) -> Option<PersonId> {
        self.tokens.iter().find(|(known, _, _)| *known == token).map(|(_, person, _)| *person)
    }

    fn revoke(&mut self, token: ResumeToken) {
        self.tokens.retain(|(known, _, _)| *known != token);
    }

    fn get(&self, person: PersonId) -> Option<&Remembered> {
        self.known.iter().find(|(known, _)| *known == person).map(|(_, remembered)| remembered)
    }

    fn get_mut(&mut self, person: PersonId) -> Option<&mut Remembered> {
        self.known.iter_mut().find(|(known, _)| *known == person).map(|(_, remembered)| remembered)
    }

    fn arrive(&mut self, token: ResumeToken, person: PersonId) {
        self.revoke(token);
        self.tokens.push((token, person, true));
        if let Some(old) = self.get_mut(person).and_then(|known| known.token.replace(token))
            && old != token
        {
            self.revoke(old);
        }
    }

    fn resume(
        &mut self,
        own: ResumeToken,
        other: ResumeToken,
        sure: Option<PersonId>,
    ) -> Option<PersonId> {
        let person = self.bearer(other)?;
        if own == other || self.bearer(own).is_none() || sure.is_some_and(|sure| sure != person) {
            return None;
        }
        self.revoke(other);
        for (_, known) in &mut self.known {
            known.token = known.token.filter(|token| *token != own);
        }
        self.arrive(own, person);
        Some(person)
    }

    fn depart(&mut self, limits: &Limits, now: Instant, token: ResumeToken) {
        let Some(person) = self.bearer(token) else { return };
        self.revoke(token);
        let Some(known) = self.get_mut(person) else { return };
        if known.token.is_some_and(|latest| latest != token) {
            return;
        }
        known.token = Some(token);
        self.tokens.push((token, person, false));
        self.touch(limits, now, person);
    }

    fn meet(
        &mut self,
        limits: &Limits,
        now: Instant,
        who: (PersonId, ResumeToken),
        other: PersonId,
    ) {
        let known = self.remember(limits, now, who);
        known.met.retain(|(met, _)| *met != other);
        known.met.insert(0, (other, now));
        known.met.truncate(limits.recent_partners);
        self.touch(limits, now, who.0);
    }

    fn block(
        &mut self,
        limits: &Limits,
        now: Instant,
        who: (PersonId, ResumeToken),
        other: PersonId,
    ) {
        let known = self.remember(limits, now, who);
        known.blocked.retain(|blocked| *blocked != other);
        known.blocked.insert(0, other);
        known.blocked.truncate(limits.blocks);
        self.touch(limits, now, who.0);
        self.remember(limits, now, (other, ResumeToken::NONE)).was_blocked = true;
        self.touch(limits, now, other);
    }

    fn touch(&mut self, limits: &Limits, now: Instant, person: PersonId) {
        let known = self.get_mut(person).expect("only those known are touched");
        let for_long = known.was_blocked || !known.blocked.is_empty();
        known.expires = now + if for_long { limits.resume_for } else { limits.recent_for };
    }

    fn is_here(&self, person: PersonId) -> bool {
        let token = self.get(person).and_then(|known| known.token);
        self.tokens.iter().any(|(known, _, here)| *here && Some(*known) == token)
    }

    fn remember(
        &mut self,
        limits: &Limits,
        now: Instant,
        (person, token): (PersonId, ResumeToken),
    ) -> &mut Remembered {
        let newcomers = usize::from(self.get(person).is_none());
        while let Some((until, first)) =
            self.known.iter().map(|(person, known)| (known.expires, *person)).min()
        {
            let crowded = self.known.len() + newcomers > limits.remembered;
            if until > now && !crowded {
                break;
            }
            if self.is_here(first) && !crowded {
                self.touch(limits, now, first);
                continue;
            }
            let token = self.get(first).and_then(|known| known.token);
            self.known.retain(|(known, _)| *known != first);
            // The token of a person who is here stays good until its connection ends.
            self.tokens.retain(|(known, _, here)| *here || Some(*known) != token);
        }
        let token = Some(token).filter(|token| self.bearer(*token) == Some(person));
        if self.get(person).is_none() {
            let (met, blocked) = (Vec::new(), Vec::new());
            let known = Remembered { met, blocked, was_blocked: false, token, expires: now };
            self.known.push((person, known));
        }
        self.get_mut(person).expect("it was just pushed")
    }

    fn avoided(&self, limits: &Limits, now: Instant, person: PersonId) -> Exclusions {
        let Some(known) = self.get(person) else { return Exclusions::default() };
        let recent = known.met.iter().filter(|(_, met)| now - *met < limits.recent_for);
        Exclusions::default()
            .recently(recent.map(|(partner, _)| *partner), limits.recent_relax)
            .blocking(known.blocked.iter().copied())
    }

    fn keeps_apart(&self, a: PersonId, b: PersonId) -> bool {
        let blocks = |a, b| self.get(a).is_some_and(|known| known.blocked.contains(&b));
        blocks(a, b) || blocks(b, a)
    }
}

/// The three maps agree, and none outgrows its bound.
fn check_invariants(people: &Registry, limits: &Limits) {
    let expiring: Vec<_> =
        people.expiring.iter().map(|(until, person)| (*person, *until)).collect();
    let mut deadlines: Vec<_> =
        people.known.iter().map(|(person, known)| (*person, known.expires)).collect();
    deadlines.sort_by_key(|(person, until)| (*until, *person));
    assert_eq!(expiring, deadlines, "each person expires once, at its deadline");
    assert!(people.known.len() <= limits.remembered);
    for (person, known) in &people.known {
        assert!(known.met.len() <= limits.recent_partners);
        assert!(known.blocked.len() <= limits.blocks);
        if let Some(token) = known.token {
            let bearer = people.tokens.get(&token).map(|owner| owner.person);
            assert_eq!(bearer, Some(*person), "a known person's token is its own");
        }
    }
    for (token, owner) in &people.tokens {
        let latest = people.known.get(&owner.person).and_then(|known| known.token);
        assert!(owner.present || latest == Some(*token), "a token without connection or person");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn people_store_matches_plain_model(steps in steps()) {
        let limits = limits();
        let (mut people, mut plain) = (Registry::default(), Plain::default());
        let mut now = Instant::now();
        let mut sessions: Vec<(PersonId, ResumeToken)> = Vec::new();
        let mut tokens: Vec<ResumeToken> = Vec::new();
        let mut used: Vec<ResumeToken> = Vec::new();
        for step in steps {
            let at = |index: usize| index % sessions.len().max(1);
            match step {
                Step::Arrive(person) => {
                    let token = ResumeToken::from_bits(tokens.len() as u128 + 1);
                    let person = PersonId::from_bits(person);
                    people.handle_arrive(token, person);
                    plain.arrive(token, person);
                    tokens.push(token);
                    sessions.push((person, token));
                }
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
                _ if sessions.is_empty() => {}
                Step::Resume { session, token, sure } => {
                    let session = at(session);
                    let (person, own) = sessions[session];
                    let (other, sure) = (tokens[token % tokens.len()], sure.then_some(person));
                    let resumed = people.handle_resume(own, other, sure);
                    prop_assert_eq!(resumed, plain.resume(own, other, sure));
                    if let Some(person) = resumed {
                        prop_assert!(!used.contains(&other), "a token was good twice");
                        used.push(other);
                        sessions[session].0 = person;
                    }
                }
                Step::Met(session, other) => {
                    let (who, other) = (sessions[at(session)], PersonId::from_bits(other));
                    people.handle_met(&limits, now, who, other);
                    plain.meet(&limits, now, who, other);
                }
                Step::Block(session, other) => {
                    let (who, other) = (sessions[at(session)], PersonId::from_bits(other));
                    people.handle_block(&limits, now, who, other);
                    plain.block(&limits, now, who, other);
                }
                Step::Depart(session) => {
                    let (_, token) = sessions.swap_remove(at(session));
                    people.handle_depart(&limits, now, token);
                    plain.depart(&limits, now, token);
                }
            }
            check_invariants(&people, &limits);
            prop_assert_eq!(people.tokens.len(), plain.tokens.len());
            let persons = || (1..7).map(PersonId::from_bits);
            for person in persons() {
                let avoided = people.exclusions(&limits, now, person);
                prop_assert_eq!(avoided, plain.avoided(&limits, now, person), "{:?}", person);
                for other in persons() {
                    prop_assert_eq!(
                        people.keeps_apart(person, other),
                        plain.keeps_apart(person, other)
                    );
                }
            }
        }
    }
}
