//! How a client comes back to the session that it has lost: [`Recovery`].

use purrr_core::{
    Code, Command, Event, Search,
    model::{Recover, ResumeToken},
};

use super::{counting::Counting, lost_chats::LostChats, offset::Offset};
use crate::transport::engineio::Outgoing;

/// How far a client is with the session that it has lost.
///
/// The Purrr.chat frontend forgets its chat when it is disconnected, connects anew with `pid`, and
/// has another key when it asks for a partner. Its session is claimed only then: nothing that was
/// written before is of use to it.
pub(super) enum Recovery {
    /// The client named a session and has not asked for a partner.
    Named(ResumeToken),
    /// The client has asked. The session is claimed, then a search follows.
    Claiming,
    /// The client is in its chat again. Contains `matched`, which is sent behind the frames that
    /// are dropped, since they were meant for the last key.
    Rejoined(Outgoing),
    /// The claim is answered, and the search after it may not be.
    Answered,
    /// The client speaks connection state recovery, and claims its session as it connects.
    Resuming(Resuming),
    /// The client speaks connection state recovery.
    Counting(Counting),
}

/// A claim of which the client is told as it connects.
pub(super) struct Resuming {
    /// The token of the client's first connection, which it is known by.
    pub(super) pid: ResumeToken,
    /// The token of this connection, once there is one.
    pub(super) next: Option<ResumeToken>,
    /// What the client has.
    pub(super) offset: Offset,
    /// Whether the client wants a partner if it has none.
    pub(super) finds: bool,
    pub(super) lost: LostChats,
}

impl Resuming {
    pub(super) fn new(pid: ResumeToken, offset: Option<&str>, lost: LostChats) -> Self {
        let offset = offset.and_then(|offset| offset.parse().ok()).unwrap_or(Offset::NONE);
        Self { pid, next: None, offset, finds: false, lost }
    }

    /// Returns the token that is claimed.
    pub(super) fn claimed(&self) -> ResumeToken {
        self.offset.token.unwrap_or(self.pid)
    }

    /// Returns the command that claims the session.
    pub(super) fn recover(&self) -> Command {
        let recover = Recover::announcing(None).claiming(self.claimed());
        Command::Recover(Box::new(recover.in_chat(self.offset.chat, self.offset.received)))
    }
}

/// Returns the command that announces a client that counts.
pub(super) fn announce() -> Command {
    Command::Recover(Box::new(Recover::announcing(None)))
}

/// Returns the command that announces that the client may come back, and claims a session.
///
/// The flush acknowledges: this client does not tell what it has received.
pub(super) fn recover(token: Option<ResumeToken>) -> Command {
    let recover = Recover::announcing(None).acknowledged_by_flush();
    Command::Recover(Box::new(match token {
        Some(token) => recover.claiming(token),
        None => recover,
    }))
}

/// Returns the command that begins a search.
pub(super) fn find() -> Command {
    Command::Find(Search::default())
}

impl Recovery {
    /// Returns true if the client is not to be told of an event, since the claim explains it.
    pub(super) fn hides(&mut self, event: &Event) -> bool {
        match (&*self, event) {
            (Self::Named(_) | Self::Resuming(_) | Self::Counting(_), _) => false,
            (Self::Rejoined(_), Event::Received(_)) => true,
            (Self::Rejoined(_), Event::Left { .. }) => {
                *self = Self::Claiming;
                true
            }
            (Self::Answered, Event::Waiting(_)) => true,
            (Self::Claiming, Event::Waiting(_)) => {
                *self = Self::Answered;
                false
            }
            (_, Event::Error(problem)) => {
                matches!(problem.code, Code::UnknownSession | Code::AlreadyPaired)
            }
            _ => false,
        }
    }
}
