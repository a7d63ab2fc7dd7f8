//! Stories about `Hub::serve`, over a transport in memory and in virtual time: nothing here waits
//! for real.

mod chats;
mod draining;
mod holding;
mod invariants;
mod leaving;
mod lossy;
pub(crate) mod peer;
mod people;
mod rates;
mod resume;
mod slowness;
mod wire;
