//! WebSockets: RFC 6455's handshake, framing with one size limit, and close codes.
//!
//! The crate `tungstenite` computes the accept key ([`handshake`]) and has the opcodes and the
//! formatter of frame headers ([`frame`]). Reading and the buffers are our own, because of what an
//! idle connection costs. Measured per idle connection with its session:
//!
//! | | memory |
//! |---|--:|
//! | this socket | 2.6 KB |
//! | tungstenite with a read buffer of 1 to 4 KiB | 3 to 6 KB |
//! | axum's `ws` with its defaults | 136 KB |
//!
//! - Both of tungstenite's contexts own a read buffer for each connection. Here all connections of
//!   a thread share one, and only what a message needs is copied out of it.
//! - tungstenite's `FrameHeader::parse` reads from a cursor and accepts what a server must refuse
//!   (no mask, reserved bits, long control frames). Its `CloseCode` takes 1014, which clients may
//!   send, for an error.
//! - Small payloads share blocks of 2 KiB, large ones are read to where they stay and sent from
//!   there, and both are paid for from one memory budget.

mod close_code;
mod event;
mod frame;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod handshake;
mod message_socket;
mod read;
mod send_buffer;
mod socket;
mod write;

pub(crate) use self::{
    close_code::CloseCode,
    event::{SocketError, SocketEvent},
    handshake::upgrade,
    message_socket::{LiveSocket, MessageSocket},
    socket::Socket,
};
