//! What happens in a hub, for the embedder: the [`Observer`] trait.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    backend::pipe::Pipe,
    model::{
        ids::{ChatId, PeerId, PersonId},
        problem::Code,
        reason::{ChatEnd, CloseReason},
    },
};

/// Hears what happens in a [`Hub`](crate::Hub): ids and persons, never contents.
///
/// # Who implements it, who calls it
///
/// Embedders implement it, and pass it to [`HubBuilder::observe`](crate::HubBuilder::observe). The
/// hub calls it for the peers that it serves itself. So an observer hears of a chat once for each
/// side: twice if both peers are at this hub. No frame of a chat is told.
///
/// # What must not block
///
/// Methods are called while a session is polled or dropped, without a lock that another chat waits
/// for. They must return at once and must not panic. An observer that writes to a network or a file queues
/// what it hears.
///
/// # Order
///
/// For one peer: `arrived`, then any of the others, and `departed` last. Every `searching` is
/// followed by one `matched` or `stopped_searching`, and every `matched` by one `ended`. Calls for
/// several peers may come at the same time.
///
/// # Cost
///
/// A hub without an observer makes no call and allocates nothing for it.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use purrr_core::{Hub, hub::{ChatSide, Ending, Observer}};
///
/// #[derive(Default)]
/// struct Chats(AtomicU64);
///
/// impl Observer for Chats {
///     fn ended(&self, side: &ChatSide, ending: &Ending) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         println!("chat {} of {:?}: {:?}", side.chat, side.peer.person, ending.reason);
///     }
/// }
///
/// let hub = Hub::builder().observe(Chats::default()).build();
/// # let _ = hub;
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Hears that a session began, or that [`Hub::pair`](crate::Hub::pair) was called.
    fn arrived(&self, peer: Participant) {
        let _ = peer;
    }

    /// Hears that a peer's resume token was accepted: it was `before`, and is its person now.
    fn resumed(&self, peer: Participant, before: PersonId) {
        let _ = (peer, before);
    }

    /// Hears that a peer began to search. A missed heartbeat ends a search, and the answer to it
    /// begins the next.
    fn searching(&self, peer: Participant) {
        let _ = peer;
    }

    /// Hears that a search ended without a chat: cancelled, interrupted, refused or failed.
    fn stopped_searching(&self, peer: Participant) {
        let _ = peer;
    }

    /// Hears that a chat began, after the peer had `waited`.
    fn matched(&self, side: &ChatSide, waited: Duration) {
        let _ = (side, waited);
    }

    /// Hears that a chat ended for this side.
    fn ended(&self, side: &ChatSide, ending: &Ending) {
        let _ = (side, ending);
    }

    /// Hears that a peer blocked another person.
    fn blocked(&self, peer: Participant, person: PersonId) {
        let _ = (peer, person);
    }

    /// Hears that a client was told of an error.
    fn refused(&self, peer: Participant, code: Code) {
        let _ = (peer, code);
    }

    /// Hears that a peer is gone, and why its session ended.
    ///
    /// `reason` is `None` for a caller of [`Hub::pair`](crate::Hub::pair), which has no session.
    fn departed(&self, peer: Participant, reason: Option<CloseReason>) {
        let _ = (peer, reason);
    }
}

/// A peer and the person behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Participant {
    /// The peer. Of a session, this is the id in its `welcome`.
    pub peer: PeerId,
    /// The person behind it.
    pub person: PersonId,
}

/// One side of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ChatSide {
    /// The chat, the same for both sides.
    pub chat: ChatId,
    /// The peer whose side it is.
    pub peer: Participant,
    /// Its partner.
    pub partner: Participant,
}

/// How a chat ended for one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    /// The reason.
    pub reason: ChatEnd,
    /// Which of the two parted. If both did at once, each side tells of itself.
    pub by: EndedBy,
    /// The time since `matched`.
    pub lasted: Duration,
}

/// Which of the two sides of a chat parted from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndedBy {
    /// The peer whose side it is, or the hub for it.
    Peer,
    /// The partner, or its hub for it.
    Partner,
}

/// The observers of a hub.
#[derive(Clone, Default)]
pub(crate) struct Observers(Vec<Arc<dyn Observer>>);

impl Observers {
    pub(super) fn add(&mut self, observer: Arc<dyn Observer>) {
        self.0.push(observer);
    }

    /// Tells every observer.
    #[inline]
    pub(super) fn tell(&self, tell: impl Fn(&dyn Observer)) {
        for observer in &self.0 {
            tell(&**observer);
        }
    }

    /// Tells that a chat began, and will tell when it ends.
    pub(super) fn watch(&self, side: ChatSide, waited: Duration, pipe: &mut Pipe) {
        if self.0.is_empty() {
            return;
        }
        let (observers, began) = (self.clone(), Instant::now());
        self.tell(|observer| observer.matched(&side, waited));
        pipe.on_end(move |own, partners| {
            let ended_by = |reason| (reason, EndedBy::Partner);
            let (reason, by) = partners.map_or((own, EndedBy::Peer), ended_by);
            let ending = Ending { reason, by, lasted: began.elapsed() };
            observers.tell(|observer| observer.ended(&side, &ending));
        });
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} observers", self.0.len())
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn arrived(&self, peer: Participant) {
        (**self).arrived(peer);
    }

    fn resumed(&self, peer: Participant, before: PersonId) {
        (**self).resumed(peer, before);
    }

    fn searching(&self, peer: Participant) {
        (**self).searching(peer);
    }

    fn stopped_searching(&self, peer: Participant) {
        (**self).stopped_searching(peer);
    }

    fn matched(&self, side: &ChatSide, waited: Duration) {
        (**self).matched(side, waited);
    }

    fn ended(&self, side: &ChatSide, ending: &Ending) {
        (**self).ended(side, ending);
    }

    fn blocked(&self, peer: Participant, person: PersonId) {
        (**self).blocked(peer, person);
    }

    fn refused(&self, peer: Participant, code: Code) {
        (**self).refused(peer, code);
    }

    fn departed(&self, peer: Participant, reason: Option<CloseReason>) {
        (**self).departed(peer, reason);
    }
}
