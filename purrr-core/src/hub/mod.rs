//! The entry points, [`Hub`] and [`Chat`], and the shell that drives sessions.

pub(crate) mod chat;
pub(crate) mod driver;
pub(crate) mod handle;
mod peer;
pub(crate) mod profile;
mod search;
pub(crate) mod shared;
pub(crate) mod stats;
pub(crate) mod transport;

pub use self::{
    chat::{Chat, ChatOver},
    handle::{Hub, HubBuilder, PairError},
    profile::Profile,
    stats::Stats,
    transport::{Gate, Input},
};
