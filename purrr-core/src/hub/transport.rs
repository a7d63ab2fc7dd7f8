//! What a transport yields to the hub, and how the hub pauses it: [`Input`] and [`Gate`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::model::{command::Command, problem::Problem, reason::Closing};

/// An item that a transport yields to [`Hub::serve`](crate::Hub::serve).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A command of the client.
    Command(Command),
    /// Input that is no command, in the order of arrival. The client is told the problem.
    Invalid(Problem),
    /// As [`Invalid`](Self::Invalid), and meant as a frame of the chat, which the client counts.
    InvalidFrame(Problem),
    /// No input: the client ends its connection so. The stream ends next.
    ///
    /// A stream that ends without it has lost its client.
    Closing(Closing),
    /// No input: the client has read some of its output, so it is slow but not stalled.
    WriteProgress,
    /// No input: the client missed a heartbeat. A waiting client is not matched until
    /// [`Responsive`](Self::Responsive).
    Unresponsive,
    /// No input: the client answered again after [`Unresponsive`](Self::Unresponsive).
    Responsive,
}

/// Pauses the commands of a transport, and nothing else of it. Clones are the same gate.
///
/// While the partner is a slow consumer, its peer's session reads no commands: that is the
/// backpressure. A transport without a gate is then not polled at all. One that has a clone of its
/// session's [`Profile::gate`](crate::Profile::gate) is polled on, so that heartbeats and writes go
/// on as well. While the gate is closed it must yield no [`Command`](crate::hub::Input::Command)
/// and no [`Invalid`](crate::hub::Input::Invalid), but every other [`Input`] and its end. The
/// session of a transport that yields a command all the same ends as lost.
///
/// ```
/// let gate = purrr_core::hub::Gate::default();
/// assert!(!gate.is_closed());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl From<Command> for Input {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

impl From<Result<Command, Problem>> for Input {
    fn from(read: Result<Command, Problem>) -> Self {
        read.map_or_else(Self::Invalid, Self::Command)
    }
}

impl Gate {
    /// Returns true while no command is wanted.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set_closed(&self, closed: bool) {
        // Relaxed: the task that owns the session polls the transport as well, so it sees its own
        // store.
        self.0.store(closed, Ordering::Relaxed);
    }
}
