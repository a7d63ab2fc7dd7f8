//! Who meets whom: rules, the buckets they look in, and the [`Matchmaker`], a pure machine.

pub(crate) mod bucket;
pub(crate) mod matchmaker;
mod queue;
pub(crate) mod rule;
pub(crate) mod rules;

pub use self::{
    bucket::Bucket,
    matchmaker::{AlreadyHere, Made, Matchmaker, PairKey, PlaceKey, Side},
    rule::{Choice, Pairing, buckets_of},
    rules::{And, Anyone, Interests, Languages, PairingExt, Widening},
};
