//! A session between two transports: [`Suspended`].

use std::task::Context;

use tokio::time::Instant;

use crate::{
    backend::pipe::{Pipe, TrySendError},
    hub::{
        driver::held::HeldFrames,
        peer::ActivePeer,
        resume::{held::Held, table::Registration},
    },
    model::reason::ChatEnd,
    session::Session,
};

/// All that goes from one transport of a session to the next.
pub(crate) struct Suspended {
    pub(crate) session: Session,
    pub(crate) chat: Option<Pipe>,
    /// The frames that the partner's full queue did not take.
    pub(crate) held: Option<Box<HeldFrames>>,
    /// When the search began, pauses included.
    pub(crate) waiting_since: Option<Instant>,
    pub(crate) registration: Registration,
    /// Last, so that it departs after its chat has ended.
    pub(crate) peer: ActivePeer,
}

impl Held for Suspended {
    fn registration(&self) -> &Registration {
        &self.registration
    }

    fn bytes_to_receive(&self) -> usize {
        match &self.chat {
            Some(pipe) => pipe.bytes_to_receive(),
            None => self.registration.bytes_of_last(),
        }
    }

    fn detach(&mut self, more: usize) {
        if let Some(pipe) = &mut self.chat {
            pipe.detach(more);
        }
    }

    fn tell_away(&mut self) {
        if let Some(pipe) = &mut self.chat {
            pipe.tell_away();
        }
    }

    fn flush(&mut self, cx: &Context<'_>) {
        let (Some(pipe), Some(held)) = (&mut self.chat, &mut self.held) else { return };
        while let Some(frame) = held.pop() {
            if let Err(TrySendError::Full(frame)) = pipe.poll_send(cx, frame) {
                return held.put_back(frame);
            }
        }
        self.held = None;
    }

    fn end(mut self: Box<Self>, reason: ChatEnd) {
        let held = self.held.take();
        if let Some(pipe) = self.chat.take() {
            let (frames, charge) = held.map(|held| held.into_frames()).unwrap_or_default();
            pipe.part_after(frames, charge, reason);
        }
    }
}
