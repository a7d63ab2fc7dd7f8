//! The Purrr.chat dialect: Socket.IO events over Engine.IO.

mod data_url;
mod message_index;
mod packet;
mod payload;
mod session;

pub(crate) use self::packet::{Front, handle};
#[cfg(feature = "fuzzing")]
pub(crate) use self::session::fuzzing;
