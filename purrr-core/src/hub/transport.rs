//! Whether a session wants commands just now: [`Gate`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Tells a transport whether its session wants commands just now. Clones are the same gate.
///
/// To read no commands is how a peer is held up whose partner does not read. A transport does more than that, though: it
/// asks whether the peer is there, hears answers, and takes what the peer is told. So one that has a clone of its session's
/// [`Profile::gate`](crate::Profile::gate) goes on being polled while the gate is closed, and then yields no
/// [`Command`](crate::Command) and nothing that was refused, but all the other kinds of [`Input`](crate::Input), and its
/// end. One that yields a command all the same is taken for broken.
///
/// ```
/// let gate = purrr_core::Gate::default();
/// assert!(!gate.is_closed());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Whether no command is wanted.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A transport is polled by the task that owns its session, so that nothing more than the flag has to be seen.
    pub(crate) fn close(&self, closed: bool) {
        self.0.store(closed, Ordering::Relaxed);
    }
}
