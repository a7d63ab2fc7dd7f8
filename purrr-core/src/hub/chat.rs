//! A chat of a peer within this process: [`Chat`].

use std::{future::poll_fn, sync::Arc, task::Poll};

use crate::{
    backend::{
        people::PeopleError,
        pipe::{Pipe, Received},
    },
    hub::{
        peer::{ActivePeer, Answer},
        shared::Phase,
    },
    model::{
        frame::Frame,
        ids::{ChatId, ResumeToken},
        profile::Hello,
        reason::ChatEnd,
        ticket::Ticket,
    },
};

/// One peer's side of a running chat. Dropping it parts, and the partner is told.
#[derive(Debug)]
pub struct Chat {
    pub(super) id: ChatId,
    pub(super) partner: Arc<Ticket>,
    pub(super) pipe: Pipe,
    /// Last, so that it departs after the chat has ended.
    pub(super) peer: ActivePeer,
}

/// An error for a frame that was sent after the end of its chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chat is over")]
#[non_exhaustive]
pub struct ChatOver;

impl Chat {
    /// Returns the chat's id, which is the same for both peers.
    #[must_use]
    pub const fn id(&self) -> ChatId {
        self.id
    }

    /// Returns how the partner introduced itself.
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
    /// If the future is dropped before it is ready, the frame was not sent.
    pub async fn send(&mut self, frame: Frame) -> Result<(), ChatOver> {
        if self.peer.hub.phase() == Phase::Closed {
            return Err(ChatOver);
        }
        let weight = frame.weight();
        tokio::select! {
            biased;
            sent = self.pipe.send(frame) => sent.map_err(|_| ChatOver)?,
            () = self.peer.hub.closed() => return Err(ChatOver),
        }
        self.peer.hub.stats.count_frame(weight);
        Ok(())
    }

    /// Sends a text message, waiting until the partner's queue has room.
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
    /// Returns why the chat ended, after every frame that the partner sent before.
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
            () = self.peer.hub.closed() => Err(ChatEnd::Ended),
        }
    }

    /// Returns the token by which this person resumes later, as
    /// [`Profile::resume`](crate::Profile::resume).
    #[must_use]
    pub const fn resume_token(&self) -> ResumeToken {
        self.peer.token()
    }

    /// Leaves the partner, and tells it so.
    pub fn leave(self) {
        self.pipe.part(ChatEnd::Left);
    }

    /// Leaves the partner, and blocks the person behind it. The partner is told that it was left.
    ///
    /// # Errors
    ///
    /// [`PeopleError`] if the backend could not store the block. The partner was left all the same.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the partner was left, and may have been
    /// blocked.
    pub async fn block(self) -> Result<(), PeopleError> {
        let Self { peer, partner, pipe, .. } = self;
        let mut block = peer.block(partner.person);
        // Asked for before the partner can search again.
        let answer = poll_fn(|cx| Poll::Ready(block.as_mut().poll(cx))).await;
        pipe.part(ChatEnd::Left);
        let answer = match answer {
            Poll::Ready(answer) => answer,
            Poll::Pending => block.await,
        };
        match answer {
            Answer::Unavailable(error) => Err(error),
            Answer::Done | Answer::Resumed(_) | Answer::UnknownToken => Ok(()),
        }
    }
}
