//! The backend within one process: [`MemoryLobby`], [`MemoryRelay`] and [`MemoryPeople`].

mod lobby;
mod people;
mod relay;

pub use self::{lobby::MemoryLobby, people::MemoryPeople, relay::MemoryRelay};
