//! Who fits whom: the [`Pairing`] trait.

use std::{fmt, time::Duration};

use crate::{matching::bucket::Bucket, model::ticket::Ticket};

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
/// use purrr_core::{Pairing, matching::Bucket, model::Ticket};
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

    /// Whom to take among those who fit equally well. Whoever has waited longest, by default.
    fn choice(&self) -> Choice {
        Choice::Oldest
    }

    /// The last word on two candidates. Must not depend on their order. Everybody, by default.
    ///
    /// A veto is for the few: what keeps many apart belongs into the buckets, since whoever is refused was looked at.
    fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
        let _ = (a, b);
        true
    }
}

/// Whom to take among those who fit equally well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Choice {
    /// Whoever has waited longest.
    Oldest,
    /// Anybody, all with the same chance.
    Random,
}

/// The buckets in which a lobby has `ticket` look, each once: those of its rule, apart from those of tickets that it
/// could not talk to at all. Those of a kind stand together, where the rule names the first of them.
///
/// For backends. Whoever encrypts can talk to nobody who does not, so the two are kept apart here, whatever the rule.
#[must_use]
pub fn buckets_of(rule: &dyn Pairing, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
    let mut buckets = rule.buckets(ticket, waited);
    let mut distinct = 0;
    for index in 0..buckets.len() {
        let bucket = buckets[index];
        let before = &buckets[..distinct];
        if !before.contains(&bucket) {
            let last_of_kind = before.iter().rposition(|other| other.kind() == bucket.kind());
            let place = last_of_kind.map_or(distinct, |last| last + 1);
            buckets.copy_within(place..distinct, place + 1);
            buckets[place] = bucket;
            distinct += 1;
        }
    }
    buckets.truncate(distinct);
    if ticket.hello.encrypts {
        for bucket in &mut buckets {
            *bucket = bucket.sealed();
        }
    }
    buckets
}
