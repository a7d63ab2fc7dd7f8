//! How many peers wait and chat: [`Census`].

/// How many are in a lobby.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// Peers that wait.
    pub waiting: u64,
    /// Chats under way.
    pub pairs: u64,
}

impl Census {
    /// So many waiting, so many chats.
    #[must_use]
    pub const fn new(waiting: u64, pairs: u64) -> Self {
        Self { waiting, pairs }
    }
}
