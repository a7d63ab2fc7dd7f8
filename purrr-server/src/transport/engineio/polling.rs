//! A session on HTTP long-polling: what its requests and its task share.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::{
    collections::VecDeque,
    mem::take,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use bytestring::ByteString;
use purrr_core::codec::json;
use tokio::sync::{Notify, oneshot};

use super::{Incoming, Outgoing};
use crate::{
    limits::{lock, memory::MemoryBudget},
    transport::websocket::Socket,
};

/// Bytes that may wait for the next poll before the session is asked for patience. A larger packet goes alone.
const OUTBOUND_MAX: usize = 1024 * 1024;

/// Packets in one request: more than the client library puts there, and few enough to cost nothing.
const PACKETS_MAX: usize = 16_384;

const SEPARATOR: char = '\u{1e}';

/// What the requests of one session and the task that runs it share.
///
/// Bounded: what came in is one request's packets, since the next request is answered only when they are taken; what goes
/// out is [`OUTBOUND_MAX`] or one packet.
#[derive(Debug)]
pub(super) struct Polling {
    budget: MemoryBudget,
    state: Mutex<State>,
    /// The session has taken what the last request brought.
    taken: Notify,
}

#[derive(Default)]
struct State {
    inbound: Inbound,
    outbound: VecDeque<Outgoing>,
    outbound_bytes: usize,
    /// The request that waits for something to send.
    poll: Option<oneshot::Sender<Bytes>>,
    posting: bool,
    /// Something has come, if not yet a whole packet, since this was last asked.
    moved: bool,
    /// A WebSocket is about to take over, and has not probed yet.
    attempted: bool,
    upgrading: bool,
    /// The WebSocket that takes over, until the session has taken it.
    successor: Option<Box<Socket>>,
    closed: bool,
    session: Option<Waker>,
}

/// The request broke the rules, and the session with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// The WebSocket that takes a session over, and what was under way on polls.
pub(super) struct Successor {
    pub(super) socket: Box<Socket>,
    pub(super) inbound: Inbound,
    pub(super) outbound: VecDeque<Outgoing>,
}

/// The packets of one request, which are slices of its body.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    packets: VecDeque<Incoming>,
    body_bytes: usize,
}

impl Polling {
    pub(super) fn new(budget: MemoryBudget) -> Self {
        Self { budget, state: Mutex::default(), taken: Notify::new() }
    }

    pub(super) const fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// A request asks for what there is to send. The receiver fails if the session ends first.
    pub(super) fn poll(&self) -> Result<oneshot::Receiver<Bytes>, Broken> {
        let mut state = self.lock();
        if state.closed {
            return Err(Broken);
        }
        if let Some(other) = state.poll.take() {
            // Two at once would share the packets between them in an order that nobody knows.
            other.send(Bytes::from_static(b"1")).ok();
            state.close();
            self.taken.notify_waiters();
            return Err(Broken);
        }
        let (answer, answered) = oneshot::channel();
        state.poll = Some(answer);
        state.answer_poll(&self.budget);
        Ok(answered)
    }

    /// A request is about to bring packets in. Two at once would be read in an order that nobody knows, and hold what a
    /// session may hold twice.
    pub(super) fn begin_post(&self) -> Result<(), Broken> {
        let mut state = self.lock();
        if state.closed || state.posting {
            state.close();
            self.taken.notify_waiters();
            return Err(Broken);
        }
        state.posting = true;
        Ok(())
    }

    /// Brings in that request's packets and waits until the session has taken them all.
    pub(super) async fn post(&self, packets: Inbound) -> Result<(), Broken> {
        {
            let mut state = self.lock();
            if state.closed {
                return Err(Broken);
            }
            state.inbound = packets;
            state.wake();
        }
        loop {
            let taken = self.taken.notified();
            {
                let mut state = self.lock();
                if state.inbound.packets.is_empty() || state.closed {
                    state.posting = false;
                    return Ok(());
                }
            }
            taken.await;
        }
    }

    /// Some of a request's body has come.
    pub(super) fn hear(&self) {
        let mut state = self.lock();
        state.moved = true;
        state.wake();
    }

    /// Whether anything has come since this was last asked.
    pub(super) fn take_moved(&self) -> bool {
        std::mem::take(&mut self.lock().moved)
    }

    /// A WebSocket would like to take this session over.
    pub(super) fn begin_attempt(&self) -> Result<(), Broken> {
        let mut state = self.lock();
        if state.closed || state.attempted || state.upgrading {
            return Err(Broken);
        }
        state.attempted = true;
        Ok(())
    }

    /// It has, or has given up.
    pub(super) fn end_attempt(&self) {
        let mut state = self.lock();
        state.attempted = false;
        state.upgrading = state.successor.is_some();
    }

    /// A WebSocket has probed: polls are let go of, so that the client can change over.
    pub(super) fn begin_upgrade(&self) -> Result<(), Broken> {
        let mut state = self.lock();
        if state.closed {
            return Err(Broken);
        }
        state.upgrading = true;
        state.answer_poll(&self.budget);
        Ok(())
    }

    /// The client has changed over.
    pub(super) fn finish_upgrade(&self, socket: Box<Socket>) {
        let mut state = self.lock();
        state.successor = Some(socket);
        state.wake();
    }

    pub(super) fn close(&self) {
        self.lock().close();
        self.taken.notify_waiters();
    }

    /// The WebSocket that has taken over, once. Polling is over then.
    ///
    /// Asked for before anything else: once a client has changed over it polls no more, and to wait for a poll then is to
    /// wait for ever.
    pub(super) fn take_successor(&self) -> Option<Successor> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let socket = state.successor.take()?;
        let (inbound, outbound) = (take(&mut state.inbound), take(&mut state.outbound));
        state.close();
        self.taken.notify_waiters();
        Some(Successor { socket, inbound, outbound })
    }

    /// What the client sent. `None` when the session is over.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Incoming>> {
        let mut state = self.lock();
        if let Some(packet) = state.inbound.next(&self.budget) {
            if packet == Incoming::Close {
                // The client has said so itself: its poll is let go of.
                state.end("6");
            }
            if state.inbound.packets.is_empty() {
                self.taken.notify_waiters();
            }
            return Poll::Ready(Some(packet));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.session = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready with whether the session goes on when there is room for a packet.
    pub(super) fn poll_ready(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(false);
        }
        if state.outbound_bytes >= OUTBOUND_MAX {
            state.answer_poll(&self.budget);
        }
        if state.outbound_bytes < OUTBOUND_MAX {
            return Poll::Ready(true);
        }
        state.session = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn send(&self, packet: Outgoing) {
        let mut state = self.lock();
        state.outbound_bytes += packet.len();
        state.outbound.push_back(packet);
    }

    /// Ready when a poll has taken everything.
    pub(super) fn poll_flush(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        state.answer_poll(&self.budget);
        if state.outbound.is_empty() || state.closed {
            return Poll::Ready(());
        }
        state.session = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Inbound {
    pub(super) fn read(body: Bytes, budget: &MemoryBudget) -> Result<Self, Broken> {
        let body_bytes = body.len();
        Ok(Self { packets: split(body, budget)?.into(), body_bytes })
    }

    /// What there is instead of a body for which there was no room.
    pub(super) fn refused() -> Self {
        Self { packets: [Incoming::Refused].into(), body_bytes: 0 }
    }

    /// The next packet, copied if it would keep much more of the body than itself: until it is taken, the body pays for it.
    pub(super) fn next(&mut self, budget: &MemoryBudget) -> Option<Incoming> {
        Some(match self.packets.pop_front()? {
            Incoming::Text(text) if !json::is_most_of(text.len(), self.body_bytes) => {
                Incoming::Text(budget.hold_text(text.to_string()))
            }
            packet => packet,
        })
    }
}

impl State {
    fn answer_poll(&mut self, budget: &MemoryBudget) {
        if self.outbound.is_empty() && !self.upgrading {
            return;
        }
        let Some(poll) = self.poll.take() else { return };
        let payload = match self.outbound.is_empty() {
            true => Bytes::from_static(b"6"),
            false => budget.hold(join(&self.outbound).into_bytes()),
        };
        if poll.send(payload).is_err() {
            // The client gave the request up: what it would have carried is kept, and the session ends.
            self.close();
            return;
        }
        self.outbound.clear();
        self.outbound_bytes = 0;
        self.wake();
    }

    fn close(&mut self) {
        self.end("1");
    }

    /// Closes the session, and answers the poll that waits.
    fn end(&mut self, last: &'static str) {
        self.closed = true;
        if let Some(poll) = self.poll.take() {
            poll.send(Bytes::from_static(last.as_bytes())).ok();
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.session.take() {
            waker.wake();
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("inbound", &self.inbound.packets.len())
            .field("outbound_bytes", &self.outbound_bytes)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// The packets of one request.
fn split(body: Bytes, budget: &MemoryBudget) -> Result<Vec<Incoming>, Broken> {
    let body = ByteString::try_from(body).map_err(|_| Broken)?;
    let mut packets = Vec::new();
    for packet in body.split(SEPARATOR) {
        if packets.len() == PACKETS_MAX {
            return Err(Broken);
        }
        packets.push(match packet.strip_prefix('b') {
            Some(base64) => {
                let bytes = BASE64_STANDARD.decode(base64).map_err(|_| Broken)?;
                Incoming::Binary(budget.hold(bytes))
            }
            None => Incoming::read(body.slice_ref(packet)).ok_or(Broken)?,
        });
    }
    Ok(packets)
}

fn join(packets: &VecDeque<Outgoing>) -> String {
    let mut payload = String::with_capacity(packets.iter().map(|packet| packet.len() + 1).sum());
    for packet in packets {
        if !payload.is_empty() {
            payload.push(SEPARATOR);
        }
        match packet {
            Outgoing::Text(text) => payload.push_str(text),
            Outgoing::Binary(bytes) => {
                payload.push('b');
                BASE64_STANDARD.encode_string(bytes, &mut payload);
            }
        }
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> MemoryBudget {
        MemoryBudget::unlimited()
    }

    #[test]
    fn a_payload_is_split_at_its_separators() {
        let packets =
            split(Bytes::from_static("4héllo\u{1e}3\u{1e}bAQI=".as_bytes()), &budget()).unwrap();
        assert_eq!(
            packets,
            [
                Incoming::Text("héllo".into()),
                Incoming::Pong,
                Incoming::Binary(Bytes::from_static(&[1, 2]))
            ]
        );
        for wrong in ["", "abc", "b!", "4a\u{1e}\u{1e}4b", "9", "0{}", "bAQI"] {
            assert_eq!(
                split(Bytes::from_static(wrong.as_bytes()), &budget()),
                Err(Broken),
                "{wrong}"
            );
        }
        assert_eq!(split(Bytes::from_static(&[b'4', 0xff]), &budget()), Err(Broken));
        assert_eq!(split("4\u{1e}".repeat(50_000).into(), &budget()), Err(Broken));
    }

    #[tokio::test]
    async fn packets_wait_for_a_poll_and_a_poll_for_packets() {
        let polling = Polling::new(budget());
        polling.send(Outgoing::Text("4a".into()));
        polling.send(Outgoing::Binary(Bytes::from_static(&[1, 2])));
        assert_eq!(polling.poll().unwrap().await.unwrap(), "4a\u{1e}bAQI=");
        let mut waiting = polling.poll().unwrap();
        assert!(waiting.try_recv().is_err());
        polling.send(Outgoing::Text("4b".into()));
        let noop = Waker::noop();
        assert!(polling.poll_flush(&Context::from_waker(noop)).is_ready());
        assert_eq!(waiting.await.unwrap(), "4b");
    }

    #[test]
    fn a_packet_that_was_taken_does_not_keep_the_body_that_it_came_in() {
        let budget = budget();
        let body = budget.hold(format!("4hi\u{1e}4{}", "x".repeat(100_000)).into_bytes());
        let length = body.len();
        let mut inbound = Inbound::read(body, &budget).unwrap();
        let little = inbound.next(&budget).unwrap();
        assert_eq!((little, budget.held()), (Incoming::Text("hi".into()), length));
        let much = inbound.next(&budget).unwrap();
        assert_eq!(budget.held(), length, "most of a body is a slice of it");
        drop(much);
        assert_eq!((inbound.next(&budget), budget.held()), (None, 0));
    }

    #[tokio::test]
    async fn a_second_poll_ends_the_session() {
        let polling = Polling::new(budget());
        let first = polling.poll().unwrap();
        assert_eq!(polling.poll().map(drop), Err(Broken));
        assert_eq!(first.await.unwrap(), "1");
        let noop = Waker::noop();
        assert_eq!(polling.poll_next(&Context::from_waker(noop)), Poll::Ready(None));
    }
}
