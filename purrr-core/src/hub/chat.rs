//! A running chat within this process: [`Chat`].

use std::sync::Arc;

use crate::{
    backend::pipe::{Pipe, Received},
    hub::{search::ActivePeer, shared::Phase},
    model::{
        frame::Frame,
        ids::{ChatId, ResumeToken},
        profile::Hello,
        reason::ChatEnd,
        ticket::Ticket,
    },
};

/// A running chat, as one of its two peers has it. Dropping it tells the partner.
#[derive(Debug)]
pub struct Chat {
    pub(super) guest: ActivePeer,
    pub(super) id: ChatId,
    pub(super) partner: Arc<Ticket>,
    pub(super) pipe: Pipe,
}

/// The chat is over; nothing more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chat is over")]
#[non_exhaustive]
pub struct ChatOver;

impl Chat {
    /// Names the chat, the same for both.
    #[must_use]
    pub const fn id(&self) -> ChatId {
        self.id
    }

    /// Who the partner is.
    #[must_use]
    pub fn partner(&self) -> &Hello {
        &self.partner.hello
    }

    /// Sends a frame, waiting until the partner's queue has room.
    ///
    /// # Errors
    ///
    /// [`ChatOver`] once either side has parted or the hub has ended the chat.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, nothing was sent.
    pub async fn send(&mut self, frame: Frame) -> Result<(), ChatOver> {
        if self.guest.hub.phase() == Phase::Closed {
            return Err(ChatOver);
        }
        let weight = frame.weight();
        tokio::select! {
            biased;
            sent = self.pipe.send(frame) => sent.map_err(|_| ChatOver)?,
            () = self.guest.hub.closed() => return Err(ChatOver),
        }
        self.guest.hub.stats.count_frame(weight);
        Ok(())
    }

    /// Sends a text.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn say(&mut self, text: &str) -> Result<(), ChatOver> {
        self.send(Frame::text(text)).await
    }

    /// Receives the next frame.
    ///
    /// # Errors
    ///
    /// Why the chat is over, after everything that the partner sent before.
    ///
    /// # Cancel safety
    ///
    /// Safe: a frame is taken only when it is returned.
    pub async fn recv(&mut self) -> Result<Frame, ChatEnd> {
        tokio::select! {
            biased;
            received = self.pipe.recv() => match received {
                Received::Frame(frame) => {
                    let owed = frame.wants_receipt() && self.partner.capabilities.receipts;
                    self.pipe.acknowledge(u64::from(owed));
                    Ok(frame)
                }
                Received::Parted(reason) => Err(reason),
            },
            () = self.guest.hub.closed() => Err(ChatEnd::Ended),
        }
    }

    /// By which this person is known again: see [`Profile::resume`](crate::Profile::resume).
    #[must_use]
    pub const fn resume_token(&self) -> ResumeToken {
        self.guest.token()
    }

    /// Leaves the partner.
    pub fn leave(self) {
        self.pipe.part(ChatEnd::Left);
    }

    /// Leaves the partner, and never meets that person again. The partner sees that it was left.
    pub fn block(self) {
        self.guest.block(self.partner.person);
        self.leave();
    }
}
