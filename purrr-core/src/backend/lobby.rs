//! Who waits: the [`Lobby`] trait, and the [`Ticket`], [`Place`] and [`Match`] it deals in.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    backend::pipe::Pipe,
    codec::{Hello, Search},
    matching::rule::Pairing,
};

/// Where peers wait. Pairs are made here and only here.
///
/// # Who implements it, who calls it
///
/// A backend implements it together with its [`Relay`](crate::Relay): a [`Match`] of one backend can be opened by the
/// relay of the same backend only. The [`Hub`](crate::Hub) calls it, once per search.
///
/// # What is atomic
///
/// A pair is made for both or for neither. Once a match has been given to either side, both are out of the lobby. A
/// peer has at most one place or one running chat; asking for another is refused with [`LobbyError::AlreadyHere`].
///
/// # What dropping means
///
/// Dropping a [`Place`] leaves. If a match was on its way to it, that chat ends for the other side, which is told.
/// Dropping a [`Match`] that was never opened ends the chat the same way.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use purrr_core::{Anyone, Lobby, MemoryLobby, PeerId, Ticket};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), purrr_core::LobbyError> {
/// let lobby = MemoryLobby::default();
/// let ann = lobby.enter(Ticket::new(PeerId::from_bits(1)), Arc::new(Anyone)).await?;
/// let bob = lobby.enter(Ticket::new(PeerId::from_bits(2)), Arc::new(Anyone)).await?;
/// let (ann, bob) = (ann.await?, bob.await?);
/// assert_eq!(ann.chat(), bob.chat());
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Lobby: fmt::Debug + Send + Sync + 'static {
    /// Takes a place for `ticket`, which waits there for a partner that `rule` and the partner's rule both accept.
    ///
    /// # Errors
    ///
    /// [`LobbyError::AlreadyHere`] if the peer waits or chats already, [`LobbyError::Unavailable`] if the backend
    /// cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the lobby as it was: either no place was taken, or it is given up again.
    async fn enter(&self, ticket: Ticket, rule: Arc<dyn Pairing>) -> Result<Place, LobbyError>;

    /// Counts who is there.
    ///
    /// # Errors
    ///
    /// [`LobbyError::Unavailable`] if the backend cannot be reached.
    async fn census(&self) -> Result<Census, LobbyError>;
}

/// Why a lobby could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LobbyError {
    /// The peer has a place or a chat already.
    #[error("the peer waits or chats already")]
    AlreadyHere,
    /// The backend failed.
    #[error("the lobby cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How many are in a lobby.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// Peers that wait.
    pub waiting: u64,
    /// Chats under way.
    pub pairs: u64,
}

impl Census {
    /// So many waiting, so many chats.
    #[must_use]
    pub const fn new(waiting: u64, pairs: u64) -> Self {
        Self { waiting, pairs }
    }
}

/// One peer's wish to be paired.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ticket {
    /// Whose wish it is.
    pub peer: PeerId,
    /// Who is behind the peer. Nobody meets themself, however many peers they are.
    pub person: PersonId,
    /// Who the peer is, as its partner will be told.
    pub hello: Hello,
    /// Whom it would like to meet.
    pub search: Search,
    /// What its client can take.
    pub speaks: Speaks,
    /// Whom it should not meet.
    pub avoid: Avoid,
    /// How long the peer has waited already, in a place that it had to give up for a moment.
    pub waited: Duration,
}

/// Whom a peer should not meet: some not so soon again, and some never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Avoid {
    /// Those it met lately. They meet again only when both have waited for their `relax_after`.
    pub recent: Box<[PersonId]>,
    /// How long whoever it met lately is avoided while it waits. Default zero: not at all.
    pub relax_after: Duration,
    /// Those it blocked, in ascending order. They never meet.
    blocked: Box<[PersonId]>,
}

/// What a client can take, beside text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Speaks {
    /// Pictures. Default yes.
    pub images: bool,
    /// Signalling for calls. Default yes.
    pub signals: bool,
    /// Candidates apart from offers and answers (trickle ICE). Default yes.
    pub candidates: bool,
    /// The news that a message has arrived. Default yes.
    pub receipts: bool,
}

/// A place in a lobby: a future that resolves to a [`Match`]. Dropping it leaves.
///
/// # Cancel safety
///
/// A place may be polled through `&mut` and abandoned between polls at will; only dropping it leaves.
pub struct Place(Pin<Box<dyn Future<Output = Result<Match, LobbyError>> + Send>>);

/// One side of a pair that was just made, on its way to the [`Relay`](crate::Relay) that opens it.
///
/// Dropped unopened, it ends the chat for the other side.
#[derive(Debug)]
pub struct Match {
    chat: ChatId,
    partner: Arc<Ticket>,
    pipe: Option<Pipe>,
}

/// Names a peer for as long as it is here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u64);

/// Names a person across connections, for as long as they can be known again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonId(u64);

/// Names a chat. 128 bits that nobody can guess.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChatId(u128);

/// A subject or a language, as it is compared: in lower case and without white space around it.
///
/// ```
/// use purrr_core::Interest;
/// assert_eq!(Interest::from("  Late Night Trains "), Interest::from("late night trains"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interest(Box<str>);

impl Ticket {
    /// A wish to meet anyone, from somebody without a name or a past, on a client that takes everything.
    #[must_use]
    pub fn new(peer: PeerId) -> Self {
        Self {
            peer,
            person: PersonId(peer.0),
            hello: Hello::default(),
            search: Search::default(),
            speaks: Speaks::default(),
            avoid: Avoid::default(),
            waited: Duration::ZERO,
        }
    }

    /// Whether the two may ever meet, in the lobby's own opinion: they are two people, neither has blocked the other, and
    /// either both encrypt or neither does.
    ///
    /// Every lobby asks this of two candidates beside what their rules say.
    ///
    /// ```
    /// use purrr_core::{Avoid, PeerId, Ticket};
    /// let ann = Ticket::new(PeerId::from_bits(1));
    /// let mut bob = Ticket::new(PeerId::from_bits(2));
    /// assert!(ann.may_meet(&bob) && !ann.may_meet(&ann));
    /// bob.avoid = Avoid::default().blocking([ann.person]);
    /// assert!(!ann.may_meet(&bob) && !bob.may_meet(&ann));
    /// ```
    #[must_use]
    pub fn may_meet(&self, other: &Self) -> bool {
        self.person != other.person
            && self.hello.encrypts == other.hello.encrypts
            && !self.avoid.blocks(other.person)
            && !other.avoid.blocks(self.person)
    }

    /// Whether either has met the other lately.
    #[must_use]
    pub fn has_met(&self, other: &Self) -> bool {
        self.avoid.recent.contains(&other.person) || other.avoid.recent.contains(&self.person)
    }

    /// The interests that this ticket and the other have in common, in this one's order.
    pub fn shared_interests<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Interest> {
        self.search.interests.iter().filter(|mine| other.search.interests.contains(mine))
    }
}

impl Avoid {
    /// The same, and none of these until it has waited for `relax_after`.
    #[must_use]
    pub fn recently(
        self,
        people: impl IntoIterator<Item = PersonId>,
        relax_after: Duration,
    ) -> Self {
        Self { recent: people.into_iter().collect(), relax_after, ..self }
    }

    /// The same, and never one of these.
    #[must_use]
    pub fn blocking(self, people: impl IntoIterator<Item = PersonId>) -> Self {
        let mut blocked: Vec<PersonId> = self.blocked.into_iter().chain(people).collect();
        blocked.sort_unstable();
        blocked.dedup();
        Self { blocked: blocked.into(), ..self }
    }

    /// Those it blocked, in ascending order.
    #[must_use]
    pub fn blocked(&self) -> &[PersonId] {
        &self.blocked
    }

    /// Whether this person was blocked.
    #[must_use]
    pub fn blocks(&self, person: PersonId) -> bool {
        self.blocked.binary_search(&person).is_ok()
    }
}

impl Default for Speaks {
    fn default() -> Self {
        Self { images: true, signals: true, candidates: true, receipts: true }
    }
}

impl Place {
    /// A place that resolves when `wait` does and is left by dropping it.
    pub fn new(wait: impl Future<Output = Result<Match, LobbyError>> + Send + 'static) -> Self {
        Self(Box::pin(wait))
    }
}

impl Future for Place {
    type Output = Result<Match, LobbyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

impl Match {
    /// A match whose relay will make the pipe when it opens it.
    #[must_use]
    pub const fn new(chat: ChatId, partner: Arc<Ticket>) -> Self {
        Self { chat, partner, pipe: None }
    }

    /// A match that brings its end of the pipe along.
    #[must_use]
    pub const fn with_pipe(chat: ChatId, partner: Arc<Ticket>, pipe: Pipe) -> Self {
        Self { chat, partner, pipe: Some(pipe) }
    }

    /// The chat, the same for both sides.
    #[must_use]
    pub const fn chat(&self) -> ChatId {
        self.chat
    }

    /// Whom this side was paired with.
    #[must_use]
    pub const fn partner(&self) -> &Arc<Ticket> {
        &self.partner
    }

    /// Takes the pipe that came along, if one did.
    pub const fn take_pipe(&mut self) -> Option<Pipe> {
        self.pipe.take()
    }
}

impl PeerId {
    /// Draws an id at random.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The id with these bits, for backends and tests.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of this id.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl PersonId {
    /// Draws an id at random.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The id with these bits: one's own id for somebody, a backend's or a test's.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of this id.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl ChatId {
    /// Names no chat: what a chat that nobody knows is read as.
    pub const NONE: Self = Self(0);

    /// Draws an id from the operating system's generator, by way of a cryptographic one in this thread.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The id with these bits, for backends and tests.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits of this id.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Never in full, lest a log tell who came back.
impl fmt::Debug for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}…", self.0 >> 48)
    }
}

impl fmt::Display for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Half of the id is enough to follow a chat through a log, and too little to claim a frame for it.
impl fmt::Debug for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}…", self.0 >> 64)
    }
}

/// The text was not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chat id is 32 hexadecimal digits")]
#[non_exhaustive]
pub struct ParseChatIdError;

impl FromStr for ChatId {
    type Err = ParseChatIdError;

    fn from_str(text: &str) -> Result<Self, ParseChatIdError> {
        if text.len() != 32 || text.starts_with('+') {
            return Err(ParseChatIdError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| ParseChatIdError)
    }
}

impl From<&str> for Interest {
    fn from(text: &str) -> Self {
        Self(text.trim().to_lowercase().into())
    }
}

impl AsRef<str> for Interest {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_id_is_read_as_it_is_written() {
        let chat = ChatId::random();
        assert_eq!(chat.to_string().parse(), Ok(chat));
        for wrong in
            ["", "0", "+0000000000000000000000000000001", "zz000000000000000000000000000000"]
        {
            assert_eq!(wrong.parse::<ChatId>(), Err(ParseChatIdError), "{wrong}");
        }
    }
}
