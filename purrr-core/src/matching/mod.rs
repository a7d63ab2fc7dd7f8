//! Matchmaking: pairing rules, the buckets they index, and the [`Matchmaker`]. Pure.

pub(crate) mod bucket;
pub(crate) mod matchmaker;
mod queue;
pub(crate) mod rule;
pub(crate) mod rules;

pub use self::{
    bucket::{Bucket, Partition},
    matchmaker::{EnterError, Made, Matchmaker, PairKey, PlaceKey, PlaceLimits, Request, Side},
    rule::{Choice, Pairing, buckets_of, stands_of},
    rules::{And, Anyone, Interests, Languages, PairingExt, Widening},
};
