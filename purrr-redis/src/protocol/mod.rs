//! The protocol between nodes, without I/O: no clock, no entropy, no task, no lock.

pub(crate) mod leader;
pub(crate) mod link;
pub(crate) mod member;
pub(crate) mod message;
