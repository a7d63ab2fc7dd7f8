//! One peer from arrival to close, as a pure state machine: [`Session`].
//!
//! A session does no I/O, takes no lock, reads no clock and draws no entropy. Its owner, the
//! driver, has the transport, the search and the [`Pipe`](crate::backend::Pipe), and tells the
//! session what happened by `handle_*`.
//!
//! **After each `handle_*` call the driver must drain the session**, in this order:
//!
//! 1. [`poll_action`](Session::poll_action) until `None`: each [`Action`] is done before the next,
//!    and before another input is handled.
//! 2. [`poll_frame`](Session::poll_frame), once the partner has room: a coalesced frame to send.
//! 3. [`poll_event`](Session::poll_event) until `None`, as far as the transport has room: what the
//!    client is told.
//! 4. [`poll_timeout`](Session::poll_timeout): [`handle_timeout`](Session::handle_timeout) must be
//!    called at that time. The time may have changed with any call.
//!
//! What happens comes in by origin:
//!
//! | from | call |
//! |---|---|
//! | the hub | `welcome` first, then `handle_drain`, `handle_close` |
//! | the client | `handle_command` or `handle_send`, `handle_invalid` |
//! | the transport | `handle_unresponsive`, `handle_responsive`, `handle_stall`, `handle_progress`, `handle_owed`, `handle_flushed`, `handle_detached`, `handle_attached` |
//! | the backend | `handle_matched`, `handle_search_failed`, `handle_unknown_token`, `handle_unavailable` |
//! | the partner | `handle_frame`, `handle_receipts`, `handle_parted`, `handle_stall`, `handle_progress`, `handle_partner_away`, `handle_partner_back` |
//! | the clock | `handle_timeout` |
//!
//! The driver reads no further commands while [`backlog`](Session::backlog) is large, and none
//! after [`Action::Close`].
//!
//! ```
//! use std::time::Instant;
//! use purrr_core::{
//!     Command, Event, Hello, Limits, Search,
//!     model::{Capabilities, PeerId, QueueStatus},
//! };
//! use purrr_core::session::{Action, Session};
//!
//! let (hello, search) = (Hello::named("Ann"), Search::default());
//! let capabilities = Capabilities::default();
//! let mut session =
//!     Session::new(PeerId::from_bits(1), hello, search, capabilities, Limits::default());
//! let find = Command::Find(Search::default());
//! assert_eq!(session.handle_command(find, Instant::now, QueueStatus::default), None);
//! assert!(matches!(session.poll_action(), Some(Action::Enter(_))));
//! assert_eq!(session.poll_event(), Some(Event::Waiting(QueueStatus::default())));
//! ```

mod action;
mod client;
mod detached;
#[cfg(test)]
mod exploration;
mod machine;
mod message_ids;
mod outbox;
mod recovery;
mod resume;
mod throttle;
mod timers;
mod validate;

pub(crate) use self::validate::{check_body, check_hello, normalize_search};
pub use self::{
    action::{Action, Consumer},
    detached::{Detached, Lapse},
    machine::Session,
};
