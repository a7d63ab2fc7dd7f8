//! What a cluster replaces: the traits [`Lobby`], [`Relay`] and [`People`], together a [`Backend`],
//! and the one in memory.

pub(crate) mod budget;
pub(crate) mod bundle;
#[cfg(feature = "conformance")]
pub mod conformance;
pub(crate) mod lobby;
pub(crate) mod log;
pub(crate) mod memory;
pub(crate) mod people;
pub(crate) mod pipe;
mod presence;
pub(crate) mod relay;

pub use self::{
    budget::{QUEUE_ALLOWANCE, QueueBudget, SMALL_MESSAGE},
    bundle::Backend,
    lobby::{Lobby, LobbyError, Match, Place},
    memory::{MemoryLobby, MemoryPeople, MemoryRelay},
    people::{Identity, People, PeopleError, PersonAt},
    pipe::{OnPart, Pipe, QueueBounds, Received, TrySendError},
    relay::{Relay, RelayError},
};
