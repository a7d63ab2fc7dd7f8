//! Why a search in process found no partner: [`PairError`].

use crate::{
    backend::{lobby::LobbyError, people::PeopleError, relay::RelayError},
    model::problem::Problem,
};

/// Why [`Hub::pair`](crate::Hub::pair) found no partner.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The introduction or the search exceeds a limit.
    #[error(transparent)]
    Refused(Problem),
    /// The hub is being drained.
    #[error("the hub is draining and makes no more matches")]
    Draining,
    /// The lobby failed.
    #[error("the lobby failed")]
    Lobby(#[source] LobbyError),
    /// The relay failed.
    #[error("the relay failed")]
    Relay(#[source] RelayError),
    /// The people backend failed.
    #[error("the people backend failed")]
    People(#[source] PeopleError),
}
