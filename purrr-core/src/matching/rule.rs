//! The pairing rule: the [`Pairing`] trait, and [`buckets_of`] a ticket.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    matching::bucket::{Bucket, Partition},
    model::ticket::Ticket,
};

/// Decides which tickets may be paired. Pure and synchronous.
///
/// The same rule decides in memory and in a cluster.
///
/// # Who implements it, who calls it
///
/// Embedders and this crate implement it; a [`Lobby`](crate::Lobby) calls it. Both tickets' rules
/// must accept a pair.
///
/// # Buckets
///
/// Scoring every pair would cost the square of the lobby. Instead a rule names the buckets of a
/// ticket, and only tickets that share a bucket are compared. A bucket is an index entry in memory
/// and a key in a shared store.
///
/// A ticket looks for partners in its buckets, and stands in the same ones to be found. Two kinds
/// that seek each other stand where the other looks: see [`stands_in`](Self::stands_in).
///
/// # What runs under the lobby's lock
///
/// [`accepts`](Self::accepts) and [`choice`](Self::choice) do, for each candidate that a search
/// visits. They must be quick, must not block, and must not call the hub. The others run before the
/// lock is taken, once for each search and widening step.
///
/// # Examples
///
/// Pairs players of different teams only, and searches one more bucket after ten seconds:
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
    /// Returns the buckets of a ticket that has waited this long, best first.
    ///
    /// Must depend on nothing but the arguments. As `waited` grows, buckets may be added and none
    /// may go.
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket>;

    /// Returns the buckets where a ticket stands, if those are others than where it looks.
    ///
    /// `None`, the default, stands for [`buckets`](Self::buckets). For any two tickets and waits: if
    /// one looks where the other stands, the other must look where the first one stands. Otherwise
    /// the two are matched only if the one that looks comes later. Grows as `buckets` does.
    ///
    /// Mentors and mentees, each of whom seeks the other kind only. However many of one kind wait,
    /// their searches visit no entry, and the next one of the other kind is matched at once:
    ///
    /// ```
    /// use std::time::Duration;
    /// use purrr_core::{Pairing, matching::Bucket, model::Ticket};
    ///
    /// #[derive(Debug)]
    /// struct Mentoring;
    ///
    /// impl Pairing for Mentoring {
    ///     fn buckets(&self, ticket: &Ticket, _: Duration) -> Vec<Bucket> {
    ///         vec![Bucket::of("mentor", &!ticket.attributes.flag("mentor"))]
    ///     }
    ///     fn stands_in(&self, ticket: &Ticket, _: Duration) -> Option<Vec<Bucket>> {
    ///         Some(vec![Bucket::of("mentor", &ticket.attributes.flag("mentor"))])
    ///     }
    /// }
    /// ```
    fn stands_in(&self, ticket: &Ticket, waited: Duration) -> Option<Vec<Bucket>> {
        let _ = (ticket, waited);
        None
    }

    /// Returns the times at which [`buckets`](Self::buckets) grows, in ascending order. Default:
    /// never.
    fn widen_at(&self) -> &[Duration] {
        &[]
    }

    /// Returns how to choose among equally good candidates. Default: the oldest.
    fn choice(&self) -> Choice {
        Choice::Oldest
    }

    /// Returns true if the two may be paired. Must not depend on their order. Default: always true.
    ///
    /// Each refused candidate costs a visit. Keep large groups apart by buckets, and use this for
    /// the exceptions.
    fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
        let _ = (a, b);
        true
    }
}

macro_rules! forward {
    ($($pointer:ident),*) => {$(
        impl<R: Pairing + ?Sized> Pairing for $pointer<R> {
            fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
                (**self).buckets(ticket, waited)
            }

            fn stands_in(&self, ticket: &Ticket, waited: Duration) -> Option<Vec<Bucket>> {
                (**self).stands_in(ticket, waited)
            }

            fn widen_at(&self) -> &[Duration] {
                (**self).widen_at()
            }

            fn choice(&self) -> Choice {
                (**self).choice()
            }

            fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
                (**self).accepts(a, b)
            }
        }
    )*};
}

forward!(Arc, Box);

/// How to choose among equally good candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Choice {
    /// The one that has waited longest.
    Oldest,
    /// Any of them, with equal probability.
    Random,
}

/// Returns the buckets in which a lobby indexes `ticket`: those of its rule, each once, within its
/// partition.
///
/// For backends. Buckets of one kind follow each other, where the rule named the first of them.
/// Encrypting and plain clients are hard-partitioned: whatever their rules say, they never share a
/// bucket.
#[must_use]
pub fn buckets_of(rule: &dyn Pairing, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
    let mut buckets = rule.buckets(ticket, waited);
    dedup_grouped_by_kind(&mut buckets);
    move_to_partition(&mut buckets, Partition::of(ticket));
    buckets
}

/// Returns the buckets where a ticket stands, as [`buckets_of`] those where it looks, if they
/// differ.
#[must_use]
pub fn stands_of(rule: &dyn Pairing, ticket: &Ticket, waited: Duration) -> Option<Vec<Bucket>> {
    let mut buckets = rule.stands_in(ticket, waited)?;
    dedup_grouped_by_kind(&mut buckets);
    move_to_partition(&mut buckets, Partition::of(ticket));
    Some(buckets)
}

/// Drops repetitions, and moves each bucket behind those of its kind. Kinds keep the order of their
/// first bucket.
fn dedup_grouped_by_kind(buckets: &mut Vec<Bucket>) {
    let mut distinct = 0;
    for index in 0..buckets.len() {
        let bucket = buckets[index];
        let before = &buckets[..distinct];
        if !before.contains(&bucket) {
            let last_of_kind = before.iter().rposition(|other| other.kind() == bucket.kind());
            let target = last_of_kind.map_or(distinct, |last| last + 1);
            buckets.copy_within(target..distinct, target + 1);
            buckets[target] = bucket;
            distinct += 1;
        }
    }
    buckets.truncate(distinct);
}

fn move_to_partition(buckets: &mut [Bucket], partition: Partition) {
    for bucket in buckets {
        *bucket = bucket.in_partition(partition);
    }
}
