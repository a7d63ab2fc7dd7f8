//! A chat in process whose caller has gone for a while: [`DetachedChat`].

use std::{sync::Arc, task::Context};

use tokio::time::timeout;

use super::Chat;
use crate::{
    backend::people::PeopleError,
    hub::{
        peer::ActivePeer,
        resume::{
            held::Held,
            keeper::try_keep,
            table::{Kind, Registration},
        },
        shared::{Phase, Shared},
    },
    model::{
        ids::{OriginKey, PeerId, ResumeToken},
        reason::ChatEnd,
    },
    sync::lock,
};

/// Why [`Hub::resume`](crate::Hub::resume) returned no chat.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// No chat is held for this token: it was resumed, has expired, or never was detached.
    #[error("no detached chat has this token")]
    Unknown,
    /// The hub is being drained, which ends detached chats.
    #[error("the hub is draining and resumes no chats")]
    Draining,
    /// The people backend failed.
    #[error("the people backend failed")]
    People(#[source] PeopleError),
}

/// A chat that is held until it is claimed.
struct DetachedChat {
    chat: Chat,
    registration: Registration,
}

impl Chat {
    /// Leaves this side to the hub, and returns the token by which [`Hub::resume`] returns it.
    ///
    /// The partner may write on, up to 16 KiB beyond what is in flight. It is told nothing for
    /// 1.5 s, then that this side is away. The hub ends the chat as lost after
    /// [`Limits::resume_window`], and when it drains. The token is good for one use: it also
    /// resumes the person by [`Profile::resume`], which ends the chat.
    ///
    /// ```
    /// use purrr_core::{Hub, Profile};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hub = Hub::memory();
    /// let (ann, bob) = tokio::join!(hub.pair(Profile::named("Ann")), hub.pair(Profile::named("Bob")));
    /// let token = ann?.detach().map_err(|_| "the chat is over")?;
    /// bob?.say("still there?").await?;
    /// let mut ann = hub.resume(token).await?;
    /// assert_eq!(ann.recv().await.unwrap().as_text(), Some("still there?"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the chat, as it was, if it is over, the hub drains, or there is no more room:
    /// [`Limits::detached`] and the limits beside it. The same outside of a tokio runtime.
    ///
    /// [`Hub::resume`]: crate::Hub::resume
    /// [`Limits::resume_window`]: crate::Limits::resume_window
    /// [`Limits::detached`]: crate::Limits::detached
    /// [`Profile::resume`]: crate::Profile::resume
    pub fn detach(self) -> Result<ResumeToken, Self> {
        let (hub, origin, token) = {
            let side = lock(self.side());
            if side.is_over() {
                drop(side);
                return Err(self);
            }
            (side.hub(), side.origin(), side.token())
        };
        let window = Some(hub.limits.resume_window).filter(|window| !window.is_zero());
        let registration = Registration::new(&hub.resume, token, Kind::Chat);
        let detached = Box::new(DetachedChat { chat: self, registration });
        match try_keep(&hub, detached, origin, window) {
            Ok(()) => Ok(token),
            Err(detached) => Err(detached.chat),
        }
    }
}

/// Claims the chat that was detached with this token.
pub(in crate::hub) async fn resume(
    hub: &Arc<Shared>,
    token: ResumeToken,
) -> Result<Chat, ResumeError> {
    if hub.phase() != Phase::Open {
        return Err(ResumeError::Draining);
    }
    if !hub.resume.holds_chat(token) {
        return Err(ResumeError::Unknown);
    }
    // Brings the next token, and departs by this one.
    let mut next = ActivePeer::arrive(hub, PeerId::random(), None, OriginKey::NONE);
    let redeemed = hub.backend.people.resume(next.token(), token, None).await;
    if redeemed.map_err(ResumeError::People)?.is_none() {
        return Err(ResumeError::Unknown);
    }
    let handed_over = hub.resume.claim(token, next.token(), Kind::Chat);
    // The owner is a task that may never be polled.
    let handed_over = timeout(hub.limits.stall, handed_over.ok_or(ResumeError::Unknown)?).await;
    let Ok(Ok(handed_over)) = handed_over else { return Err(ResumeError::Unknown) };
    let detached = handed_over.downcast::<DetachedChat>().map_err(|_| ResumeError::Unknown)?;
    let DetachedChat { chat, .. } = *detached;
    lock(chat.side()).attach(&mut next);
    hub.stats.resumed.add(1);
    Ok(chat)
}

impl Held for DetachedChat {
    fn registration(&self) -> &Registration {
        &self.registration
    }

    fn bytes_to_receive(&self) -> usize {
        lock(self.chat.side()).bytes_to_receive()
    }

    fn detach(&mut self, more: usize) {
        lock(self.chat.side()).detach(more);
    }

    fn tell_away(&mut self) {
        lock(self.chat.side()).tell_away();
    }

    /// Nothing waits: a frame that the sink has taken goes on when the chat is resumed.
    fn flush(&mut self, _: &Context<'_>) {}

    fn end(self: Box<Self>, reason: ChatEnd) {
        lock(self.chat.side()).part(reason, reason);
    }
}
