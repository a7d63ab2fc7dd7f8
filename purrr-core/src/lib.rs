#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod frame;
mod hub;
// Shared with the dialects of `purrr-server`, and nobody else's business.
#[doc(hidden)]
pub mod json;
mod limits;
mod lobby;
pub mod matchmaker;
mod memory;
mod pairing;
pub mod protocol;
mod relay;
mod serve;
pub mod session;
mod sync;

pub use bytes::Bytes;
pub use bytestring::ByteString;

pub use crate::{
    frame::Frame,
    hub::{
        Chat, ChatOver, Hub, HubBuilder, PairError, ParseResumeTokenError, Profile, ResumeToken,
        Stats,
    },
    limits::Limits,
    lobby::{
        Avoid, Census, ChatId, Interest, Lobby, LobbyError, Match, ParseChatIdError, PeerId,
        PersonId, Place, Speaks, Ticket,
    },
    memory::{MemoryLobby, MemoryRelay},
    pairing::{
        And, Anyone, Bucket, Choice, Interests, Languages, Pairing, PairingExt, Widening,
        buckets_of,
    },
    protocol::{Code, Command, Event, Hello, Numbers, Problem, Search},
    relay::{Pipe, Reason, Received, Relay, RelayError, TrySendError},
    serve::{Ended, Input},
};
