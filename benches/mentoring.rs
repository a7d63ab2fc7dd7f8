//! A rule for two kinds that seek each other, for the benchmarks: [`Mentoring`].

use std::time::Duration;

use purrr_core::{Pairing, matching::Bucket, model::Ticket};

/// Pairs mentors with mentees, by the attribute `mentor`.
#[derive(Debug)]
pub struct Mentoring;

impl Pairing for Mentoring {
    fn buckets(&self, ticket: &Ticket, _: Duration) -> Vec<Bucket> {
        vec![Bucket::of("mentor", &!ticket.attributes.flag("mentor"))]
    }

    fn stands_in(&self, ticket: &Ticket, _: Duration) -> Option<Vec<Bucket>> {
        Some(vec![Bucket::of("mentor", &ticket.attributes.flag("mentor"))])
    }
}
