//! The read half of a socket: [`ReadState`].
//!
//! An idle connection holds no buffer. Bytes are read into one that all connections of a thread
//! share, and only what a message needs is copied out of it. A large payload is read to where it
//! stays.

use std::{
    cell::RefCell,
    io,
    mem::{replace, take},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, BytesMut};
use bytestring::ByteString;
use purrr_core::codec::__private::MAX_WASTE;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;
use tungstenite::protocol::frame::coding::Data;

use super::{
    close_code::CloseCode,
    event::{SocketError, SocketEvent},
    frame::{Header, unmask},
};
use crate::{
    limits::memory::{MemoryBudget, Reservation, SMALL_MESSAGE},
    transport::message::Message,
};

/// What was read and is not a whole message yet.
///
/// Call [`poll_frame`](Self::poll_frame) for the next frame. Give a data frame back to
/// [`handle_data`](Self::handle_data), which returns a message once its last fragment has come.
///
/// Holds no buffer between messages. Worst case: [`READ_BUFFER`] read ahead, and one message of
/// `max_payload`, if the memory budget has room for it.
#[derive(Debug)]
pub(super) struct ReadState {
    max_payload: usize,
    /// Bytes of the frames after the last one, or the start of a header.
    ahead: BytesMut,
    /// A frame whose payload is not complete.
    partial: Option<Frame>,
    /// The fragments of a message whose last fragment has not come.
    fragments: Option<Fragments>,
    /// Pays for the message that is being received.
    reservation: Reservation,
    /// Set while the message that is being received is discarded. Boxed, since it hardly ever is
    /// and each connection has room for it.
    discarding: Option<Box<Discarding>>,
    /// Set when bytes were read.
    activity: bool,
}

/// The fragments of a message.
#[derive(Debug)]
struct Fragments {
    data: Data,
    /// Bytes at the start of `whole` that are whole characters, if it is text. So narrow
    /// that it takes no room of its own beside `data`.
    valid: u32,
    whole: BytesMut,
}

/// Bytes of a message that were discarded, because the memory budget has no room for it.
#[derive(Debug, Default)]
struct Discarding {
    /// Bytes of the partial frame.
    frame: usize,
    /// Bytes of the fragments before it.
    fragments: usize,
}

/// A frame with its payload, or the part of it that was read.
pub(super) type Frame = (Header, BytesMut);

/// The result of one read.
enum Read {
    Frame(Frame),
    /// A part of a frame, which is kept.
    Part,
    End,
}

/// Bytes read at once, unless it is known how many are to come.
const READ_BUFFER: usize = 16 * 1024;

/// Size of a block that small payloads of successive messages share.
///
/// Each payload keeps its whole block from being freed. So the 256 frames that a queue holds by
/// default keep no more than half of the bytes that it may hold, and one pong keeps a block.
const BLOCK: usize = MAX_WASTE;

/// Bytes from which a payload has an allocation of its own.
const OWN_ALLOCATION: usize = BLOCK / 4;

/// Bytes below which a fragment is small: its header costs more to read than its payload.
pub(super) const SMALL_FRAGMENT: usize = 64;

/// Initial capacity for a large payload, if the memory budget has room for more than a small
/// message. It grows as bytes come, since an announced length is no proof that the client will send
/// as much.
const INITIAL_CAPACITY: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER]);

    /// The block for the next small payloads.
    static SHARED_BLOCK: RefCell<BytesMut> = RefCell::default();
}

impl ReadState {
    pub(super) const fn new(ahead: BytesMut, max_payload: usize, reservation: Reservation) -> Self {
        Self {
            max_payload,
            ahead,
            partial: None,
            fragments: None,
            reservation,
            discarding: None,
            activity: false,
        }
    }

    /// Returns true if bytes were read since the last call.
    ///
    /// An image takes minutes on a slow line, and a client cannot answer a ping in the middle of
    /// it. So every byte counts for the heartbeat.
    pub(super) const fn take_activity(&mut self) -> bool {
        replace(&mut self.activity, false)
    }

    /// Returns the memory budget of the connection.
    pub(super) const fn budget(&self) -> &MemoryBudget {
        self.reservation.budget()
    }

    /// Suspends the deadline of the message that is being received.
    pub(super) const fn pause_deadline(&mut self) {
        self.reservation.pause_deadline();
    }

    /// Returns true if the start of a message was read.
    pub(super) fn begins_message(&self) -> bool {
        let header = match &self.partial {
            Some((header, _)) => Some(*header),
            None => {
                let parsed = Header::parse(&self.ahead, usize::MAX);
                parsed.ok().flatten().map(|(header, _)| header)
            }
        };
        header.is_some_and(|header| !header.is_control())
    }

    /// Reads the next frame, unmasked. Returns `None` at the end of the stream.
    ///
    /// With `controls_only` it stays pending once a message begins, and at most [`READ_BUFFER`] of
    /// that is held.
    #[inline(never)]
    pub(super) fn poll_frame(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        controls_only: bool,
    ) -> Poll<Result<Option<Frame>, SocketError>> {
        loop {
            if controls_only && self.begins_message() {
                return Poll::Pending;
            }
            if self.partial.is_some() {
                return self.poll_partial(stream, cx);
            }
            if !self.ahead.is_empty() {
                match self.take_ahead().map_err(SocketError::Violation)? {
                    Some(frame) => return Poll::Ready(Ok(Some(frame))),
                    None if self.partial.is_some() => continue,
                    None => {}
                }
            }
            // At most the start of a header is left. The rest is read to behind it.
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                buffer.put_slice(&self.ahead);
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
                let bytes = buffer.filled();
                if bytes.len() == self.ahead.len() {
                    return Poll::Ready(Ok(Read::End));
                }
                self.activity = true;
                let taken = if controls_only { Ok(None) } else { self.take_frame(bytes) };
                match taken.map_err(SocketError::Violation)? {
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

    /// Takes the next frame from `ahead`. A frame without all of its payload becomes the partial
    /// one.
    #[inline(never)]
    fn take_ahead(&mut self) -> Result<Option<Frame>, CloseCode> {
        if let Some(frame) = self.split_ahead()? {
            return Ok(Some(frame));
        }
        let mut ahead = take(&mut self.ahead);
        let Some((used, frame)) = self.take_frame(&ahead)? else {
            self.ahead = ahead;
            return Ok(None);
        };
        ahead.advance(used);
        if !ahead.is_empty() {
            // A small rest will be shared by its messages, so it must not keep what was before.
            let small = ahead.len() <= BLOCK;
            self.ahead = if small { BytesMut::from(&ahead[..]) } else { ahead };
        }
        Ok(frame)
    }

    /// Splits the next frame off `ahead` without copying, if that is small and the frame complete.
    fn split_ahead(&mut self) -> Result<Option<Frame>, CloseCode> {
        let ahead = &mut self.ahead;
        if ahead.len() > BLOCK {
            return Ok(None);
        }
        let Some((header, begin)) = Header::parse(ahead, self.max_payload)? else {
            return Ok(None);
        };
        if ahead.len() - begin < header.length {
            return Ok(None);
        }
        ahead.advance(begin);
        let mut payload = ahead.split_to(header.length);
        if ahead.is_empty() {
            *ahead = BytesMut::new();
        }
        unmask(&mut payload, header.mask);
        Ok(Some((header, payload)))
    }

    /// Takes the frame that `bytes` begin with, and returns it with the bytes that it had.
    ///
    /// If its payload is not complete it becomes the partial frame, and `None` is in its place.
    /// Returns `None` altogether if not even the header is complete.
    fn take_frame(&mut self, bytes: &[u8]) -> Result<Option<(usize, Option<Frame>)>, CloseCode> {
        let Some((header, begin)) = Header::parse(bytes, self.max_payload)? else {
            return Ok(None);
        };
        let payload = &bytes[begin..];
        let Some(payload) = payload.get(..header.length) else {
            let mut capacity = header.length.min(INITIAL_CAPACITY.max(payload.len()));
            if capacity > SMALL_MESSAGE && !self.reserve_capacity(capacity) {
                capacity = SMALL_MESSAGE.max(payload.len());
            }
            let mut begun = BytesMut::with_capacity(capacity);
            begun.put_slice(payload);
            self.reservation.begin();
            self.partial = Some((header, begun));
            return Ok(Some((bytes.len(), None)));
        };
        let mut payload = copy_payload(payload);
        unmask(&mut payload, header.mask);
        Ok(Some((begin + header.length, Some((header, payload)))))
    }

    /// Reserves for a payload before it comes. Returns false if the budget has no room.
    #[cold]
    fn reserve_capacity(&mut self, capacity: usize) -> bool {
        let before = self.fragments.as_ref().map_or(0, |it| it.whole.len());
        self.discarding.is_none() && self.reservation.extend_to(before + capacity)
    }

    /// Reads the rest of the partial frame to where it stays.
    #[inline(never)]
    fn poll_partial(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame>, SocketError>> {
        let Some((header, payload)) = &mut self.partial else { return Poll::Ready(Ok(None)) };
        let before = self.fragments.as_ref().map_or(0, |it| it.whole.len());
        loop {
            let discarded = self.discarding.as_ref().map_or(0, |discarding| discarding.frame);
            let missing = header.length - payload.len() - discarded;
            if missing == 0 {
                break;
            }
            let discards = self.discarding.is_some() && !header.is_control();
            if payload.capacity() == payload.len() && !discards {
                let room = missing.min(payload.len());
                if self.reservation.grow_to(before + payload.len() + room) {
                    payload.reserve(room);
                } else {
                    let discarding = self.discarding.get_or_insert_default();
                    discarding.frame = take(payload).len();
                    if let Some(Fragments { whole, valid, .. }) = &mut self.fragments {
                        *valid = 0;
                        discarding.fragments += take(whole).len();
                    }
                }
            }
            // A ping between fragments of a discarded message is answered like any other.
            if let Some(discarding) = self.discarding.as_mut().filter(|_| !header.is_control()) {
                let read = SCRATCH.with_borrow_mut(|scratch| {
                    let room = missing.min(scratch.len());
                    let mut buffer = ReadBuf::new(&mut scratch[..room]);
                    ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
                    Poll::Ready(io::Result::Ok(buffer.filled().len()))
                });
                let read = ready!(read)?;
                if read == 0 {
                    return Poll::Ready(Ok(None));
                }
                self.activity = true;
                discarding.frame += read;
                let received = discarding.fragments + discarding.frame;
                if self.reservation.is_overdue(received) {
                    return Poll::Ready(Err(SocketError::Violation(CloseCode::Policy)));
                }
                continue;
            }
            let mut room = (&mut *payload).limit(missing);
            if ready!(poll_read_buf(Pin::new(&mut *stream), cx, &mut room))? == 0 {
                return Poll::Ready(Ok(None));
            }
            self.activity = true;
            if self.reservation.is_overdue(before + payload.len()) {
                return Poll::Ready(Err(SocketError::Violation(CloseCode::Policy)));
            }
        }
        let mut frame = self.partial.take();
        if let Some(discarding) = &mut self.discarding {
            discarding.frame = 0;
        }
        if let Some((header, payload)) = &mut frame {
            unmask(payload, header.mask);
            if header.is_control() && self.fragments.is_none() {
                self.reservation.discard();
            }
        }
        Poll::Ready(Ok(frame))
    }

    /// Returns true if a message has been without its next fragment for too long.
    ///
    /// Asked when a ping or a pong comes instead. A client that sends nothing at all is found by
    /// the heartbeat.
    pub(super) fn is_overdue_between_fragments(&mut self) -> bool {
        let discarded = self.discarding.as_ref().map_or(0, |discarding| discarding.fragments);
        let whole = self.fragments.as_ref().map(|it| it.whole.len() + discarded);
        whole.is_some_and(|received| self.reservation.is_overdue(received))
    }

    /// Adds a data frame to its message, and returns the message if it is complete.
    pub(super) fn handle_data(
        &mut self,
        data: Data,
        header: Header,
        payload: BytesMut,
    ) -> Result<Option<SocketEvent>, CloseCode> {
        match data {
            Data::Continue => self.handle_continuation(header, payload),
            Data::Text | Data::Binary if self.fragments.is_some() => Err(CloseCode::Protocol),
            Data::Text | Data::Binary if header.is_final => self.complete(data, payload).map(Some),
            Data::Text | Data::Binary => {
                if let Some(discarding) = &mut self.discarding {
                    discarding.fragments = header.length;
                }
                self.reservation.begin();
                let mut fragments = Fragments { data, whole: payload, valid: 0 };
                fragments.check_text()?;
                self.fragments = Some(fragments);
                Ok(None)
            }
            Data::Reserved(_) => Err(CloseCode::Protocol),
        }
    }

    #[inline(never)]
    fn handle_continuation(
        &mut self,
        header: Header,
        payload: BytesMut,
    ) -> Result<Option<SocketEvent>, CloseCode> {
        let fragments = self.fragments.take().ok_or(CloseCode::Protocol)?;
        let Fragments { data, mut whole, mut valid } = fragments;
        let discarded = self.discarding.as_ref().map_or(0, |discarding| discarding.fragments);
        let length = discarded + whole.len() + header.length;
        if length > self.max_payload {
            return Err(CloseCode::Size);
        }
        if self.discarding.is_none() && self.reservation.grow_to(length) {
            whole.put(payload);
        } else {
            self.discarding = Some(Box::new(Discarding { frame: 0, fragments: length }));
            (whole, valid) = (BytesMut::new(), 0);
        }
        if self.reservation.is_overdue(length) {
            return Err(CloseCode::Policy);
        }
        if header.is_final {
            return self.complete(data, whole).map(Some);
        }
        let mut fragments = Fragments { data, whole, valid };
        fragments.check_text()?;
        self.fragments = Some(fragments);
        Ok(match header.length {
            0 => Some(SocketEvent::EmptyFragment),
            1..SMALL_FRAGMENT => Some(SocketEvent::SmallFragment),
            _ => None,
        })
    }

    fn complete(&mut self, data: Data, payload: BytesMut) -> Result<SocketEvent, CloseCode> {
        if self.discarding.take().is_some() {
            self.reservation.discard();
            return Ok(SocketEvent::Refused);
        }
        let payload = self.reservation.attach(payload);
        if data == Data::Binary {
            return Ok(SocketEvent::Message(Message::Binary(payload)));
        }
        let text = ByteString::try_from(payload).map_err(|_| CloseCode::Invalid)?;
        Ok(SocketEvent::Message(Message::Text(text)))
    }
}

impl Fragments {
    /// Refuses text that cannot become UTF-8 any more.
    ///
    /// So a fault is told at the end of its frame, and not of its message. Within a frame it is not
    /// looked for: a payload is unmasked once, when it is complete.
    fn check_text(&mut self) -> Result<(), CloseCode> {
        // A message of 4 GiB is checked at its end alone.
        if self.data != Data::Text || self.whole.len() > u32::MAX as usize {
            return Ok(());
        }
        match std::str::from_utf8(&self.whole[self.valid as usize..]) {
            Ok(text) => self.valid += text.len() as u32,
            Err(fault) if fault.error_len().is_none() => {
                self.valid += fault.valid_up_to() as u32;
            }
            Err(_) => return Err(CloseCode::Invalid),
        }
        Ok(())
    }
}

/// Copies a payload to where it stays: into the shared block if it is small.
fn copy_payload(payload: &[u8]) -> BytesMut {
    if payload.len() >= OWN_ALLOCATION {
        return payload.into();
    }
    SHARED_BLOCK.with_borrow_mut(|block| {
        if block.capacity() < payload.len() {
            // Reuses the allocation if no payload refers to it any longer.
            block.reserve(BLOCK);
        }
        block.extend_from_slice(payload);
        block.split()
    })
}

/// Reads and discards whatever comes until the end of the stream.
///
/// Into the shared buffer: one of its own would be part of every session's future.
pub(super) fn poll_discard(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
) -> Poll<()> {
    SCRATCH.with_borrow_mut(|scratch| {
        loop {
            let mut buffer = ReadBuf::new(scratch);
            let polled = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
            if ready!(polled).is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    })
}
