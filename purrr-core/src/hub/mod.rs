//! The entry points, [`Hub`] and [`Chat`], and the shell that drives sessions.

mod call;
pub(crate) mod channels;
pub(crate) mod chat;
pub(crate) mod driver;
pub(crate) mod handle;
pub(crate) mod observer;
mod pair_error;
mod peer;
pub(crate) mod profile;
mod resume;
mod search;
pub(crate) mod shared;
pub(crate) mod stats;
pub(crate) mod transport;

pub use self::{
    channels::{Commands, Events, SessionOver},
    chat::{Chat, ChatReceiver, ChatSender, Connection, ResumeError, SendError},
    handle::{Hub, HubBuilder},
    observer::{ChatSide, EndedBy, Ending, Observer, Participant},
    pair_error::PairError,
    profile::Profile,
    stats::Stats,
    transport::{Gate, Input},
};
