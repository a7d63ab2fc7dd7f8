//! Matchmaking: pairing rules, the buckets they index, and the [`Matchmaker`]. Pure.

mod arena;
mod block_deque;
pub(crate) mod bucket;
pub(crate) mod matchmaker;
mod queue;
pub(crate) mod rule;
pub(crate) mod rules;
mod sharded_map;

pub use self::{
    bucket::{Bucket, Partition},
    matchmaker::{
        Departed, EnterError, Made, Matchmaker, PairKey, PlaceKey, PlaceLimits, Request, Side,
    },
    rule::{Choice, Pairing, buckets_of, stands_of},
    rules::{And, Anyone, Interests, Languages, PairingExt, Widening},
};
