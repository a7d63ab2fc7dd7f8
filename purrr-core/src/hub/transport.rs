//! What a transport hands to the hub and hears from it: [`Input`] and [`Gate`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::model::{command::Command, problem::Problem};

/// An item that a transport hands to [`Hub::serve`](crate::Hub::serve).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A command of the client.
    Command(Command),
    /// Input that is no command, in the order of arrival. The client is told the problem.
    Invalid(Problem),
    /// No input: the client has taken some of its output, so it is slow but not stuck.
    WriteProgress,
    /// No input: the client missed a heartbeat. While it waits, it is not matched until [`Responsive`](Self::Responsive).
    Unresponsive,
    /// The client was heard again after [`Unresponsive`](Self::Unresponsive).
    Responsive,
}

/// Tells a transport whether its session wants commands just now. Clones are the same gate.
///
/// To read no commands is how a peer is held up whose partner does not read. A transport does more than that, though: it
/// asks whether the peer is there, hears answers, and takes what the peer is told. So one that has a clone of its session's
/// [`Profile::gate`](crate::Profile::gate) goes on being polled while the gate is closed, and then yields no
/// [`Command`](crate::Command) and nothing that was refused, but all the other kinds of [`Input`](crate::hub::Input), and its
/// end. One that yields a command all the same is taken for broken.
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
