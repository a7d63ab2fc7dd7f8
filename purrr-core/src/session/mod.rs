//! One peer from arrival to close, as a pure state machine: [`Session`].
//!
//! A session does no I/O, takes no lock, reads no clock and draws no entropy. Its owner, the driver, has the transport, the
//! search and the [`Pipe`](crate::backend::Pipe), and tells the session what happened by `handle_*`.
//!
//! **After each `handle_*` call the driver must drain the session**, in this order:
//!
//! 1. [`poll_action`](Session::poll_action) until `None`: each [`Action`] is done before the next, and before another input
//!    is handled.
//! 2. [`poll_frame`](Session::poll_frame), once the partner has room: a coalesced frame to send.
//! 3. [`poll_event`](Session::poll_event) until `None`, as far as the transport has room: what the client is told.
//! 4. [`poll_timeout`](Session::poll_timeout): [`handle_timeout`](Session::handle_timeout) must be called at that time. The
//!    time may have changed with any call.
//!
//! What happens comes in by origin:
//!
//! | from | call |
//! |---|---|
//! | the hub | [`welcome`](Session::welcome) first, then [`handle_drain`](Session::handle_drain), [`handle_close`](Session::handle_close) |
//! | the client | [`handle_command`](Session::handle_command) or [`handle_send`](Session::handle_send), [`handle_invalid`](Session::handle_invalid) |
//! | the transport | [`handle_unresponsive`](Session::handle_unresponsive), [`handle_responsive`](Session::handle_responsive), [`handle_stall`](Session::handle_stall), [`handle_progress`](Session::handle_progress) |
//! | the backend | [`handle_matched`](Session::handle_matched), [`handle_search_failed`](Session::handle_search_failed), [`handle_unknown_token`](Session::handle_unknown_token), [`handle_unavailable`](Session::handle_unavailable) |
//! | the partner | [`handle_frame`](Session::handle_frame), [`handle_receipts`](Session::handle_receipts), [`handle_parted`](Session::handle_parted), [`handle_stall`](Session::handle_stall), [`handle_progress`](Session::handle_progress) |
//! | the clock | [`handle_timeout`](Session::handle_timeout) |
//!
//! The driver reads no further commands while [`backlog`](Session::backlog) is large, and none after [`Action::Close`].
//!
//! ```
//! use std::time::Instant;
//! use purrr_core::{Command, Event, Hello, Limits, Search, model::{QueueStatus, PeerId, Capabilities}};
//! use purrr_core::session::{Action, Session};
//!
//! let mut session =
//!     Session::new(PeerId::from_bits(1), Hello::named("Ann"), Search::default(), Capabilities::default(), Limits::default());
//! assert_eq!(session.handle_command(Command::Find(Search::default()), Instant::now, QueueStatus::default), None);
//! assert!(matches!(session.poll_action(), Some(Action::Enter(_))));
//! assert_eq!(session.poll_event(), Some(Event::Waiting(QueueStatus::default())));
//! ```

mod action;
#[cfg(test)]
mod exploration;
mod machine;
mod outbox;
mod throttle;
mod timers;
mod validate;

pub use self::{
    action::{Action, Consumer},
    machine::Session,
};
