//! Limits on connections, on how fast they come and on the memory that they hold.

mod addresses;
pub(crate) mod connections;
pub(crate) mod control_frames;
pub(crate) mod memory;
pub(crate) mod open;
mod permits;
