//! Who fits whom: the [`Pairing`] trait and the rules that come with the crate.

use std::{fmt, time::Duration};

use crate::lobby::Ticket;

/// A rule of who fits whom: pure and synchronous, so the same value decides in memory and in a cluster.
///
/// # Who implements it, who calls it
///
/// Embedders and this crate implement it; a [`Lobby`](crate::Lobby) calls it. A ticket is judged by its own rule and
/// by that of the other side, and both must accept.
///
/// # Buckets
///
/// Scoring every pair would cost the square of the lobby. Instead a ticket names the buckets it looks in: tickets can
/// meet in a bucket they share, so a bucket is an index entry in memory and a key in a shared store.
///
/// # Examples
///
/// Red team and blue team never meet within themselves for the first ten seconds:
///
/// ```
/// use std::time::Duration;
/// use purrr_core::{Bucket, Pairing, Ticket};
///
/// #[derive(Debug)]
/// struct AcrossTeams;
///
/// const LATE: Duration = Duration::from_secs(10);
///
/// fn team(ticket: &Ticket) -> Option<&str> {
///     ticket.search.interests.first().map(AsRef::as_ref)
/// }
///
/// impl Pairing for AcrossTeams {
///     fn buckets(&self, _: &Ticket, waited: Duration) -> Vec<Bucket> {
///         let mut buckets = vec![Bucket::new("across", "")];
///         if waited >= LATE {
///             buckets.push(Bucket::new("late", ""));
///         }
///         buckets
///     }
///     fn widen_at(&self) -> &[Duration] {
///         &[LATE]
///     }
///     fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
///         team(a) != team(b)
///     }
/// }
/// ```
pub trait Pairing: fmt::Debug + Send + Sync + 'static {
    /// The buckets this ticket looks in after waiting this long, best first.
    ///
    /// Must depend on nothing but the arguments, and may only grow as `waited` does.
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket>;

    /// When [`buckets`](Self::buckets) changes, in ascending order, so that nobody polls. Never, by default.
    fn widen_at(&self) -> &[Duration] {
        &[]
    }

    /// The last word on two candidates. Must not depend on their order. Everybody, by default.
    fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
        let _ = (a, b);
        true
    }
}

/// Where two tickets can meet: the 128-bit FNV-1a hash of a namespace and a value, the same on every machine.
///
/// Two values that happen to share a hash meet in one bucket; [`Pairing::accepts`] has the last word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u128);

/// Pairs whoever is there, if both have a usable key or neither has.
///
/// ```
/// use purrr_core::{Anyone, Hub};
/// let hub = Hub::builder().rule(Anyone).build();
/// # let _ = hub;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Anyone;

/// Pairs by shared interests, then by a shared language, then whoever is there.
///
/// A ticket that names neither looks among everybody at once. A pair needs, as with [`Anyone`], a usable key on both
/// sides or on neither.
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

impl Bucket {
    /// The bucket of `value` within `namespace`.
    #[must_use]
    pub fn new(namespace: &str, value: &str) -> Self {
        // FNV-1a, 128 bit: the parameters of http://www.isthe.com/chongo/tech/comp/fnv/.
        const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        // 0xff occurs in no UTF-8, so it parts the two without ambiguity.
        let bytes = namespace.bytes().chain([0xff]).chain(value.bytes());
        Self(bytes.fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME)))
    }

    /// The bits of the hash, for backends.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({:032x})", self.0)
    }
}

/// Whoever encrypts can talk to nobody who does not, so the two are kept apart by bucket and cost each other nothing.
const fn namespace(ticket: &Ticket, open: &'static str, sealed: &'static str) -> &'static str {
    if ticket.hello.encrypts { sealed } else { open }
}

fn anyone(ticket: &Ticket) -> Bucket {
    Bucket::new(namespace(ticket, "anyone", "anyone sealed"), "")
}

impl Pairing for Anyone {
    fn buckets(&self, ticket: &Ticket, _: Duration) -> Vec<Bucket> {
        vec![anyone(ticket)]
    }
}

impl Default for Interests {
    /// Widens to language after 5 s and to anyone after 20 s.
    fn default() -> Self {
        Self { widen_at: [Duration::from_secs(5), Duration::from_secs(20)] }
    }
}

impl Interests {
    /// Widens to a shared language after `language` and to anyone after `anyone`, or at once if that is earlier.
    #[must_use]
    pub fn widen_after(self, language: Duration, anyone: Duration) -> Self {
        Self { widen_at: [language.min(anyone), anyone] }
    }
}

impl Pairing for Interests {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        let Ticket { search, .. } = ticket;
        let interest = namespace(ticket, "interest", "interest sealed");
        let language = namespace(ticket, "language", "language sealed");
        let mut buckets: Vec<Bucket> =
            search.interests.iter().map(|tag| Bucket::new(interest, tag.as_ref())).collect();
        if waited >= self.widen_at[0] || search.interests.is_empty() {
            buckets.extend(search.languages.iter().map(|tag| Bucket::new(language, tag.as_ref())));
        }
        if waited >= self.widen_at[1] || buckets.is_empty() {
            buckets.push(anyone(ticket));
        }
        buckets
    }

    fn widen_at(&self) -> &[Duration] {
        &self.widen_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lobby::PeerId, protocol::Search};

    fn ticket(interests: &[&str], languages: &[&str]) -> Ticket {
        let search = Search::for_interests(interests.iter().copied())
            .in_languages(languages.iter().copied());
        Ticket { search, ..Ticket::new(PeerId::from_bits(1)) }
    }

    #[test]
    fn a_bucket_is_the_published_hash() {
        // FNV-1a of the bytes "a" ff "b", computed apart from this code.
        assert_eq!(Bucket::new("", "").to_bits(), fnv(&[0xff]));
        assert_eq!(Bucket::new("a", "b").to_bits(), fnv(&[b'a', 0xff, b'b']));
        assert_ne!(Bucket::new("ab", "c"), Bucket::new("a", "bc"));
    }

    fn fnv(bytes: &[u8]) -> u128 {
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
    fn who_encrypts_shares_no_bucket_with_who_does_not() {
        let open = ticket(&["cats"], &["en"]);
        let mut sealed = open.clone();
        sealed.hello.encrypts = true;
        let ever = Duration::from_secs(3600);
        for rule in [&Anyone as &dyn Pairing, &Interests::default()] {
            let there = rule.buckets(&open, ever);
            assert!(
                rule.buckets(&sealed, ever).iter().all(|bucket| !there.contains(bucket)),
                "{rule:?}"
            );
        }
    }
}
