#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod backend;
pub mod codec;
mod hub;
mod matching;
mod model;
mod people;
mod rate;
pub mod session;
mod sync;

// Shared with the dialects of `purrr-server`, and nobody else's business.
#[cfg(feature = "conformance")]
pub use backend::conformance;
pub use bytes::Bytes;
pub use bytestring::ByteString;
pub use codec as protocol;
#[doc(hidden)]
pub use codec::json;
pub use matching::matchmaker;
pub use model::frame;

pub use crate::{
    backend::{
        lobby::{
            Avoid, Census, ChatId, Interest, Lobby, LobbyError, Match, ParseChatIdError, PeerId,
            PersonId, Place, Speaks, Ticket,
        },
        memory::{MemoryLobby, MemoryRelay},
        pipe::{Pipe, Reason, Received, Relay, RelayError, TrySendError},
    },
    codec::{Code, Command, Event, Hello, Numbers, Problem, Search},
    hub::{
        Chat, ChatOver, Hub, HubBuilder, PairError, Profile, Stats,
        driver::{Ended, Input},
        transport::Gate,
    },
    matching::rule::{
        And, Anyone, Bucket, Choice, Interests, Languages, Pairing, PairingExt, Widening,
        buckets_of,
    },
    model::{frame::Frame, limits::Limits},
    people::{ParseResumeTokenError, ResumeToken},
    rate::bucket::{Allowance, Rate, Rates},
};
