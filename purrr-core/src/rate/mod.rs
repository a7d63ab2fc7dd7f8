//! How fast peers may go: token buckets, what things cost, and what several peers share. Pure but for one lock.

pub(crate) mod bucket;
pub(crate) mod cost;
pub(crate) mod shared;

pub use self::shared::Allowance;
