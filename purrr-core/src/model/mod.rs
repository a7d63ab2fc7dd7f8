//! The vocabulary of all other modules: data types without behaviour.

pub(crate) mod attributes;
pub(crate) mod census;
pub(crate) mod command;
pub(crate) mod event;
pub(crate) mod frame;
pub(crate) mod ids;
pub(crate) mod limits;
pub(crate) mod person;
pub(crate) mod problem;
pub(crate) mod profile;
pub(crate) mod reason;
mod tag;
pub(crate) mod ticket;

pub use self::{
    attributes::{Attribute, Attributes},
    census::Census,
    command::{Command, Recover},
    event::{Event, QueueStatus, Resumed},
    frame::{
        Body, Dialect, Frame, Image, MAX_ID, Message, ParseDialectError, Signal, SignalKind,
        Verbatim,
    },
    ids::{
        ChatId, OriginKey, ParseChatIdError, ParseResumeTokenError, PeerId, PersonId, ResumeToken,
    },
    limits::{Limits, Rate, Rates},
    person::{Identity, PersonAt},
    problem::{Code, Problem},
    profile::{Capabilities, Hello, Interest, Search},
    reason::{ChatEnd, CloseReason, Closing, ParseChatEndError},
    ticket::{Exclusions, Ticket},
};
