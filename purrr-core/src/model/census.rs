//! The numbers of waiting peers and chats: [`Census`].

/// Counts the peers of a lobby.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// The number of waiting peers.
    pub waiting: u64,
    /// The number of open chats.
    pub pairs: u64,
}

impl Census {
    /// Creates a census.
    #[must_use]
    pub const fn new(waiting: u64, pairs: u64) -> Self {
        Self { waiting, pairs }
    }
}
