//! What a cluster replaces: the traits [`Lobby`] and [`Relay`], the bounded [`Pipe`], and the backend in memory.

#[cfg(feature = "conformance")]
pub mod conformance;
pub(crate) mod lobby;
pub(crate) mod memory;
pub(crate) mod pipe;
pub(crate) mod relay;

pub use self::{
    lobby::{Lobby, LobbyError, Match, Place},
    memory::{MemoryLobby, MemoryRelay},
    pipe::{Pipe, Received, TrySendError},
    relay::{Relay, RelayError},
};
