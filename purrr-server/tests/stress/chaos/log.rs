//! What each client writes down, in the words that both dialects share: [`Log`].

use std::{fmt, str::FromStr, time::Duration};

/// Everything that one person did and saw, in order, over all its connections.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) person: usize,
    pub(crate) dialect: Dialect,
    pub(crate) keyed: bool,
    /// Whether the client announces that it resumes what it was in when its connection was lost.
    pub(crate) resumes: bool,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Since the beginning of the chaos.
    pub(crate) at: Duration,
    pub(crate) event: Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Native,
    /// The Purrr.chat dialect over a WebSocket.
    Socket,
    /// The Purrr.chat dialect over HTTP polling.
    Polling,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Connected,
    Asked(Ask),
    Sent(Content),
    /// A message for a chat that this side knows to be over.
    SentLate,
    Heard(News),
    /// From here to `Thawed` nothing is read and nothing answered, not even a ping.
    Froze,
    Thawed,
    /// Went without goodbye. If not `reset`, the server is not even told that the connection is
    /// gone.
    Vanished {
        reset: bool,
    },
    /// Lost its connection in the same way, and resumes over another one.
    Dropped {
        reset: bool,
    },
    /// The server ended the connection.
    Lost {
        /// The client resumes over another one.
        resumes: bool,
    },
    Closed,
    /// A question was not answered in time.
    NoAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Find(Name),
    FindAgain,
    Cancel,
    Leave,
    Next(Name),
    Block,
    /// Something that is answered in any state, so that everything asked before is known to be
    /// done.
    Fence,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// With the token to come back by.
    Welcome(String),
    Waiting,
    Idle,
    Matched {
        /// None in the dialect that does not name chats.
        chat: Option<String>,
        /// None if no client has this name.
        partner: Option<Name>,
        keyed: bool,
    },
    /// From the partner, and the id it goes by where the dialect has ids.
    Received(Content, Option<u64>),
    Delivered(u64),
    /// The chat goes on over this connection.
    Resumed {
        chat: String,
        /// How many frames of this side have arrived.
        received: u64,
        missing: u64,
        /// The newest message of this side that was delivered.
        delivered: Option<u64>,
    },
    Away,
    Back,
    /// The partner is away and its queue had no room for a frame, with its id if it has one.
    NoRoom(Option<u64>),
    /// With the reason where the dialect gives one.
    Left(Option<String>),
    Fence,
    Refused(String),
}

/// A frame between partners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Text(Payload),
    Image(Payload),
    Typing(bool),
    Read(u64),
    /// Nothing is marked as read any more: what the Purrr.chat page is told at the end of a chat.
    Unread,
    /// Nothing that a client sends; the beginning of it.
    Garbled(String),
}

/// What a text or a picture consists of. It says where it belongs, and can be made again to compare
/// it to the byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) from: Name,
    pub(crate) to: Name,
    /// Which message of its sender in this chat, from 0.
    pub(crate) counter: u64,
    /// Bytes of padding.
    pub(crate) padding: usize,
}

/// The name under which a person searches: another one for each search, so that two of them name a
/// chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) person: usize,
    /// Changes when a person comes back without its token, as one whom the server cannot know.
    pub(crate) life: u32,
    pub(crate) search: u32,
}

impl Log {
    pub(crate) const fn new(person: usize, dialect: Dialect, keyed: bool) -> Self {
        Self { person, dialect, keyed, resumes: false, entries: Vec::new() }
    }

    /// Whether the server holds the session for a while after its connection was lost in a chat.
    pub(crate) fn is_held(&self) -> bool {
        self.resumes || self.dialect != Dialect::Native
    }

    /// The lines up to and including the one with this index, the last few of them.
    pub(crate) fn tail(&self, last: usize) -> String {
        const LINES: usize = 25;
        let end = (last + 6).min(self.entries.len());
        let mut text =
            format!("person {} ({:?}, keyed: {}):\n", self.person, self.dialect, self.keyed);
        for (index, Entry { at, event }) in
            self.entries.iter().enumerate().take(end).skip(end.saturating_sub(LINES))
        {
            let mark = if index == last { '>' } else { ' ' };
            text.push_str(&format!("{mark}{index:6} {at:10.3?} {event:?}\n"));
        }
        text
    }
}

impl Content {
    /// Reads what came as a text or as a picture.
    pub(crate) fn read(body: &str, image: bool) -> Self {
        match Payload::read(body) {
            Some(payload) if image => Self::Image(payload),
            Some(payload) => Self::Text(payload),
            None => Self::garbled(body),
        }
    }

    pub(crate) fn garbled(body: &str) -> Self {
        Self::Garbled(body.chars().take(80).collect())
    }

    pub(crate) const fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Text(payload) | Self::Image(payload) => Some(payload),
            Self::Typing(_) | Self::Read(_) | Self::Unread | Self::Garbled(_) => None,
        }
    }
}

impl Payload {
    pub(crate) fn write(&self) -> String {
        const LETTERS: &str = "zyxwvutsrqponmlkjihgfedcba";
        let Self { from, to, counter, padding } = self;
        let mut text = format!("{from}>{to}:{counter}:{padding}:");
        let whole = text.len() + padding;
        // Where the letters begin differs from message to message.
        text.push_str(&LETTERS[(counter % 26) as usize..]);
        while text.len() < whole {
            text.push_str(LETTERS);
        }
        text.truncate(whole);
        text
    }

    /// Reads what [`write`](Self::write) wrote, if it is that to the byte.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        let (from, to) = parts.next()?.split_once('>')?;
        let payload = Self {
            from: from.parse().ok()?,
            to: to.parse().ok()?,
            counter: parts.next()?.parse().ok()?,
            padding: parts.next()?.parse().ok().filter(|padding| *padding <= text.len())?,
        };
        (payload.write() == text).then_some(payload)
    }
}

impl Name {
    /// Whether both are the same person to the server.
    pub(crate) fn is_same_person(self, other: Self) -> bool {
        (self.person, self.life) == (other.person, other.life)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.person, self.life, self.search)
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        fn number<'a, T: FromStr>(parts: &mut impl Iterator<Item = &'a str>) -> Result<T, ()> {
            parts.next().and_then(|part| part.parse().ok()).ok_or(())
        }
        let mut parts = text.split('.');
        let name = Self {
            person: number(&mut parts)?,
            life: number(&mut parts)?,
            search: number(&mut parts)?,
        };
        if parts.next().is_some() { Err(()) } else { Ok(name) }
    }
}

#[test]
fn altered_payload_is_detected() {
    let name = |person| Name { person, life: 1, search: 7 };
    for padding in [0, 5, 40, 1_000] {
        let payload = Payload { from: name(3), to: name(4), counter: 29, padding };
        let text = payload.write();
        assert_eq!(Payload::read(&text), Some(payload));
        for cut in [1, text.len() / 2, text.len() - 1] {
            assert_eq!(Payload::read(&text[..cut]), None, "{padding} cut at {cut}");
        }
        assert_eq!(Payload::read(&format!("{text}z")), None);
        assert_eq!(Payload::read(&text.replace("3.1.7", "3.1.8x")), None);
    }
}
