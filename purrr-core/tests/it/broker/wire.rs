//! What nodes and the broker tell each other.

use std::time::Duration;

use purrr_core::{
    backend::{Identity, PersonAt},
    model::{ChatId, OriginKey, PersonId, ResumeToken},
};
use serde::{Deserialize, Serialize};

/// 128 bits, which JSON has no number for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Wide([u64; 2]);

/// One side of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct SideKey {
    pub(super) chat: Wide,
    pub(super) side: usize,
}

/// What a rule says of one ticket, once for each step of its wait.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Steps {
    pub(super) steps: Vec<Step>,
    pub(super) random: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) due: Duration,
    pub(super) looks: Vec<Wide>,
    pub(super) stands: Option<Vec<Wide>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToBroker {
    Enter {
        place: u64,
        ticket: Vec<u8>,
        rule: Steps,
    },
    Leave {
        place: u64,
    },
    /// What the rule of a place says of the partner that it was offered.
    Verdict {
        place: u64,
        accepts: bool,
    },
    Open(SideKey),
    GiveUp(SideKey),
    /// The side has parted. What it has sent is on its way.
    Free(SideKey),
    Chat(SideKey, News),
    Call {
        id: u64,
        call: Call,
    },
    Tell(Tell),
    /// From now on the broker's messages to this node are late and repeated.
    Disturb,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToNode {
    Entered { place: u64, refused: Option<Refusal> },
    Offer { place: u64, partner: Vec<u8> },
    Made { place: u64, key: SideKey, partner: Vec<u8> },
    Opened { key: SideKey, begun: bool },
    Chat(SideKey, News),
    Answer { id: u64, answer: Answer },
    Numbers { online: u64, waiting: u64, estimate: Option<Duration> },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refusal {
    AlreadyHere,
    TooManyWaiting,
}

/// What one side of a chat tells the other.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum News {
    Frame(Vec<u8>),
    /// The receiver's session has room for one more frame.
    Took,
    Receipts(u64),
    Progress,
    Parted(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Call {
    Census,
    Resume { token: Wide, other: Wide, authenticated: Option<u64> },
    Exclusions { person: u64 },
    KeepsApart { a: (u64, u64), b: (u64, u64) },
    Met { peer: Known, partner: u64 },
    Block { peer: Known, other: (u64, u64) },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Census { waiting: u64, pairs: u64 },
    Person(Option<u64>),
    Exclusions(Vec<u8>),
    Apart(bool),
    Done,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Tell {
    Arrive(Known),
    Depart { token: Wide },
    BeginSearch,
    EndSearch { waited: Option<Duration> },
}

/// An [`Identity`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Known {
    person: u64,
    token: Wide,
    origin: u64,
}

impl From<u128> for Wide {
    fn from(bits: u128) -> Self {
        Self([(bits >> 64) as u64, bits as u64])
    }
}

impl From<Wide> for u128 {
    fn from(Wide([high, low]): Wide) -> Self {
        Self::from(high) << 64 | Self::from(low)
    }
}

impl From<ChatId> for Wide {
    fn from(chat: ChatId) -> Self {
        chat.to_bits().into()
    }
}

impl From<ResumeToken> for Wide {
    fn from(token: ResumeToken) -> Self {
        token.to_bits().into()
    }
}

impl From<Wide> for ResumeToken {
    fn from(bits: Wide) -> Self {
        Self::from_bits(bits.into())
    }
}

impl From<Identity> for Known {
    fn from(Identity { person, token, origin, .. }: Identity) -> Self {
        Self { person: person.to_bits(), token: token.into(), origin: origin.to_bits() }
    }
}

impl From<Known> for Identity {
    fn from(Known { person, token, origin }: Known) -> Self {
        let mut identity = Self::random().at(OriginKey::from_bits(origin));
        (identity.person, identity.token) = (PersonId::from_bits(person), token.into());
        identity
    }
}

pub(super) fn from_person_at(at: PersonAt) -> (u64, u64) {
    (at.person.to_bits(), at.origin.to_bits())
}

pub(super) fn to_person_at((person, origin): (u64, u64)) -> PersonAt {
    let mut at = PersonAt::from(PersonId::from_bits(person));
    at.origin = OriginKey::from_bits(origin);
    at
}
