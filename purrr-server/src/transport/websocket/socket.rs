//! The server side of a WebSocket as a stream of events and a sink of messages: [`Socket`].
//!
//! Poll the stream for [`SocketEvent`]s. After each poll ask
//! [`take_activity`](Socket::take_activity) for the heartbeat, and if the poll was pending
//! [`take_unblocked`](Socket::take_unblocked) for the progress of a slow client. While messages are
//! not wanted, call [`poll_event`](Socket::poll_event) with `controls_only`. Each poll queues and
//! writes pongs. At the end call [`close_with`](Socket::close_with) or [`finish`](Socket::finish);
//! dropping the socket cuts the connection.

use std::{
    future::poll_fn,
    mem::replace,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{
    close_code::{CloseCode, check_close},
    event::{SocketError, SocketEvent},
    frame::Header,
    read::{Frame, ReadState, poll_discard},
    write::WriteState,
};
use crate::{
    limits::memory::{MemoryBudget, Reservation},
    net::stream,
    transport::message::Message,
};

/// A connection after its upgrade.
///
/// Holds no buffer while nothing is being sent or received. [`ReadState`] and
/// [`SendBuffer`](super::send_buffer::SendBuffer) have the worst case of each direction.
#[derive(Debug)]
pub(crate) struct Socket<S = stream::Stream> {
    stream: S,
    read: ReadState,
    write: WriteState,
    state: CloseState,
}

/// How far the connection is from its end.
#[derive(Debug)]
enum CloseState {
    Open,
    /// The client has sent a close. Contains the answer, before which more may be sent.
    Received(Bytes),
    /// The client is gone, or broke the protocol, or its close was answered.
    Ended,
}

/// How long the rest of what a client sends is discarded, so that it receives the close.
///
/// Without that, unread bytes would turn the close into a reset.
const LINGER: Duration = Duration::from_secs(2);

impl Socket {
    pub(super) fn new(upgraded: Upgraded, max_payload: usize, reservation: Reservation) -> Self {
        let (stream, ahead) = stream::Stream::new(upgraded);
        Self::on(stream, ahead, max_payload, reservation)
    }

    /// Sends a close and waits at most [`LINGER`] for the client to close as well.
    pub(crate) async fn close_with(mut self, code: CloseCode, reason: &'static str) {
        self.write.buffer.abandon();
        let closing = async {
            self.queue_close(code, reason);
            if self.flush().await.is_ok() {
                self.discard().await;
            }
        };
        // A client that does not close in time is cut off by the drop.
        timeout(LINGER, closing).await.ok();
    }

    /// Answers the client's own close, if it has sent one.
    pub(crate) async fn finish(mut self) {
        let closing = async {
            while let Some(Ok(_)) = self.next().await {}
            self.answer_close();
            if self.flush().await.is_ok() {
                self.discard().await;
            }
        };
        timeout(LINGER, closing).await.ok();
    }

    /// Queues a close, after which nothing else may be sent.
    fn queue_close(&mut self, code: CloseCode, reason: &str) {
        let mut payload = BytesMut::with_capacity(2 + reason.len());
        payload.put_u16(code as u16);
        payload.put_slice(reason.as_bytes());
        self.write.buffer.send(OpCode::Control(Control::Close), payload.freeze());
    }

    /// Queues the answer to the client's close, after which nothing else may be sent.
    fn answer_close(&mut self) {
        self.write.buffer.abandon();
        if let CloseState::Received(answer) = replace(&mut self.state, CloseState::Ended) {
            self.write.buffer.send(OpCode::Control(Control::Close), answer);
        }
    }

    /// Ends this side first, as RFC 6455 wants of a server, and discards what the client sends.
    async fn discard(&mut self) {
        if self.stream.shutdown().await.is_ok() {
            poll_fn(|cx| poll_discard(&mut self.stream, cx)).await;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Creates a socket on a stream of which `ahead` was read already.
    pub(super) fn on(
        stream: S,
        ahead: BytesMut,
        max_payload: usize,
        reservation: Reservation,
    ) -> Self {
        Self {
            stream,
            read: ReadState::new(ahead, max_payload, reservation),
            write: WriteState::default(),
            state: CloseState::Open,
        }
    }

    /// Returns the stream below.
    #[cfg(feature = "fuzzing")]
    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    /// Returns true if the client sent something, or took something after it was blocked, since the
    /// last call.
    pub(crate) const fn take_activity(&mut self) -> bool {
        // Not `||`, which would leave the second flag set.
        self.read.take_activity() | self.write.take_activity()
    }

    /// Returns true if the client took something after it was blocked since the last call.
    pub(crate) const fn take_unblocked(&mut self) -> bool {
        self.write.take_unblocked()
    }

    /// Returns the code of the close that the client has sent, which may have none.
    pub(super) fn client_close(&self) -> Option<Option<u16>> {
        let CloseState::Received(answer) = &self.state else { return None };
        Some(answer.first_chunk().map(|code| u16::from_be_bytes(*code)))
    }

    /// Returns the memory budget of the connection.
    pub(super) const fn budget(&self) -> &MemoryBudget {
        self.read.budget()
    }

    /// Returns true if the start of a message was read.
    pub(super) fn begins_message(&self) -> bool {
        self.read.begins_message()
    }

    /// Suspends the deadline of a message while the server does not read.
    pub(crate) const fn pause_deadline(&mut self) {
        self.read.pause_deadline();
    }

    /// Continues a write that was blocked, without reading.
    pub(crate) fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Result<(), SocketError> {
        Ok(self.write.poll_blocked(&mut self.stream, cx)?)
    }

    /// Queues a ping.
    pub(crate) fn queue_ping(&mut self) {
        self.write.buffer.send(OpCode::Control(Control::Ping), Bytes::new());
    }

    /// Polls for the next event. With `controls_only`, polls for what comes before the next
    /// message, such as a pong.
    ///
    /// Of the message itself nothing is taken then, and only what was read ahead is held.
    #[inline]
    pub(super) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        controls_only: bool,
    ) -> Poll<Option<Result<SocketEvent, SocketError>>> {
        if controls_only {
            self.pause_deadline();
        }
        if let Err(error) = self.poll_blocked(cx) {
            return Poll::Ready(self.fail(error));
        }
        while matches!(self.state, CloseState::Open) {
            let frame = ready!(self.read.poll_frame(&mut self.stream, cx, controls_only));
            if let Some(event) = self.handle_read(cx, frame) {
                return Poll::Ready(event);
            }
        }
        Poll::Ready(None)
    }

    /// Handles the result of a read. Returns what to tell, or `None` if reading goes on.
    // Out of line, since a poll that finds nothing would pay for its locals.
    #[inline(never)]
    fn handle_read(
        &mut self,
        cx: &mut Context<'_>,
        frame: Result<Option<Frame>, SocketError>,
    ) -> Option<Option<Result<SocketEvent, SocketError>>> {
        let handled = match frame {
            Ok(Some((header, payload))) => self.handle_frame(header, payload),
            Ok(None) => {
                self.state = CloseState::Ended;
                return Some(None);
            }
            Err(error) => return Some(self.fail(error)),
        };
        let event = match handled {
            Ok(event) => event,
            Err(code) => return Some(self.fail(SocketError::Violation(code))),
        };
        // What does not go out now goes when the socket is next read or flushed.
        if self.write.buffer.has_pong()
            && let Poll::Ready(Err(error)) = self.write.poll_flush(&mut self.stream, cx)
        {
            return Some(self.fail(error.into()));
        }
        event.map(|event| Some(Ok(event)))
    }

    #[cold]
    fn fail(&mut self, error: SocketError) -> Option<Result<SocketEvent, SocketError>> {
        self.state = CloseState::Ended;
        Some(Err(error))
    }

    /// Handles a frame, and returns what it was or completed. `None` if there is nothing to tell.
    fn handle_frame(
        &mut self,
        header: Header,
        payload: BytesMut,
    ) -> Result<Option<SocketEvent>, CloseCode> {
        match header.opcode {
            OpCode::Data(data) => self.read.handle_data(data, header, payload),
            OpCode::Control(Control::Ping | Control::Pong)
                if self.read.is_overdue_between_fragments() =>
            {
                Err(CloseCode::Policy)
            }
            OpCode::Control(Control::Pong) => Ok(Some(SocketEvent::Pong)),
            OpCode::Control(Control::Ping) => {
                self.write.buffer.pong(payload.freeze());
                Ok(Some(SocketEvent::Ping))
            }
            OpCode::Control(Control::Close) => {
                let code = check_close(&payload)?;
                let answer = code
                    .map_or_else(Bytes::new, |code| Bytes::copy_from_slice(&code.to_be_bytes()));
                self.state = CloseState::Received(answer);
                Ok(None)
            }
            OpCode::Control(Control::Reserved(_)) => Err(CloseCode::Protocol),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Socket<S> {
    type Item = Result<SocketEvent, SocketError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_event(cx, false)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for Socket<S> {
    type Error = SocketError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        let this = self.get_mut();
        if this.write.is_full() {
            ready!(this.write.poll_flush(&mut this.stream, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), SocketError> {
        let (data, payload) = match message {
            Message::Text(text) => (Data::Text, text.into_bytes()),
            Message::Binary(bytes) => (Data::Binary, bytes),
        };
        self.get_mut().write.buffer.send(OpCode::Data(data), payload);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        let this = self.get_mut();
        this.write.poll_flush(&mut this.stream, cx).map_err(SocketError::Io)
    }

    /// Flushes only: which close code to send is known when the session has ended.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{task::Waker, time::Duration};

    use tokio::io::{AsyncReadExt, BufWriter, DuplexStream, ReadBuf, duplex};

    use super::*;

    /// Queues a ping while the stream is blocked, and waits for no flush. Reading must send it.
    async fn blocked_ping_goes_out<S>(stream: S, mut client: DuplexStream, controls_only: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let reservation = MemoryBudget::unlimited().reservation();
        let mut socket = Socket::on(stream, BytesMut::new(), 1_000, reservation);
        socket.send(Message::Text("123456".into())).await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(socket.poll_ready_unpin(cx).is_ready());
        socket.queue_ping();
        assert!(socket.poll_flush_unpin(cx).is_pending());

        let mut said = [0; 8];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(said, *b"\x81\x06123456");
        let polled = socket.poll_event(cx, controls_only);
        assert!(polled.is_pending());
        let mut ping = [0; 2];
        let polled = Pin::new(&mut client).poll_read(cx, &mut ReadBuf::new(&mut ping));
        assert!(polled.is_ready());
        assert_eq!(ping, [0x89, 0]);
        assert!(socket.take_unblocked());
    }

    #[tokio::test]
    async fn reading_continues_blocked_write() {
        for controls_only in [false, true] {
            let (stream, client) = duplex(8);
            blocked_ping_goes_out(stream, client, controls_only).await;
        }
    }

    #[tokio::test]
    async fn reading_continues_blocked_flush() {
        for controls_only in [false, true] {
            let (stream, client) = duplex(8);
            blocked_ping_goes_out(BufWriter::new(stream), client, controls_only).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pongs_do_not_extend_message_deadline() {
        let budget = MemoryBudget::new(1_000_000, Duration::from_secs(10));
        let (stream, mut client) = duplex(1_000_000);
        let mut socket = Socket::on(stream, BytesMut::new(), 1_000_000, budget.reservation());
        let mut begun = vec![0x02, 0xff, 0, 0, 0, 0, 0, 0x01, 0x86, 0xa0, 0, 0, 0, 0];
        begun.resize(begun.len() + 100_000, 0);
        client.write_all(&begun).await.unwrap();
        let mut pongs = 0;
        loop {
            client.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
            match socket.next().await {
                Some(Ok(SocketEvent::Pong)) => pongs += 1,
                Some(Err(SocketError::Violation(CloseCode::Policy))) => break,
                other => panic!("{other:?}"),
            }
            assert!(pongs < 100, "{} bytes are held", budget.held());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // 10 s, and a second for each 8 KiB.
        assert_eq!(pongs, 10 + 100_000 / 8_192 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn small_message_has_deadline() {
        // A frame that comes a byte at a time, and fragments of a byte with pongs between them.
        let fragment: &[u8] = &[0x00, 0x81, 0, 0, 0, 0, b'x', 0x8a, 0x80, 0, 0, 0, 0];
        let stories: [(&[u8], &[u8]); 2] =
            [(&[0x82, 0xe4, 0, 0, 0, 0], b"x"), (&[0x02, 0x81, 0, 0, 0, 0, b'x'], fragment)];
        for (begin, more) in stories {
            let budget = MemoryBudget::new(1_000_000, Duration::from_secs(10));
            let (stream, mut client) = duplex(1_000);
            let mut socket = Socket::on(stream, BytesMut::new(), 1_000, budget.reservation());
            client.write_all(begin).await.unwrap();
            let began = tokio::time::Instant::now();
            let trickle = async {
                for _ in 0..50 {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    client.write_all(more).await.unwrap();
                }
            };
            let end = async {
                loop {
                    match socket.next().await {
                        Some(Ok(SocketEvent::Pong | SocketEvent::SmallFragment)) => {}
                        end => break end,
                    }
                }
            };
            tokio::select! {
                () = trickle => panic!("it went on for {:?}", began.elapsed()),
                end = end => assert!(
                    matches!(end, Some(Err(SocketError::Violation(CloseCode::Policy)))),
                    "{end:?}"
                ),
            }
            assert_eq!(began.elapsed().as_secs(), 12);
        }
    }

    #[tokio::test]
    async fn pongs_into_lower_layer_are_no_progress() {
        let (stream, mut client) = duplex(8);
        let reservation = MemoryBudget::unlimited().reservation();
        let mut socket = Socket::on(BufWriter::new(stream), BytesMut::new(), 1_000, reservation);
        socket.send(Message::Text("123456".into())).await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..100 {
            client.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), SocketEvent::Ping);
            assert!(socket.poll_next_unpin(cx).is_pending());
            assert!(!socket.take_unblocked());
        }
        assert!(socket.stream.buffer().len() <= 2, "answered once");
    }
}
