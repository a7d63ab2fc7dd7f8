//! A WebSocket that gives back the memory of a large message: [`Socket`].

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{
            Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use super::wire::Wire;

/// What the socket reads into; most messages are a few hundred bytes, and this much is held per connection.
const READ_BUFFER: usize = 1024;

/// Bytes of a message that go into one frame.
///
/// The library copies a frame into a buffer that keeps its size for as long as the connection lasts, so this is what a
/// picture costs everyone who ever got one. Larger frames are hardly sent any faster.
const FRAGMENT: usize = 16 * 1024;

/// How much may wait to be written: a fragment, and answers to pings that are sent and not taken.
const WRITE_BUFFER_MAX: usize = 256 * 1024;

/// Messages from here on, if they are kept, are kept apart from the buffer they were read into.
const LARGE: usize = 4 * READ_BUFFER;

/// A WebSocket on the server's side.
///
/// It holds a large message only while that is on its way: one that goes out is cut into frames when there is room for
/// them, without being copied as a whole, and the buffer that one came in is let go of. Control frames that answer the
/// client may go between the frames of a message.
pub(crate) struct Socket {
    stream: WebSocketStream<Wire>,
    /// The message that is being sent.
    outgoing: Option<Outgoing>,
    /// The large message that came last, until the stream is next read.
    incoming: Option<Bytes>,
}

/// What is left of a message that goes out in fragments.
#[derive(Debug)]
struct Outgoing {
    kind: Data,
    rest: Bytes,
}

impl Socket {
    /// Speaks WebSocket on a connection that has been upgraded. No message may exceed `max_payload` bytes.
    pub(super) async fn new(upgraded: Upgraded, max_payload: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_MAX)
            .max_message_size(Some(max_payload))
            .max_frame_size(Some(max_payload));
        let wire = Wire::new(upgraded);
        let stream = WebSocketStream::from_raw_socket(wire, Role::Server, Some(config)).await;
        Self { stream, outgoing: None, incoming: None }
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        self.stream.get_mut()
    }

    /// Gives up the message that is being sent, so that a close can follow at once.
    pub(super) fn abandon(&mut self) {
        self.outgoing = None;
    }

    /// Hands frames to the stream while there is room for them.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            // The stream would take more than it can write; a frame goes in when the one before it is out.
            ready!(self.stream.poll_flush_unpin(cx))?;
            let Some(outgoing) = &mut self.outgoing else { return Poll::Ready(Ok(())) };
            let frame = outgoing.next_frame();
            if frame.header().is_final {
                self.outgoing = None;
            }
            self.stream.start_send_unpin(Message::Frame(frame))?;
        }
    }
}

impl Stream for Socket {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let polled = this.stream.poll_next_unpin(cx);
        // The wire ends every read with a frame, so the stream needs a new buffer for the next one. Unless somebody holds
        // on to the message until then it takes the old one back, and keeps that for as long as the connection lasts.
        this.incoming = match &polled {
            Poll::Ready(Some(Ok(Message::Binary(bytes)))) => Some(bytes.clone()),
            Poll::Ready(Some(Ok(Message::Text(text)))) => Some(Bytes::from(text.clone())),
            _ => None,
        }
        .filter(|message| message.len() >= LARGE);
        polled
    }
}

impl Sink<Message> for Socket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_outgoing(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let this = self.get_mut();
        let (kind, rest) = match message {
            Message::Text(text) if text.len() > FRAGMENT => (Data::Text, text.into()),
            Message::Binary(bytes) if bytes.len() > FRAGMENT => (Data::Binary, bytes),
            message => return this.stream.start_send_unpin(message),
        };
        this.outgoing = Some(Outgoing { kind, rest });
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_outgoing(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = self.get_mut();
        ready!(this.poll_outgoing(cx))?;
        this.stream.poll_close_unpin(cx)
    }
}

impl Outgoing {
    /// Cuts off the next frame. The payload is shared, not copied.
    fn next_frame(&mut self) -> Frame {
        let payload = self.rest.split_to(self.rest.len().min(FRAGMENT));
        let kind = std::mem::replace(&mut self.kind, Data::Continue);
        Frame::message(payload, OpCode::Data(kind), self.rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of a message: their opcodes, sizes and which one is final.
    fn frames(kind: Data, payload: &Bytes) -> Vec<(OpCode, usize, bool)> {
        let mut outgoing = Outgoing { kind, rest: payload.clone() };
        let (mut frames, mut whole) = (Vec::new(), Vec::new());
        loop {
            let frame = outgoing.next_frame();
            let header = frame.header();
            frames.push((header.opcode, frame.payload().len(), header.is_final));
            assert!(payload.as_ptr_range().contains(&frame.payload().as_ptr()), "it was copied");
            whole.extend_from_slice(frame.payload());
            if frame.header().is_final {
                assert_eq!(whole, payload[..]);
                return frames;
            }
        }
    }

    #[test]
    fn a_message_is_cut_and_not_copied() {
        let payload: Bytes = (0..=255).cycle().take(2 * FRAGMENT + 1).collect();
        let rest = OpCode::Data(Data::Continue);
        for kind in [Data::Text, Data::Binary] {
            assert_eq!(
                frames(kind, &payload),
                [(OpCode::Data(kind), FRAGMENT, false), (rest, FRAGMENT, false), (rest, 1, true)]
            );
            assert_eq!(
                frames(kind, &payload.slice(1..)),
                [(OpCode::Data(kind), FRAGMENT, false), (rest, FRAGMENT, true)]
            );
        }
    }
}
