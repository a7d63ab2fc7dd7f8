//! The pairing rules of this crate: [`Anyone`], [`Languages`], [`Interests`], and their
//! combinators.

use std::time::Duration;

use crate::{
    matching::{
        bucket::{Bucket, Namespace},
        rule::{Choice, Pairing},
    },
    model::{
        profile::{Interest, Search},
        ticket::Ticket,
    },
};

/// Combines pairing rules.
pub trait PairingExt: Pairing + Sized {
    /// Pairs tickets that both rules would pair.
    ///
    /// Each bucket of the result stands for one bucket of each rule, so their numbers multiply. If
    /// the two rules choose differently, this rule's [`choice`](Pairing::choice) applies.
    ///
    /// ```
    /// use purrr_core::{Interests, Languages, PairingExt};
    /// let rule = Languages.and(Interests::default());
    /// # let _ = rule;
    /// ```
    fn and<R: Pairing>(self, other: R) -> And<Self, R> {
        let mut widen_at = [self.widen_at(), other.widen_at()].concat();
        widen_at.sort_unstable();
        widen_at.dedup();
        And { first: self, second: other, widen_at }
    }

    /// Pairs by this rule, and by `other` too once a ticket has waited for `after`.
    ///
    /// A ticket for which this rule names no bucket uses `other` at once. Pairs that either rule
    /// refuses stay refused.
    ///
    /// ```
    /// use std::time::Duration;
    /// use purrr_core::{Anyone, Languages, PairingExt};
    /// let rule = Languages.widening(Duration::from_secs(30), Anyone);
    /// # let _ = rule;
    /// ```
    fn widening<R: Pairing>(self, after: Duration, other: R) -> Widening<Self, R> {
        let mut widen_at = [self.widen_at(), other.widen_at()].concat();
        widen_at.push(after);
        widen_at.extend(other.widen_at().iter().map(|due| after.saturating_add(*due)));
        widen_at.sort_unstable();
        widen_at.dedup();
        Widening { first: self, second: other, after, widen_at }
    }
}

impl<R: Pairing> PairingExt for R {}

/// The conjunction of two rules: see [`PairingExt::and`].
#[derive(Clone, Debug)]
pub struct And<A, B> {
    first: A,
    second: B,
    widen_at: Vec<Duration>,
}

/// A rule that widens to another one: see [`PairingExt::widening`].
#[derive(Clone, Debug)]
pub struct Widening<A, B> {
    first: A,
    second: B,
    after: Duration,
    widen_at: Vec<Duration>,
}

/// Pairs any two waiting tickets, with equal probability.
///
/// ```
/// use purrr_core::{Anyone, Hub};
/// let hub = Hub::builder().rule(Anyone).build();
/// # let _ = hub;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Anyone;

/// Pairs tickets that share a language. Tickets without a language are paired with each other.
///
/// ```
/// use purrr_core::{Hub, Languages};
/// let hub = Hub::builder().rule(Languages).build();
/// # let _ = hub;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Languages;

/// Pairs by shared interests, then by a shared language, then with anyone.
///
/// The candidate with most shared interests wins; among equals, the one that has waited longest. A
/// ticket without interests and languages is paired with anyone at once.
///
/// ```
/// use std::time::Duration;
/// use purrr_core::{Hub, Interests};
///
/// let patient = Interests::default().widen_after(Duration::from_secs(10), Duration::from_secs(60));
/// let hub = Hub::builder().rule(patient).build();
/// # let _ = hub;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Interests {
    widen_at: [Duration; 2],
}

fn languages(ticket: &Ticket) -> impl Iterator<Item = Bucket> {
    ticket.search.languages.iter().map(|tag| Namespace::LANGUAGE.bucket(tag.as_ref()))
}

impl Pairing for Anyone {
    fn buckets(&self, _: &Ticket, _: Duration) -> Vec<Bucket> {
        vec![Namespace::ANYONE.bucket("")]
    }

    fn widening_buckets(&self, _: &Ticket) -> Vec<(Bucket, Duration)> {
        vec![(Namespace::ANYONE.bucket(""), Duration::ZERO)]
    }

    fn choice(&self) -> Choice {
        Choice::Random
    }
}

impl Pairing for Languages {
    fn buckets(&self, ticket: &Ticket, _: Duration) -> Vec<Bucket> {
        if ticket.search.languages.is_empty() {
            return vec![Namespace::NO_LANGUAGE.bucket("")];
        }
        languages(ticket).collect()
    }
}

impl Default for Interests {
    /// Creates the rule that widens to a shared language after 5 s and to anyone after 20 s.
    fn default() -> Self {
        Self { widen_at: [Duration::from_secs(5), Duration::from_secs(20)] }
    }
}

impl Interests {
    /// Sets the waits before a shared language, and then anyone, is enough.
    ///
    /// If `anyone` is the shorter one, both begin then.
    #[must_use]
    pub fn widen_after(self, language: Duration, anyone: Duration) -> Self {
        Self { widen_at: [language.min(anyone), anyone] }
    }
}

impl Pairing for Interests {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        let all = self.widening_buckets(ticket).into_iter();
        all.filter(|(_, due)| *due <= waited).map(|(bucket, _)| bucket).collect()
    }

    fn widening_buckets(&self, ticket: &Ticket) -> Vec<(Bucket, Duration)> {
        let Search { interests, languages: tags, .. } = &ticket.search;
        let [mut language_after, mut anyone_after] = self.widen_at;
        if interests.is_empty() {
            language_after = Duration::ZERO;
        }
        if interests.is_empty() && tags.is_empty() {
            anyone_after = Duration::ZERO;
        }
        let interest = |tag: &Interest| Namespace::INTEREST.bucket(tag.as_ref());
        let mut buckets = Vec::with_capacity(interests.len() + tags.len() + 1);
        buckets.extend(interests.iter().map(|tag| (interest(tag), Duration::ZERO)));
        buckets.extend(languages(ticket).map(|bucket| (bucket, language_after)));
        buckets.push((Namespace::ANYONE.bucket(""), anyone_after));
        buckets
    }

    fn widen_at(&self) -> &[Duration] {
        &self.widen_at
    }
}

impl<A: Pairing, B: Pairing> Pairing for And<A, B> {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        product(&self.first.buckets(ticket, waited), &self.second.buckets(ticket, waited))
    }

    fn stands_in(&self, ticket: &Ticket, waited: Duration) -> Option<Vec<Bucket>> {
        let first = self.first.stands_in(ticket, waited);
        let second = self.second.stands_in(ticket, waited);
        if first.is_none() && second.is_none() {
            return None;
        }
        let first = first.unwrap_or_else(|| self.first.buckets(ticket, waited));
        let second = second.unwrap_or_else(|| self.second.buckets(ticket, waited));
        Some(product(&first, &second))
    }

    fn widen_at(&self) -> &[Duration] {
        &self.widen_at
    }

    fn choice(&self) -> Choice {
        self.first.choice()
    }

    fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
        self.first.accepts(a, b) && self.second.accepts(a, b)
    }
}

impl<A: Pairing, B: Pairing> Pairing for Widening<A, B> {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        let mut buckets = self.first.buckets(ticket, waited);
        if self.first.buckets(ticket, Duration::ZERO).is_empty() {
            buckets.extend(self.second.buckets(ticket, waited));
        } else if let Some(waited) = waited.checked_sub(self.after) {
            buckets.extend(self.second.buckets(ticket, waited));
        }
        buckets
    }

    fn stands_in(&self, ticket: &Ticket, waited: Duration) -> Option<Vec<Bucket>> {
        let names_none = self.first.buckets(ticket, Duration::ZERO).is_empty();
        let of_second = if names_none { Some(waited) } else { waited.checked_sub(self.after) };
        let first = self.first.stands_in(ticket, waited);
        let second = of_second.and_then(|waited| self.second.stands_in(ticket, waited));
        if first.is_none() && second.is_none() {
            return None;
        }
        let mut stands = first.unwrap_or_else(|| self.first.buckets(ticket, waited));
        if let Some(waited) = of_second {
            stands.extend(second.unwrap_or_else(|| self.second.buckets(ticket, waited)));
        }
        Some(stands)
    }

    fn widen_at(&self) -> &[Duration] {
        &self.widen_at
    }

    fn choice(&self) -> Choice {
        self.first.choice()
    }

    fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
        self.first.accepts(a, b) && self.second.accepts(a, b)
    }
}

/// Returns a bucket for each pair of buckets.
fn product(first: &[Bucket], second: &[Bucket]) -> Vec<Bucket> {
    let with_first = |second: &Bucket| first.iter().map(|first| first.with(*second)).collect();
    second.iter().flat_map(|second| -> Vec<Bucket> { with_first(second) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::rule::buckets_of;
    use crate::model::{ids::PeerId, profile::Search};

    const EVER: Duration = Duration::from_secs(3600);

    fn ticket(interests: &[&str], languages: &[&str]) -> Ticket {
        let search = Search::for_interests(interests.iter().copied())
            .in_languages(languages.iter().copied());
        Ticket { search, ..Ticket::new(PeerId::from_bits(1)) }
    }

    /// Returns true if two tickets that have waited so many seconds each share a bucket.
    fn meet(rule: &dyn Pairing, a: (&Ticket, u64), b: (&Ticket, u64)) -> bool {
        let [a, b] =
            [a, b].map(|(ticket, waited)| buckets_of(rule, ticket, Duration::from_secs(waited)));
        a.iter().any(|bucket| b.contains(bucket))
    }

    #[test]
    fn bucket_is_fnv_1a() {
        // Computed by a separate script that follows the publication.
        assert_eq!(plain_fnv(b"a\xffb"), 0xa68d_639c_1d8b_5822_836d_bc79_7891_b879);
        assert_eq!(Bucket::new("a", "b").to_bits() << 32, plain_fnv(b"a\xffb") << 32);
        assert_eq!(Bucket::new("a", "b").kind(), 0xe40c_292c);
        assert_ne!(Bucket::new("ab", "c"), Bucket::new("a", "bc"));
    }

    fn plain_fnv(bytes: &[u8]) -> u128 {
        bytes.iter().fold(144_066_263_297_769_815_596_495_629_667_062_367_629, |hash, byte| {
            (hash ^ u128::from(*byte)).wrapping_mul(309_485_009_821_345_068_724_781_371)
        })
    }

    #[test]
    fn interests_widen_to_language_and_then_to_anyone() {
        let rule = Interests::default();
        let seeker = ticket(&["cats", "trains"], &["en"]);
        for (seconds, buckets) in [(0, 2), (4, 2), (5, 3), (19, 3), (20, 4)] {
            let found = rule.buckets(&seeker, Duration::from_secs(seconds));
            assert_eq!(found.len(), buckets, "after {seconds} s");
        }
        let easy = rule.buckets(&ticket(&[], &[]), Duration::ZERO);
        assert_eq!(easy, Anyone.buckets(&seeker, Duration::ZERO));
        assert_eq!(rule.buckets(&ticket(&[], &["en"]), Duration::ZERO).len(), 1);
    }

    #[test]
    fn widening_to_anyone_includes_language() {
        let [early, late] = [5, 20].map(Duration::from_secs);
        let rule = Interests::default().widen_after(late, early);
        assert_eq!(rule.widen_at(), [early, early]);
        let seeker = ticket(&["cats"], &["en"]);
        let found = [Duration::ZERO, early, late].map(|waited| rule.buckets(&seeker, waited).len());
        assert_eq!(found, [1, 3, 3]);
    }

    #[test]
    fn encrypting_and_plain_clients_are_partitioned() {
        let open = ticket(&["cats"], &["en"]);
        let mut encrypting = open.clone();
        encrypting.hello.encrypts = true;
        let composed = Languages.and(Interests::default());
        for rule in [&Anyone as &dyn Pairing, &Languages, &Interests::default(), &composed] {
            assert!(meet(rule, (&open, 0), (&open, 0)), "{rule:?}");
            assert!(meet(rule, (&encrypting, 0), (&encrypting, 0)), "{rule:?}");
            assert!(!meet(rule, (&open, 3600), (&encrypting, 3600)), "{rule:?}");
        }
    }

    #[test]
    fn languages_match_shared_or_none() {
        let [english, both, french, none] =
            [&["en"][..], &["fr", "en"], &["fr"], &[]].map(|languages| ticket(&[], languages));
        for (a, b, expected) in [
            (&english, &both, true),
            (&french, &both, true),
            (&english, &french, false),
            (&none, &none, true),
            (&none, &english, false),
        ] {
            assert_eq!(meet(&Languages, (a, 3600), (b, 3600)), expected, "{a:?} {b:?}");
        }
    }

    #[test]
    fn and_requires_both_rules() {
        let rule = Languages.and(Interests::default());
        let cats = ticket(&["cats"], &["en"]);
        assert!(meet(&rule, (&cats, 0), (&ticket(&["tea", "cats"], &["fr", "en"]), 0)));
        assert!(!meet(&rule, (&cats, 3600), (&ticket(&["cats"], &["fr"]), 3600)));
        let tea = ticket(&["tea"], &["en"]);
        assert!(!meet(&rule, (&cats, 19), (&tea, 4)));
        assert!(meet(&rule, (&cats, 20), (&tea, 20)));
        // "en" about "fr" is not "fr" about "en".
        assert!(!meet(&rule, (&ticket(&["en"], &["fr"]), 0), (&ticket(&["fr"], &["en"]), 0)));
    }

    #[test]
    fn widening_adds_second_rule() {
        let rule = Languages.widening(Duration::from_secs(30), Interests::default());
        let [english, french] = [&["en"], &["fr"]].map(|languages| ticket(&["cats"], languages));
        assert!(!meet(&rule, (&english, 29), (&french, 3600)));
        assert!(meet(&rule, (&english, 30), (&french, 30)));
        let widenings: Vec<u64> = rule.widen_at().iter().map(Duration::as_secs).collect();
        assert_eq!(widenings, [5, 20, 30, 35, 50]);
    }

    #[test]
    fn a_kind_is_looked_through_at_once_however_rules_are_composed() {
        let both = ticket(&["cats", "tea"], &["en", "fr"]);
        let rule = Interests::default().and(Languages);
        let kinds: Vec<u32> =
            buckets_of(&rule, &both, EVER).iter().map(|bucket| bucket.kind()).collect();
        assert_eq!(kinds.chunk_by(|a, b| a == b).map(<[u32]>::len).collect::<Vec<_>>(), [4, 4, 2]);
    }

    /// A rule that names no bucket.
    #[derive(Clone, Copy, Debug)]
    struct Nowhere;

    impl Pairing for Nowhere {
        fn buckets(&self, _: &Ticket, _: Duration) -> Vec<Bucket> {
            Vec::new()
        }
    }

    #[test]
    fn no_bucket_widens_at_once() {
        let rule = Nowhere.widening(Duration::from_secs(30), Anyone);
        let cats = ticket(&["cats"], &[]);
        assert!(meet(&rule, (&cats, 0), (&cats, 0)));
    }

    #[test]
    fn buckets_are_distinct_and_only_grow() {
        let rule = Languages.widening(Duration::from_secs(2), Interests::default()).and(Anyone);
        let both = ticket(&["cats"], &["en", "en"]);
        let mut before: Vec<Bucket> = Vec::new();
        for seconds in 0..40 {
            let buckets = buckets_of(&rule, &both, Duration::from_secs(seconds));
            let mut distinct = buckets.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), buckets.len());
            assert!(before.iter().all(|bucket| buckets.contains(bucket)));
            before = buckets;
        }
        assert_eq!(before, buckets_of(&rule, &both, EVER));
    }
}
