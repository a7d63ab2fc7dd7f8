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

    /// Returns the buckets of the whole wait, in the order of the last widening step, each with the
    /// wait after which a ticket looks there.
    ///
    /// Must agree with [`buckets`](Self::buckets), which the default calls for every step. A rule
    /// that hashes much implements it so that no value is hashed twice.
    fn widening_buckets(&self, ticket: &Ticket) -> Vec<(Bucket, Duration)> {
        let mut all = Vec::new();
        for due in steps_from_last(self.widen_at()) {
            note_step(&mut all, &self.buckets(ticket, due), due);
        }
        all
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

            fn widening_buckets(&self, ticket: &Ticket) -> Vec<(Bucket, Duration)> {
                (**self).widening_buckets(ticket)
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
    indexed(ticket, rule.buckets(ticket, waited))
}

/// Returns the buckets of the whole wait, as [`buckets_of`] those of one step, each with the wait
/// after which the ticket looks there.
pub(crate) fn widening_buckets_of(rule: &dyn Pairing, ticket: &Ticket) -> Vec<(Bucket, Duration)> {
    let mut buckets = rule.widening_buckets(ticket);
    dedup_grouped_by_kind(&mut buckets);
    let partition = Partition::of(ticket);
    for (bucket, _) in &mut buckets {
        *bucket = bucket.in_partition(partition);
    }
    buckets
}

/// Returns the buckets where a ticket stands, as [`buckets_of`] those where it looks, if they
/// differ.
#[must_use]
pub fn stands_of(rule: &dyn Pairing, ticket: &Ticket, waited: Duration) -> Option<Vec<Bucket>> {
    Some(indexed(ticket, rule.stands_in(ticket, waited)?))
}

fn indexed(ticket: &Ticket, buckets: Vec<Bucket>) -> Vec<Bucket> {
    let mut buckets: Vec<_> = buckets.into_iter().map(|bucket| (bucket, Duration::ZERO)).collect();
    dedup_grouped_by_kind(&mut buckets);
    let partition = Partition::of(ticket);
    buckets.into_iter().map(|(bucket, _)| bucket.in_partition(partition)).collect()
}

/// Returns the waits at which a search widens, from the last one to zero.
pub(crate) fn steps_from_last(widen_at: &[Duration]) -> impl Iterator<Item = Duration> {
    widen_at.iter().rev().copied().chain([Duration::ZERO])
}

/// Notes the buckets of a widening step. Steps come from the last one to the first.
pub(crate) fn note_step(known: &mut Vec<(Bucket, Duration)>, step: &[Bucket], due: Duration) {
    if known.is_empty() {
        *known = step.iter().map(|bucket| (*bucket, due)).collect();
        return;
    }
    for (index, (bucket, earliest)) in known.iter_mut().enumerate() {
        // Mostly a later step only adds buckets at the end.
        if step.get(index) == Some(bucket) || step.contains(bucket) {
            *earliest = due;
        }
    }
}

/// Drops repetitions, and moves each bucket behind those of its kind. Kinds keep the order of their
/// first bucket.
fn dedup_grouped_by_kind(buckets: &mut Vec<(Bucket, Duration)>) {
    let mut distinct = 0;
    // Where the last kind begins. Mostly a rule names its buckets kind by kind.
    let mut last_kind = 0;
    for index in 0..buckets.len() {
        let (bucket, due) = buckets[index];
        let before = &mut buckets[..distinct];
        let is_same_kind = |(other, _): &(Bucket, Duration)| other.kind() == bucket.kind();
        // Equal buckets are of one kind, so only that kind can repeat this one.
        let kind = if before.last().is_some_and(is_same_kind) {
            last_kind..distinct
        } else if let Some(first) = before.iter().position(is_same_kind) {
            first..first + before[first..].iter().take_while(|it| is_same_kind(it)).count()
        } else {
            last_kind = distinct;
            distinct..distinct
        };
        let target = kind.end;
        if let Some((_, earliest)) = before[kind].iter_mut().find(|(other, _)| *other == bucket) {
            *earliest = due.min(*earliest);
            continue;
        }
        if target < distinct {
            buckets.copy_within(target..distinct, target + 1);
            last_kind += 1;
        }
        buckets[target] = (bucket, due);
        distinct += 1;
    }
    buckets.truncate(distinct);
}
