//! What a session wants done, and whose stall it is told of: [`Action`] and [`Consumer`].

use crate::model::{
    command::Recover,
    ids::ResumeToken,
    person::PersonAt,
    profile::Hello,
    reason::{ChatEnd, CloseReason},
    ticket::Ticket,
};

/// What a [`Session`](crate::session::Session) wants of the backend, the chat or the transport.
/// Done in order.
///
/// Exhaustive on purpose: a driver must do all of them, so it must not compile without a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Enter the lobby with this ticket, and report `handle_matched` or `handle_search_failed`.
    ///
    /// After [`Pause`](Self::Pause) the time waited so far, the pause included, counts on.
    Enter(Box<Ticket>),
    /// Give the place up until the next `Enter` or `Leave`.
    Pause,
    /// Give the place up.
    Leave,
    /// Block this person and its address for the peer's person, and report `handle_unavailable` if
    /// that failed.
    Block(PersonAt),
    /// Redeem this token, and report `handle_unknown_token` or `handle_unavailable` if that failed.
    Resume(ResumeToken),
    /// Claim the session of this token for the transport, and report `handle_unknown_token`,
    /// `handle_unavailable`, or go on with what was claimed.
    Claim(Box<Recover>),
    /// Tell the partner of this introduction.
    Introduce(Box<Hello>),
    /// Drop the frames that the partner's full queue did not take. [`Part`](Self::Part) follows.
    Discard,
    /// Part from the partner, once it has been sent the frames that its full queue did not take.
    Part(ChatEnd),
    /// Close the transport once every event is written and flushed. [`CloseReason::Slow`] closes it
    /// at once.
    Close(CloseReason),
}

/// A reader whose stalls a session limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// The partner, whose queue is full.
    Partner,
    /// This peer's own transport, which makes no write progress.
    Transport,
}
