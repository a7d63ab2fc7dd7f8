//! The shell of a [`Session`](crate::session::Session): one task that owns a transport, a search
//! and a pipe.
//!
//! [`run`] has the loop, which calls the steps of the other files until none makes progress:
//!
//! | step | does | progress |
//! |---|---|---|
//! | `enter_phase` | tells the session that the hub drains or closes | |
//! | `apply_actions` | does what the session wants of the backend and the chat | |
//! | `flush_held_frames` | retries the frames that the partner's full queue did not take | one was sent |
//! | `drive_output` | writes events and frames of the partner, then flushes | there may be more |
//! | `drive_input` | reads commands, and sends frames to the partner or holds them | it handled input |
//! | `drive_backend` | polls the search or the call that is under way | it ended |
//! | `drive_close` | closes the transport once all is written | |
//! | `drive_timers` | sleeps until the session's next timeout | a timer expired |
//!
//! However the session ends, the driver tells the partner at once. It waits without the transport
//! for a call of the backend that is under way.

mod backend;
mod close;
pub(super) mod held;
mod input;
mod output;
mod resume;
mod run;
mod state;

pub(crate) use self::run::serve;
