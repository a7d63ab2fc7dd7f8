//! What a session keeps for a client that can resume it: [`Recovery`].

use std::{fmt, sync::Arc};

use crate::model::{ids::ChatId, ticket::Ticket};

/// What a session keeps for a client that can resume it.
#[derive(Default)]
pub(super) struct Recovery {
    /// Whether the current or the last chat began after the client announced that it acknowledges.
    pub(super) counts: bool,
    /// Whether the flush acknowledges, since the client does not.
    pub(super) flush_acknowledges: bool,
    /// The number of the client's frames that were taken in the current or the last chat.
    pub(super) sent: u64,
    /// The id of the newest own message of this chat that the client was told is delivered.
    pub(super) delivered: Option<u64>,
    /// Whether the client goes to the background.
    pub(super) in_background: bool,
    /// Whether the next introduction is told to the current partner.
    pub(super) introduces: bool,
    /// The last chat, until the client has acknowledged its end. Boxed, since that is soon.
    pub(super) ended: Option<Box<(ChatId, Arc<Ticket>)>>,
}

/// Shows the state without what is counted.
impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery")
            .field("counts", &self.counts)
            .field("in_background", &self.in_background)
            .field("introduces", &self.introduces)
            .field("ended", &self.ended.is_some())
            .finish_non_exhaustive()
    }
}
