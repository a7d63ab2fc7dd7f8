//! The shell of a [`Session`](crate::session::Session): one task that owns a transport, a search
//! and a pipe.
//!
//! [`run`] has the loop, which calls the steps of the other files until none makes progress:
//!
//! | step | does | progress |
//! |---|---|---|
//! | `enter_phase` | tells the session that the hub drains or closes | |
//! | `apply_actions` | does what the session wants of the backend and the chat | |
//! | `flush_pending_frame` | retries a frame that the partner's full queue did not take | it was sent |
//! | `drive_output` | writes events and frames of the partner, then flushes | there may be more |
//! | `drive_input` | reads commands, and sends frames to the partner | it handled input |
//! | `drive_backend` | polls the search or the call that is under way | it ended |
//! | `drive_close` | closes the transport once all is written | |
//! | `drive_timers` | sleeps until the session's next timeout | a timer expired |

mod backend;
mod close;
mod input;
mod output;
mod run;
mod state;

pub(crate) use self::run::serve;
