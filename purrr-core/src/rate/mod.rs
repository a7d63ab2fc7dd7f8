//! Rate limits: limiters, the price of commands and frames, and limits that peers share. Pure but
//! for one lock.
//!
//! | limiter | limits | clock |
//! |---|---|---|
//! | [`Gcra`] | connections per address, control frames, unreadable messages | read at each event |
//! | `Buckets` | commands, frames and their bytes | read when a bucket is too low |
//!
//! Messages and bytes keep token buckets with lazy refill, because reading the clock takes 29 ns, 3
//! % of the 0.87 µs that a message costs with 8 in flight.

pub(crate) mod bucket;
pub(crate) mod cost;
pub(crate) mod gcra;
pub(crate) mod shared;

pub use self::{gcra::Gcra, shared::Allowance};
