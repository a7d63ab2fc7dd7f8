//! Sessions that go from one transport to the next: the table of those that can be claimed, and
//! what holds a session without a transport.
//!
//! A claim goes to the task that owns the session: the driver of its connection, or the
//! [keeper](keeper::keep) of one that was lost. The owner hands the session over as a whole.

pub(super) mod held;
pub(super) mod keeper;
pub(super) mod suspended;
pub(super) mod table;
