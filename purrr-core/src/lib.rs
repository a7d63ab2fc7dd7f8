#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod backend;
pub mod codec;
pub mod hub;
pub mod matching;
pub mod model;
mod people;
pub mod rate;
pub mod session;
mod sync;

pub use bytes::Bytes;
pub use bytestring::ByteString;

pub use crate::{
    backend::{Lobby, Relay},
    hub::{Chat, Hub, HubBuilder, Observer, PairError, Profile},
    matching::{Anyone, Interests, Languages, Pairing, PairingExt},
    model::{Code, Command, Event, Frame, Hello, Limits, Problem, Rates, Search},
};
