//! A WebSocket's server side as a stream and a sink of messages: [`Socket`].
//!
//! Own code, because the libraries there are keep a read buffer for each connection and copy what they send. Here an
//! idle connection holds no buffer at all: what comes is read into one that the connections of a thread share, and
//! only what a message needs is copied out of it. A large message is read to where it stays, and sent from there.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    mem::take,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use futures::{Sink, Stream};
use hyper::upgrade::Upgraded;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::{
    CloseCode,
    frame::{Head, Opcode, check_close, unmask},
    send_buffer::Outbox,
};
use crate::{limits::memory::Reservation, net::stream::Stream as Wire};

/// What goes over a [`Socket`]. A close ends the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Text, which has been checked to be UTF-8.
    Text(ByteString),
    Binary(Bytes),
    /// Asks whether the other side is there. What a client asks has been answered by the time it is read.
    Ping,
    /// An answer, which is only ever read: the socket gives its own.
    Pong,
    /// A message for which there was no room; only ever read.
    Refused,
    /// A fragment with nothing in it, which nobody has a use for, and is only ever read.
    Nothing,
}

impl Message {
    /// Bytes of its payload.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Ping | Self::Pong | Self::Refused | Self::Nothing => 0,
        }
    }
}

/// Why a [`Socket`] is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// The client broke the protocol, or a limit; the code to close with.
    #[error("the client's frames ask for a close with {}", *.0 as u16)]
    Fault(CloseCode),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A connection after its upgrade.
///
/// Holds no buffer while nothing is under way. In the worst case it holds one message of `max_payload` that is coming
/// in, if there is room for it in what all connections have together, and [`READ_BUFFER`] that was read ahead, and on
/// the way out what its [`Outbox`] does.
#[derive(Debug)]
pub(crate) struct Socket<W = Wire> {
    wire: W,
    max_payload: usize,
    /// Bytes that were read and belong to frames after the last one, or the beginning of a head.
    ahead: BytesMut,
    /// A frame whose payload has not come to its end.
    partial: Option<Frame>,
    /// A message whose last fragment has not come.
    fragments: Option<(Opcode, BytesMut)>,
    /// For the message that is coming. If there is no room for that, what comes of it is thrown away, of the partial frame
    /// so many bytes by now, and so many of the fragments before.
    reservation: Reservation,
    refused: bool,
    skipped: usize,
    discarded: usize,
    out: Outbox,
    /// The connection took no more than it did; until it does, nothing is added.
    blocked: bool,
    /// A layer below, such as TLS, has not passed on all that it took.
    flushing: bool,
    /// The client has said goodbye, or is gone.
    over: bool,
    /// The answer to the client's goodbye. Whoever has the socket may have something to say before it.
    goodbye: Option<Bytes>,
    moved: bool,
    /// Something was written after there was no room for it.
    unblocked: bool,
}

/// A frame and its payload, or what of it has come.
type Frame = (Head, BytesMut);

/// What one look at the connection gave.
enum Read {
    Frame(Frame),
    /// Part of one, which is kept.
    Part,
    /// The end of the stream.
    End,
}

/// How much is read at once, where it is not known how much will come.
const READ_BUFFER: usize = 16 * 1024;

/// Up to so many bytes of messages that came one after the other lie together. Each then keeps all of that from being
/// freed: as many as a queue takes by default, 256, no more than half of the bytes that it takes, and the beginning of a
/// message or a pong so much.
const SHARED: usize = 2 * 1024;

/// From so many bytes on a payload lies by itself.
const ALONE: usize = SHARED / 4;

/// How much room a large payload is given to begin with. More comes as it is filled: who announces much has sent nothing yet.
const FIRST_ROOM: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER]);

    /// Room for the next small payloads.
    static ROOM: RefCell<BytesMut> = RefCell::default();
}

/// Copies a payload to where it stays.
fn keep(payload: &[u8]) -> BytesMut {
    if payload.len() >= ALONE {
        return payload.into();
    }
    ROOM.with_borrow_mut(|room| {
        if room.capacity() < payload.len() {
            // What was there before is used again if nobody has a part of it any more.
            room.reserve(SHARED);
        }
        room.extend_from_slice(payload);
        room.split()
    })
}

impl Socket {
    pub(super) fn new(upgraded: Upgraded, max_payload: usize, reservation: Reservation) -> Self {
        let (wire, ahead) = Wire::new(upgraded);
        Self::on(wire, ahead, max_payload, reservation)
    }
}

impl<W: AsyncRead + AsyncWrite + Unpin> Socket<W> {
    /// On this connection, of which so much was read already.
    pub(super) fn on(
        wire: W,
        ahead: BytesMut,
        max_payload: usize,
        reservation: Reservation,
    ) -> Self {
        Self {
            wire,
            max_payload,
            ahead,
            partial: None,
            fragments: None,
            reservation,
            refused: false,
            skipped: 0,
            discarded: 0,
            out: Outbox::default(),
            blocked: false,
            flushing: false,
            over: false,
            goodbye: None,
            moved: false,
            unblocked: false,
        }
    }

    /// Gives the connection back.
    #[cfg(feature = "fuzzing")]
    pub(super) fn into_wire(self) -> W {
        self.wire
    }

    /// Whether anything has moved since this was last asked.
    ///
    /// A picture takes minutes on a slow line, and nobody can answer a ping in the midst of it; its bytes are the sign
    /// of life.
    pub(crate) fn take_moved(&mut self) -> bool {
        take(&mut self.moved)
    }

    /// Whether the other side has taken something, after it had not, since this was last asked.
    pub(crate) fn take_unblocked(&mut self) -> bool {
        take(&mut self.unblocked)
    }

    /// Gives up the message that is being sent, so that a close can follow at once.
    pub(super) fn abandon(&mut self) {
        self.out.abandon();
    }

    /// Queues a close, after which nothing else may be sent.
    pub(super) fn queue_close(&mut self, code: CloseCode, reason: &str) {
        let mut payload = BytesMut::with_capacity(2 + reason.len());
        payload.put_u16(code as u16);
        payload.put_slice(reason.as_bytes());
        self.out.send(Opcode::Close, payload.freeze());
    }

    /// Queues the answer to the client's goodbye, if it said one. After it nothing else may be sent.
    pub(super) fn answer_close(&mut self) {
        self.abandon();
        if let Some(code) = self.goodbye.take() {
            self.out.send(Opcode::Close, code);
        }
    }

    /// Ends this side, as RFC 6455 wants of the server first, and reads what is left of the other.
    pub(super) async fn discard(&mut self) {
        if self.wire.shutdown().await.is_err() {
            return;
        }
        // Not into a buffer of its own, for which every session would have room from its beginning.
        poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                loop {
                    let mut buffer = ReadBuf::new(scratch);
                    let polled = Pin::new(&mut self.wire).poll_read(cx, &mut buffer);
                    if ready!(polled).is_err() || buffer.filled().is_empty() {
                        return Poll::Ready(());
                    }
                }
            })
        })
        .await;
    }

    /// Polls for what comes before the next message, such as the answer to a ping. No part of the message is taken, and
    /// what was read of it, [`READ_BUFFER`] at most, is kept.
    pub(super) fn poll_controls(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, SocketError>>> {
        self.pause_deadline();
        self.poll_messages(cx, true)
    }

    /// What comes is not read now, for a reason that is not the client's.
    pub(crate) const fn pause_deadline(&mut self) {
        self.reservation.pause_deadline();
    }

    /// Whether a message has begun to come.
    pub(super) fn begins_message(&self) -> bool {
        let head = match &self.partial {
            Some((head, _)) => Some(*head),
            None => Head::read(&self.ahead, usize::MAX).ok().flatten().map(|(head, _)| head),
        };
        head.is_some_and(|head| !head.opcode.is_control())
    }

    /// Reads the next frame, with its mask taken off. `None` if the client is gone.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        controls_only: bool,
    ) -> Poll<Result<Option<Frame>, SocketError>> {
        loop {
            if controls_only && self.begins_message() {
                return Poll::Pending;
            }
            if self.partial.is_some() {
                return self.poll_rest(cx);
            }
            if !self.ahead.is_empty() {
                match self.take_ahead().map_err(SocketError::Fault)? {
                    Some(frame) => return Poll::Ready(Ok(Some(frame))),
                    None if self.partial.is_some() => continue,
                    None => {}
                }
            }
            // Nothing but the beginning of a head is left, and the rest of it is read to behind that.
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                buffer.put_slice(&self.ahead);
                ready!(Pin::new(&mut self.wire).poll_read(cx, &mut buffer))?;
                let bytes = buffer.filled();
                if bytes.len() == self.ahead.len() {
                    return Poll::Ready(Ok(Read::End));
                }
                self.moved = true;
                let taken = if controls_only { Ok(None) } else { self.take_frame(bytes) };
                match taken.map_err(SocketError::Fault)? {
                    None => self.ahead = bytes.into(),
                    Some((used, frame)) => {
                        self.ahead = bytes[used..].into();
                        if let Some(frame) = frame {
                            return Poll::Ready(Ok(Read::Frame(frame)));
                        }
                    }
                }
                Poll::Ready(Ok::<_, SocketError>(Read::Part))
            });
            match ready!(read)? {
                Read::Frame(frame) => return Poll::Ready(Ok(Some(frame))),
                Read::Part => {}
                Read::End => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Takes the next frame off what was read ahead. If it is not whole, but its head is, it becomes the partial one.
    #[inline(never)]
    fn take_ahead(&mut self) -> Result<Option<Frame>, CloseCode> {
        if let Some(frame) = self.split_frame()? {
            return Ok(Some(frame));
        }
        let mut ahead = take(&mut self.ahead);
        let Some((used, frame)) = self.take_frame(&ahead)? else {
            self.ahead = ahead;
            return Ok(None);
        };
        ahead.advance(used);
        if !ahead.is_empty() {
            // What is little is shared by the messages in it, and must not keep what was before.
            let little = ahead.len() <= SHARED;
            self.ahead = if little { BytesMut::from(&ahead[..]) } else { ahead };
        }
        Ok(frame)
    }

    /// Takes the next frame off what was read ahead without copying it, if it is there and that is little.
    fn split_frame(&mut self) -> Result<Option<Frame>, CloseCode> {
        let ahead = &mut self.ahead;
        if ahead.len() > SHARED {
            return Ok(None);
        }
        let Some((head, begin)) = Head::read(ahead, self.max_payload)? else { return Ok(None) };
        if ahead.len() - begin < head.length {
            return Ok(None);
        }
        ahead.advance(begin);
        let mut payload = ahead.split_to(head.length);
        if ahead.is_empty() {
            *ahead = BytesMut::new();
        }
        unmask(&mut payload, head.mask);
        Ok(Some((head, payload)))
    }

    /// Takes the frame that `bytes` begin with and returns how many of them it had. A frame that is not whole becomes
    /// the partial one, and there is `None` in its place. Nothing at all if not even the head is whole.
    fn take_frame(&mut self, bytes: &[u8]) -> Result<Option<(usize, Option<Frame>)>, CloseCode> {
        let Some((head, begin)) = Head::read(bytes, self.max_payload)? else { return Ok(None) };
        let payload = &bytes[begin..];
        let Some(payload) = payload.get(..head.length) else {
            let mut begun = BytesMut::with_capacity(head.length.min(FIRST_ROOM.max(payload.len())));
            begun.put_slice(payload);
            self.partial = Some((head, begun));
            return Ok(Some((bytes.len(), None)));
        };
        let mut payload = keep(payload);
        unmask(&mut payload, head.mask);
        Ok(Some((begin + head.length, Some((head, payload)))))
    }

    /// Reads the rest of a frame to where it stays.
    #[inline(never)]
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, SocketError>> {
        let Some((head, payload)) = &mut self.partial else { return Poll::Ready(Ok(None)) };
        let before = self.fragments.as_ref().map_or(0, |(_, whole)| whole.len());
        while payload.len() + self.skipped < head.length {
            let missing = head.length - payload.len() - self.skipped;
            if payload.capacity() == payload.len() && (!self.refused || head.opcode.is_control()) {
                let room = missing.min(payload.len());
                if self.reservation.grow_to(before + payload.len() + room) {
                    payload.reserve(room);
                } else {
                    self.refused = true;
                    self.skipped = take(payload).len();
                    if let Some((_, whole)) = &mut self.fragments {
                        self.discarded += take(whole).len();
                    }
                }
            }
            // A ping in the midst of what is refused is answered as it came.
            if self.refused && !head.opcode.is_control() {
                let read = SCRATCH.with_borrow_mut(|scratch| {
                    let room = missing.min(scratch.len());
                    let mut buffer = ReadBuf::new(&mut scratch[..room]);
                    ready!(Pin::new(&mut self.wire).poll_read(cx, &mut buffer))?;
                    Poll::Ready(io::Result::Ok(buffer.filled().len()))
                });
                let read = ready!(read)?;
                if read == 0 {
                    return Poll::Ready(Ok(None));
                }
                self.moved = true;
                self.skipped += read;
                continue;
            }
            let mut room = (&mut *payload).limit(missing);
            if ready!(poll_read_buf(Pin::new(&mut self.wire), cx, &mut room))? == 0 {
                return Poll::Ready(Ok(None));
            }
            self.moved = true;
            if self.reservation.is_overdue(before + payload.len()) {
                return Poll::Ready(Err(SocketError::Fault(CloseCode::Policy)));
            }
        }
        let mut frame = self.partial.take();
        self.skipped = 0;
        if let Some((head, payload)) = &mut frame {
            unmask(payload, head.mask);
        }
        Poll::Ready(Ok(frame))
    }

    /// Makes of a frame what it is part of. `None` if there is no message yet.
    fn handle_frame(
        &mut self,
        head: Head,
        payload: BytesMut,
    ) -> Result<Option<Message>, CloseCode> {
        match head.opcode {
            Opcode::Ping | Opcode::Pong if self.stops_between_fragments() => Err(CloseCode::Policy),
            Opcode::Pong => Ok(Some(Message::Pong)),
            Opcode::Ping => {
                self.out.answer(payload.freeze());
                Ok(Some(Message::Ping))
            }
            Opcode::Close => {
                let code = check_close(&payload)?;
                let code = code
                    .map_or_else(Bytes::new, |code| Bytes::copy_from_slice(&code.to_be_bytes()));
                self.goodbye = Some(code);
                self.over = true;
                Ok(None)
            }
            Opcode::Text | Opcode::Binary if self.fragments.is_some() => Err(CloseCode::Protocol),
            Opcode::Text | Opcode::Binary if head.last => {
                self.complete(head.opcode, payload).map(Some)
            }
            Opcode::Text | Opcode::Binary => {
                self.discarded = if self.refused { head.length } else { 0 };
                self.fragments = Some((head.opcode, payload));
                Ok(None)
            }
            Opcode::Continuation => self.handle_continuation(head, payload),
        }
    }

    /// Whether a message has been without its next fragment for too long. Asked when something else comes, since whoever
    /// sends nothing at all is found by the heartbeat.
    fn stops_between_fragments(&mut self) -> bool {
        self.fragments.as_ref().is_some_and(|(_, whole)| self.reservation.is_overdue(whole.len()))
    }

    #[inline(never)]
    fn handle_continuation(
        &mut self,
        head: Head,
        payload: BytesMut,
    ) -> Result<Option<Message>, CloseCode> {
        let (opcode, mut whole) = self.fragments.take().ok_or(CloseCode::Protocol)?;
        let length = self.discarded + whole.len() + head.length;
        if length > self.max_payload {
            return Err(CloseCode::Size);
        }
        if !self.refused && self.reservation.grow_to(length) {
            whole.put(payload);
            if self.reservation.is_overdue(length) {
                return Err(CloseCode::Policy);
            }
        } else {
            (self.refused, self.discarded, whole) = (true, length, BytesMut::new());
        }
        if head.last {
            return self.complete(opcode, whole).map(Some);
        }
        self.fragments = Some((opcode, whole));
        Ok((head.length == 0).then_some(Message::Nothing))
    }

    fn complete(&mut self, opcode: Opcode, payload: BytesMut) -> Result<Message, CloseCode> {
        if take(&mut self.refused) {
            self.discarded = 0;
            return Ok(Message::Refused);
        }
        let payload = self.reservation.attach(payload);
        if opcode == Opcode::Binary {
            return Ok(Message::Binary(payload));
        }
        ByteString::try_from(payload).map(Message::Text).map_err(|_| CloseCode::Invalid)
    }

    /// Goes on writing what there was no room for. Pings, and answers to them, are sent without anybody who waits for their
    /// flush, so whoever reads does this, too.
    pub(crate) fn poll_blocked(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.blocked
            && let Poll::Ready(Err(error)) = self.poll_write_out(cx)
        {
            return Err(error);
        }
        Ok(())
    }

    /// Writes until nothing is left, neither here nor in a layer below such as TLS, or the connection takes no more.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // What waits below goes first: to take more there is no sign that the other side has taken anything.
            if self.flushing || !self.out.refill() {
                let flushed = Pin::new(&mut self.wire).poll_flush(cx);
                self.flushing = flushed.is_pending();
                self.note_room(!self.flushing);
                ready!(flushed)?;
                if !self.out.refill() {
                    return Poll::Ready(Ok(()));
                }
            }
            let written = self.out.poll_write(Pin::new(&mut self.wire), cx);
            self.note_room(written.is_ready());
            if ready!(written)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
    }

    /// The connection had room, or had none. Room after there was none means that the other side has taken something.
    fn note_room(&mut self, room: bool) {
        self.unblocked |= self.blocked && room;
        self.moved |= self.unblocked;
        self.blocked = !room;
    }
}

impl<W: AsyncRead + AsyncWrite + Unpin> Socket<W> {
    fn poll_messages(
        &mut self,
        cx: &mut Context<'_>,
        controls_only: bool,
    ) -> Poll<Option<Result<Message, SocketError>>> {
        if let Err(error) = self.poll_blocked(cx) {
            self.over = true;
            return Poll::Ready(Some(Err(error.into())));
        }
        while !self.over {
            let frame = match ready!(self.poll_frame(cx, controls_only)) {
                Ok(frame) => frame,
                Err(error) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            let Some((head, payload)) = frame else {
                self.over = true;
                return Poll::Ready(None);
            };
            match self.handle_frame(head, payload) {
                Ok(message) => {
                    // What does not go out now goes when the socket is next read or flushed.
                    if self.out.has_answer()
                        && let Poll::Ready(Err(error)) = self.poll_write_out(cx)
                    {
                        self.over = true;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    if let Some(message) = message {
                        return Poll::Ready(Some(Ok(message)));
                    }
                }
                Err(code) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(SocketError::Fault(code))));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl<W: AsyncRead + AsyncWrite + Unpin> Stream for Socket<W> {
    type Item = Result<Message, SocketError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_messages(cx, false)
    }
}

impl<W: AsyncRead + AsyncWrite + Unpin> Sink<Message> for Socket<W> {
    type Error = SocketError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        let this = self.get_mut();
        if this.blocked || this.out.is_full() {
            ready!(this.poll_write_out(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), SocketError> {
        let this = self.get_mut();
        let (opcode, payload) = match message {
            Message::Text(text) => (Opcode::Text, text.into_bytes()),
            Message::Binary(bytes) => (Opcode::Binary, bytes),
            Message::Ping => (Opcode::Ping, Bytes::new()),
            Message::Pong | Message::Refused | Message::Nothing => return Ok(()),
        };
        this.out.send(opcode, payload);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.get_mut().poll_write_out(cx).map_err(SocketError::Io)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{task::Waker, time::Duration};

    use futures::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, BufWriter, DuplexStream, duplex};

    use super::*;
    use crate::limits::memory::MemoryBudget;

    /// Sent by somebody who does not wait for it to be flushed, while there is no room; nobody sends anything afterwards.
    async fn what_was_blocked_goes_out<W>(wire: W, mut client: DuplexStream, controls_only: bool)
    where
        W: AsyncRead + AsyncWrite + Unpin,
    {
        let reservation = MemoryBudget::unlimited().reservation();
        let mut socket = Socket::on(wire, BytesMut::new(), 1_000, reservation);
        socket.send(Message::Text("123456".into())).await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(socket.poll_ready_unpin(cx).is_ready());
        socket.start_send_unpin(Message::Ping).unwrap();
        assert!(socket.poll_flush_unpin(cx).is_pending());

        let mut said = [0; 8];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(said, *b"\x81\x06123456");
        let polled =
            if controls_only { socket.poll_controls(cx) } else { socket.poll_next_unpin(cx) };
        assert!(polled.is_pending());
        let mut ping = [0; 2];
        let polled = Pin::new(&mut client).poll_read(cx, &mut ReadBuf::new(&mut ping));
        assert!(polled.is_ready());
        assert_eq!(ping, [0x89, 0]);
        assert!(socket.take_unblocked());
    }

    #[tokio::test]
    async fn what_was_blocked_goes_out_when_the_socket_is_read() {
        for controls_only in [false, true] {
            let (wire, client) = duplex(8);
            what_was_blocked_goes_out(wire, client, controls_only).await;
        }
    }

    #[tokio::test]
    async fn what_a_layer_below_holds_goes_out_too() {
        for controls_only in [false, true] {
            let (wire, client) = duplex(8);
            what_was_blocked_goes_out(BufWriter::new(wire), client, controls_only).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_stops_between_fragments_is_overdue_whatever_pongs_come() {
        let budget = MemoryBudget::new(1_000_000, Duration::from_secs(10));
        let (wire, mut client) = duplex(1_000_000);
        let mut socket = Socket::on(wire, BytesMut::new(), 1_000_000, budget.reservation());
        let mut begun = vec![0x02, 0xff, 0, 0, 0, 0, 0, 0x01, 0x86, 0xa0, 0, 0, 0, 0];
        begun.resize(begun.len() + 100_000, 0);
        client.write_all(&begun).await.unwrap();
        let mut pongs = 0;
        loop {
            client.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
            match socket.next().await {
                Some(Ok(Message::Pong)) => pongs += 1,
                Some(Err(SocketError::Fault(CloseCode::Policy))) => break,
                other => panic!("{other:?}"),
            }
            assert!(pongs < 100, "{} bytes are held", budget.held());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // 10 s, and as long as the slowest line needs for what has come.
        assert_eq!(pongs, 10 + 100_000 / 8_192 + 1);
    }

    #[tokio::test]
    async fn pings_of_somebody_who_never_reads_are_no_progress_whatever_a_layer_below_takes() {
        let (wire, mut client) = duplex(8);
        let reservation = MemoryBudget::unlimited().reservation();
        let mut socket = Socket::on(BufWriter::new(wire), BytesMut::new(), 1_000, reservation);
        socket.send(Message::Text("123456".into())).await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..100 {
            client.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::Ping);
            assert!(socket.poll_next_unpin(cx).is_pending());
            assert!(!socket.take_unblocked());
        }
        assert!(socket.wire.buffer().len() <= 2, "answered once");
    }
}
