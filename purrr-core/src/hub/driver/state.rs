//! What a session's driver holds: [`SessionDriver`], and its parts by direction.

use std::{pin::Pin, sync::Arc};

use tokio::time::{Instant, Sleep};

use crate::{
    backend::{budget::QueueBudget, pipe::Pipe},
    hub::{
        call::Call, driver::held::HeldFrames, peer::ActivePeer, resume::table::Registration,
        search::Searching, shared::Shared, transport::Gate,
    },
    model::reason::{ChatEnd, CloseReason, Closing},
    rate::shared::Lease,
    session::Session,
};

/// Frames and commands handled before other tasks get their turn.
pub(super) const BUDGET: usize = 128;

/// Drives a session over the transport that it has.
pub(super) struct SessionDriver<'d, 'h, T> {
    /// The client's connection. None once only a call of the backend is waited for.
    pub(super) transport: Pin<&'d mut Option<T>>,
    pub(super) core: &'d mut SessionCore<'h>,
}

/// All that a session has but its transport. Not generic, so that it is compiled once.
pub(super) struct SessionCore<'h> {
    pub(super) hub: &'h Arc<Shared>,
    pub(super) session: Session,
    pub(super) input: InputState,
    pub(super) output: OutputState,
    pub(super) request: Request,
    /// When the search began, pauses included.
    pub(super) waiting_since: Option<Instant>,
    pub(super) chat: Option<Pipe>,
    /// For a client that can resume.
    pub(super) registration: Option<Registration>,
    /// What the peer may spend of the allowance that it shares with others.
    pub(super) lease: Lease,
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    /// Why the transport is to be closed, or why the session has ended.
    pub(super) closing: Option<CloseReason>,
    /// Whether the peer arrived during the drain. Such peers arrive one by one, so they need no
    /// drain jitter.
    pub(super) joined_while_draining: bool,
    /// Last, so that it departs after its chat or search has ended.
    pub(super) peer: ActivePeer,
}

/// From the client to the partner.
pub(super) struct InputState {
    /// The frames that the partner's full queue did not take. None without a chat. Boxed: hardly
    /// any session has them.
    pub(super) held: Option<Box<HeldFrames>>,
    /// Pays for frames that wait for a partner.
    pub(super) budget: Option<Arc<dyn QueueBudget>>,
    /// Whether the transport ended while there was still something to tell.
    pub(super) ended: bool,
    /// How the client said that it ends its connection.
    pub(super) closing: Closing,
    /// By which the transport is told to yield no commands, if it has one.
    pub(super) gate: Option<Gate>,
}

/// From the session and the partner to the client.
#[derive(Default)]
pub(super) struct OutputState {
    /// Whether the transport had no room when it was last asked.
    pub(super) blocked: bool,
    /// Whether events were written since the last flush.
    pub(super) unflushed: bool,
    /// Bytes written since the last flush that the session was not told of.
    pub(super) owed: usize,
    /// Set for one scheduler turn after a search begins. Output is held back for that turn, so that
    /// an immediate match goes out in the same write as `waiting`.
    pub(super) coalescing: bool,
    /// The partner's messages written since the last flush, which acknowledges them.
    pub(super) unacknowledged: u64,
}

/// What is asked of the backend and not answered yet.
///
/// One at a time: a session searches only while it calls for nothing else, since actions wait for a
/// call to end.
pub(super) enum Request {
    None,
    Call(Call),
    Search(Searching),
}

impl SessionCore<'_> {
    /// Returns true once all events are flushed and only `poll_close` remains.
    #[inline]
    pub(super) fn is_flushed_for_close(&self) -> bool {
        self.closing.is_some() && !self.output.unflushed && self.session.backlog() == 0
    }

    /// Parts from the partner, if there is one.
    ///
    /// What the client said before goes first, beyond the limits of the partner's queue. So parting
    /// never waits, and nothing that was said is lost.
    pub(super) fn part(&mut self, reason: ChatEnd) {
        let held = self.input.held.take();
        self.output.unacknowledged = 0;
        if let Some(pipe) = self.chat.take() {
            if let Some(registration) = &self.registration
                && self.session.has_unacknowledged_end()
            {
                return registration.keep_last(pipe);
            }
            let (frames, charge) = held.map(|held| held.into_frames()).unwrap_or_default();
            pipe.part_after(frames, charge, reason);
        }
    }
}

impl Request {
    #[inline]
    pub(super) const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    #[inline]
    pub(super) const fn is_call(&self) -> bool {
        matches!(self, Self::Call(_))
    }

    /// Returns true if a search has found a partner, which may have begun to chat.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self, Self::Search(search) if search.is_opening())
    }
}

pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}
