//! What reading a socket yields: [`SocketEvent`] and [`SocketError`].

use std::io;

use super::close_code::CloseCode;
use crate::transport::message::Message;

/// What a client sent. A close ends the stream instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SocketEvent {
    Message(Message),
    /// A message that was discarded because the memory budget is exhausted.
    Refused,
    /// A ping, whose pong is queued already.
    Ping,
    Pong,
    /// A fragment without payload.
    EmptyFragment,
    /// A fragment of a few bytes.
    SmallFragment,
}

/// Why a socket cannot be used any longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// The client broke the protocol or a limit. Contains the code to close with.
    #[error("the client's frames require a close with {}", *.0 as u16)]
    Violation(CloseCode),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl SocketError {
    /// Returns the code to close with, or `None` if the connection failed.
    pub(crate) const fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Violation(code) => Some(*code),
            Self::Io(_) => None,
        }
    }
}
