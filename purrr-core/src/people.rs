//! Who has met whom, who has blocked whom, and by which token a person is known again: [`People`].
//!
//! Somebody who has met nobody costs one entry while being here and nothing afterwards. Whoever has met somebody is
//! remembered for [`Limits::recent_for`], and whoever has blocked somebody or was blocked for [`Limits::resume_for`],
//! counted from when they were last here.

use crate::model::ids::ResumeToken;
use crate::model::{ids::PersonId, limits::Limits, ticket::Exclusions};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// The memory of a hub.
#[derive(Debug)]
pub(crate) struct People {
    bearers: HashMap<ResumeToken, Bearer>,
    known: HashMap<PersonId, Known>,
    /// Who is forgotten when.
    expiring: BTreeSet<(Instant, PersonId)>,
}

/// Who has a token.
#[derive(Debug)]
struct Bearer {
    person: PersonId,
    here: bool,
}

/// What is remembered of a person.
#[derive(Debug)]
struct Known {
    /// The partners of the last chats, latest first.
    met: VecDeque<(PersonId, Instant)>,
    /// Those it blocked, latest first.
    blocked: VecDeque<PersonId>,
    /// Somebody has blocked this person, who must be known again for that to hold.
    was_blocked: bool,
    token: Option<ResumeToken>,
    until: Instant,
}

impl People {
    pub(crate) fn new() -> Self {
        Self { bearers: HashMap::new(), known: HashMap::new(), expiring: BTreeSet::new() }
    }

    /// A person comes, and can be known again by this token.
    pub(crate) fn handle_arrive(&mut self, token: ResumeToken, person: PersonId) {
        self.bearers.insert(token, Bearer { person, here: true });
        self.entrust(person, token);
    }

    /// Whoever came with `token` turns out to be the bearer of another one, which is used up. `sure` is who that must be,
    /// if somebody knows.
    pub(crate) fn handle_resume(
        &mut self,
        token: ResumeToken,
        other: ResumeToken,
        sure: Option<PersonId>,
    ) -> Option<PersonId> {
        let person = self.bearers.get(&other)?.person;
        if token == other || sure.is_some_and(|sure| sure != person) {
            return None;
        }
        self.bearers.remove(&other);
        if let Some(Bearer { person: before, .. }) = self.bearers.get(&token)
            && let Some(known) = self.known.get_mut(before)
            && known.token == Some(token)
        {
            known.token = None;
        }
        self.handle_arrive(token, person);
        Some(person)
    }

    /// Whoever came with this token has gone.
    pub(crate) fn handle_depart(&mut self, limits: &Limits, now: Instant, token: ResumeToken) {
        let Some(bearer) = self.bearers.get_mut(&token) else { return };
        let person = bearer.person;
        match self.known.get(&person) {
            Some(known) if known.token.is_none_or(|latest| latest == token) => {
                bearer.here = false;
                self.entrust(person, token);
                self.renew(limits, now, person);
            }
            _ => drop(self.bearers.remove(&token)),
        }
    }

    /// A person who came with this token was paired.
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
        let met = &mut self.acquaintance(limits, now, person, token).met;
        met.retain(|(other, _)| *other != partner);
        met.push_front((partner, now));
        met.truncate(limits.recent_partners);
        self.renew(limits, now, person);
    }

    /// A person who came with this token never wants to meet the other again.
    pub(crate) fn handle_block(
        &mut self,
        limits: &Limits,
        now: Instant,
        (person, token): (PersonId, ResumeToken),
        other: PersonId,
    ) {
        let blocked = &mut self.acquaintance(limits, now, person, token).blocked;
        blocked.retain(|known| *known != other);
        blocked.push_front(other);
        blocked.truncate(limits.blocks);
        self.renew(limits, now, person);
        // Which token the other has is learned when it goes.
        self.acquaintance(limits, now, other, ResumeToken::NONE).was_blocked = true;
        self.renew(limits, now, other);
    }

    /// Whom the person should not meet now.
    pub(crate) fn avoided(&self, limits: &Limits, now: Instant, person: PersonId) -> Exclusions {
        let Some(known) = self.known.get(&person) else { return Exclusions::default() };
        let recent = known.met.iter().filter(|(_, met)| now - *met < limits.recent_for);
        let recent = recent.map(|(partner, _)| *partner);
        Exclusions::default()
            .recently(recent, limits.recent_relax)
            .blocking(known.blocked.iter().copied())
    }

    /// Whether either has blocked the other.
    pub(crate) fn keeps_apart(&self, a: PersonId, b: PersonId) -> bool {
        let blocks = |a: PersonId, b: PersonId| {
            self.known.get(&a).is_some_and(|known| known.blocked.contains(&b))
        };
        blocks(a, b) || blocks(b, a)
    }

    fn acquaintance(
        &mut self,
        limits: &Limits,
        now: Instant,
        person: PersonId,
        token: ResumeToken,
    ) -> &mut Known {
        let newcomers = usize::from(!self.known.contains_key(&person));
        self.forget(limits, now, newcomers);
        // A token that was used elsewhere since is nobody's.
        let token =
            self.bearers.get(&token).filter(|bearer| bearer.person == person).map(|_| token);
        self.known.entry(person).or_insert_with(|| Known {
            met: VecDeque::new(),
            blocked: VecDeque::new(),
            was_blocked: false,
            token,
            until: now,
        })
    }

    /// From now on the person is known by this token only.
    fn entrust(&mut self, person: PersonId, token: ResumeToken) {
        let Some(known) = self.known.get_mut(&person) else { return };
        if let Some(old) = known.token.replace(token)
            && old != token
        {
            self.bearers.remove(&old);
        }
    }

    fn renew(&mut self, limits: &Limits, now: Instant, person: PersonId) {
        let Some(known) = self.known.get_mut(&person) else { return };
        let for_long = known.was_blocked || !known.blocked.is_empty();
        let keep = if for_long { limits.resume_for } else { limits.recent_for };
        self.expiring.remove(&(known.until, person));
        known.until = later(now, keep);
        self.expiring.insert((known.until, person));
    }

    /// Forgets whoever was not here for long enough, and the first of these early if there is no room for newcomers.
    fn forget(&mut self, limits: &Limits, now: Instant, newcomers: usize) {
        while let Some((until, person)) = self.expiring.first().copied() {
            let crowded = self.known.len() + newcomers > limits.remembered.max(1);
            if until > now && !crowded {
                return;
            }
            let token = self.known.get(&person).and_then(|known| known.token);
            let here = token.and_then(|token| self.bearers.get(&token)).is_some_and(|it| it.here);
            if here && !crowded {
                self.renew(limits, now, person);
                continue;
            }
            self.expiring.pop_first();
            self.known.remove(&person);
            if let (Some(token), false) = (token, here) {
                self.bearers.remove(&token);
            }
        }
    }
}

/// Not at once, lest somebody be forgotten while being remembered; and thirty years are as good as for ever.
fn later(now: Instant, span: Duration) -> Instant {
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

    /// Person n comes with token n, unless told otherwise.
    struct Story {
        memory: People,
        limits: Limits,
        start: Instant,
    }

    impl Story {
        fn new(limits: Limits) -> Self {
            Self { memory: People::new(), limits, start: Instant::now() }
        }
        fn at(&self, second: u64) -> Instant {
            self.start + seconds(second)
        }
        fn met(&mut self, second: u64, person: PersonId, partner: PersonId) {
            let who = (person, token(u128::from(person.to_bits())));
            self.memory.handle_met(&self.limits, self.at(second), who, partner);
        }
        fn block(&mut self, second: u64, person: PersonId, other: PersonId) {
            let who = (person, token(u128::from(person.to_bits())));
            self.memory.handle_block(&self.limits, self.at(second), who, other);
        }
        fn depart(&mut self, second: u64, token: ResumeToken) {
            self.memory.handle_depart(&self.limits, self.at(second), token);
        }
        fn avoided(&self, second: u64, person: PersonId) -> Exclusions {
            self.memory.avoided(&self.limits, self.at(second), person)
        }
        fn sizes(&self) -> [usize; 3] {
            [self.memory.bearers.len(), self.memory.known.len(), self.memory.expiring.len()]
        }
    }

    #[test]
    fn the_last_partners_are_avoided_for_a_while() {
        let mut story = Story::new(Limits::default());
        for partner in 10..20 {
            story.met(partner, ANN, PersonId::from_bits(partner));
        }
        let recent = |second| -> Vec<u64> {
            story.avoided(second, ANN).recent.iter().map(|person| person.to_bits()).collect()
        };
        assert_eq!(recent(20), [19, 18, 17, 16, 15]);
        assert_eq!(recent(15 + 600), [19, 18, 17, 16]);
        assert!(recent(19 + 600).is_empty());
        assert_eq!(story.avoided(20, BOB), Exclusions::default());
    }

    #[test]
    fn a_block_outlives_connections_of_either_side() {
        let mut story = Story::new(Limits::default());
        story.memory.handle_arrive(token(1), ANN);
        story.block(0, ANN, BOB);
        story.depart(10, token(1));
        let near_the_end = 10 + story.limits.resume_for.as_secs() - 1;
        story.met(near_the_end, BOB, PersonId::from_bits(3));
        story.memory.handle_arrive(token(2), PersonId::from_bits(4));
        assert_eq!(story.memory.handle_resume(token(2), token(1), None), Some(ANN));
        assert!(story.avoided(near_the_end, ANN).blocks(BOB));
        // Being here is enough to be remembered from then on.
        story.met(near_the_end + 5 * 86_400, BOB, PersonId::from_bits(3));
        assert!(story.avoided(near_the_end, ANN).blocks(BOB));
    }

    #[test]
    fn a_token_is_good_once_and_for_nobody_else() {
        let mut story = Story::new(Limits::default());
        story.memory.handle_arrive(token(1), ANN);
        story.block(0, ANN, BOB);
        story.memory.handle_arrive(token(2), BOB);
        assert_eq!(story.memory.handle_resume(token(2), token(2), None), None);
        assert_eq!(story.memory.handle_resume(token(2), ResumeToken::NONE, None), None);
        // Also while the connection that it was given to seems to be there.
        assert_eq!(story.memory.handle_resume(token(2), token(1), None), Some(ANN));
        assert_eq!(story.memory.handle_resume(token(3), token(1), None), None);
        story.depart(1, token(1));
        assert!(story.avoided(1, ANN).blocks(BOB));
    }

    #[test]
    fn whoever_turns_out_to_be_another_takes_nothing_along_that_ends() {
        let mut story = Story::new(Limits::default());
        story.memory.handle_arrive(token(3), ANN);
        story.block(0, ANN, BOB);
        story.depart(0, token(3));
        // Comes as somebody new, meets somebody, and only then says who it is.
        let newcomer = PersonId::from_bits(4);
        story.memory.handle_arrive(token(4), newcomer);
        story.met(1, newcomer, BOB);
        assert_eq!(story.memory.handle_resume(token(4), token(3), None), Some(ANN));
        story.depart(2, token(4));
        // The newcomer is forgotten, and Ann is not.
        story.met(700, BOB, newcomer);
        story.memory.handle_arrive(token(5), PersonId::from_bits(5));
        assert_eq!(story.memory.handle_resume(token(5), token(4), None), Some(ANN));
        assert!(story.avoided(700, ANN).blocks(BOB));
    }

    #[test]
    fn whoever_is_known_cannot_become_another() {
        let mut story = Story::new(Limits::default());
        story.memory.handle_arrive(token(1), ANN);
        story.memory.handle_arrive(token(2), BOB);
        assert_eq!(story.memory.handle_resume(token(2), token(1), Some(BOB)), None);
        story.memory.handle_arrive(token(3), ANN);
        assert_eq!(story.memory.handle_resume(token(3), token(1), Some(ANN)), Some(ANN));
    }

    #[test]
    fn who_met_nobody_leaves_nothing_behind_and_the_others_in_time() {
        let mut story = Story::new(Limits::default());
        story.memory.handle_arrive(token(1), ANN);
        story.memory.handle_arrive(token(2), BOB);
        story.memory.handle_arrive(token(3), PersonId::from_bits(3));
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
    fn no_more_are_remembered_than_the_limit_allows() {
        let mut story = Story::new(Limits { remembered: 100, blocks: 3, ..Limits::default() });
        for number in 0..1_000 {
            let person = PersonId::from_bits(number);
            story.memory.handle_arrive(token(number.into()), person);
            for other in 0..10 {
                story.block(number, person, PersonId::from_bits(5_000 + other));
            }
            story.depart(number, token(number.into()));
        }
        assert_eq!(story.sizes(), [90, 100, 100]);
        let kept = story.avoided(1_000, PersonId::from_bits(999));
        assert!(
            kept.blocks(PersonId::from_bits(5_009)) && !kept.blocks(PersonId::from_bits(5_006))
        );
    }
}
