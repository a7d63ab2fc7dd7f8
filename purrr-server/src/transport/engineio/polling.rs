//! The state that a polling session's requests and its task share: [`Polling`].

use std::{
    collections::VecDeque,
    mem::{replace, take},
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    sync::{Notify, oneshot},
    task::coop::poll_proceed,
};

use super::{
    outbound::{Answered, Outbound, Reply},
    packet::{Outgoing, Packet},
    payload::{Inbound, InvalidRequest},
};
use crate::{
    limits::{
        control_frames::ControlFrameLimit, lock, memory::MemoryBudget, requests::SessionRequests,
    },
    transport::websocket::MessageSocket,
};

/// What the requests of one session and its task share.
///
/// Requests call [`poll`](Self::poll) with
/// [`handle_answer_progress`](Self::handle_answer_progress) and
/// [`handle_answer_end`](Self::handle_answer_end), [`begin_post`](Self::begin_post) with
/// [`post`](Self::post), and for an upgrade [`begin_upgrade`](Self::begin_upgrade),
/// [`release_polls`](Self::release_polls), [`complete_upgrade`](Self::complete_upgrade) and always
/// [`end_upgrade`](Self::end_upgrade). The task first asks
/// [`take_successor`](Self::take_successor), then calls [`poll_next`](Self::poll_next) with
/// [`take_activity`](Self::take_activity) and [`poll_progress`](Self::poll_progress),
/// [`poll_ready`](Self::poll_ready) with [`send`](Self::send), and
/// [`poll_flush`](Self::poll_flush).
///
/// Worst case: the packets of one request, since the next one is answered only when they are
/// taken, and what [`Outbound`] holds.
#[derive(Debug)]
pub(super) struct Polling {
    budget: MemoryBudget,
    requests: SessionRequests,
    state: Mutex<State>,
    /// Notified when the session has taken all packets of the last request or is closed, and when an
    /// upgrade has ended.
    changed: Notify,
}

struct State {
    inbound: Inbound,
    /// Set while a request brings packets.
    posting: bool,
    /// Set when part of a request body came, or part of an answer was taken.
    activity: bool,
    control_packets: ControlFrameLimit,
    outbound: Outbound,
    upgrade: Upgrade,
    close: CloseState,
    /// The task of the session.
    task: Option<Waker>,
}

/// Whether the session is over for its requests.
#[derive(Clone, Copy, Default)]
enum CloseState {
    #[default]
    Open,
    Closed {
        /// Whether a request broke the protocol, for which the session ends.
        violated: bool,
        /// Whether the client closed the session while no poll waited. The next poll is told.
        noop_due: bool,
    },
}

/// How far an upgrade to a WebSocket is.
#[derive(Default)]
enum Upgrade {
    #[default]
    None,
    /// A WebSocket is connected and may have probed.
    Connecting,
    /// It has probed. Polls are answered at once, so that the client can change over.
    Probing,
    /// The client has changed over, and the session has not taken the WebSocket yet.
    Complete(Box<MessageSocket>),
    /// The session runs on the WebSocket.
    Done,
}

/// The WebSocket that takes over, and the packets that polling left over.
///
/// Once they are sent, [`Polling::handle_rest_sent`] must be called.
pub(super) struct Successor {
    pub(super) socket: Box<MessageSocket>,
    pub(super) inbound: Inbound,
    pub(super) outbound: VecDeque<Outgoing>,
}

impl Polling {
    pub(super) fn new(budget: MemoryBudget, control_packets: ControlFrameLimit) -> Self {
        let state = Mutex::new(State::new(control_packets));
        let requests = SessionRequests::default();
        Self { budget, requests, state, changed: Notify::new() }
    }

    pub(super) const fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Returns the rate of the session's requests.
    pub(super) const fn requests(&self) -> &SessionRequests {
        &self.requests
    }

    /// Begins a poll. The receiver fails if the session ends first.
    ///
    /// It is answered once the client has taken the answer before. An answer with packets must be
    /// followed by [`handle_answer_end`](Self::handle_answer_end).
    pub(super) fn poll(&self) -> Result<oneshot::Receiver<Reply>, InvalidRequest> {
        let mut state = self.lock();
        if state.is_closed() || matches!(state.upgrade, Upgrade::Complete(_)) {
            if !state.close.take_noop() {
                return Err(InvalidRequest);
            }
            let (answer, answered) = oneshot::channel();
            answer.send(Reply::Control("6")).ok();
            return Ok(answered);
        }
        if let Some(other) = state.outbound.take_poll() {
            // Two polls at once would get the packets in an undefined order.
            other.send(Reply::Control("1")).ok();
            state.close();
            self.changed.notify_waiters();
            return Err(InvalidRequest);
        }
        let answered = state.outbound.poll();
        state.answer_poll();
        Ok(answered)
    }

    /// Notes that the client has taken part of the answer under way.
    pub(super) fn handle_answer_progress(&self) {
        let mut state = self.lock();
        state.activity = true;
        state.outbound.handle_progress();
        state.wake();
    }

    /// Notes that the client has taken an answer, or never will. The next poll may be answered.
    pub(super) fn handle_answer_end(&self) {
        let mut state = self.lock();
        state.outbound.handle_answer_end();
        state.answer_poll();
    }

    /// Begins a request that brings packets.
    ///
    /// Two at once would be read in an undefined order, and hold twice what a session may hold.
    pub(super) fn begin_post(&self) -> Result<(), InvalidRequest> {
        let mut state = self.lock();
        if state.is_closed() || state.posting {
            state.close();
            self.changed.notify_waiters();
            return Err(InvalidRequest);
        }
        state.posting = true;
        Ok(())
    }

    /// Closes the session, since a request broke the protocol.
    pub(super) fn close_for_violation(&self) {
        let mut state = self.lock();
        state.close();
        if let CloseState::Closed { violated, .. } = &mut state.close {
            *violated = true;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Returns true if a request broke the protocol.
    pub(super) fn is_violated(&self) -> bool {
        matches!(self.lock().close, CloseState::Closed { violated: true, .. })
    }

    /// Hands that request's packets to the session and waits until it has taken them all.
    pub(super) async fn post(&self, packets: Inbound) -> Result<(), InvalidRequest> {
        {
            let mut state = self.lock();
            if state.is_closed() {
                return Err(InvalidRequest);
            }
            state.inbound = packets;
            state.wake();
        }
        self.until(|state| state.inbound.is_empty() || state.is_closed()).await;
        self.lock().posting = false;
        Ok(())
    }

    /// Waits until no upgrade is under way.
    pub(super) async fn upgrade_ended(&self) {
        let is_under_way =
            |state: &State| matches!(state.upgrade, Upgrade::Connecting | Upgrade::Probing);
        self.until(|state| !is_under_way(state)).await;
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Counts a packet that asks for nothing. Returns false if there are too many.
    pub(super) fn count_control_packet(&self) -> bool {
        !self.lock().control_packets.is_exceeded()
    }

    /// Counts bytes that were ignored. Returns false if there are too many.
    pub(super) fn count_ignored(&self, bytes: usize) -> bool {
        !self.lock().control_packets.is_exceeded_by(bytes)
    }

    /// Returns the limit of control packets, with what was counted, for the WebSocket.
    pub(super) fn control_packets(&self) -> ControlFrameLimit {
        self.lock().control_packets.clone()
    }

    /// Notes that part of a request body came.
    pub(super) fn handle_activity(&self) {
        let mut state = self.lock();
        state.activity = true;
        state.wake();
    }

    /// Returns true if part of a request body came, or part of an answer was taken, since the last
    /// call.
    pub(super) fn take_activity(&self) -> bool {
        replace(&mut self.lock().activity, false)
    }

    /// Polls until the client has taken more of the answer under way.
    pub(super) fn poll_progress(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.outbound.take_progress() {
            return Poll::Ready(());
        }
        state.task = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Begins an upgrade. Only one may be under way.
    pub(super) fn begin_upgrade(&self) -> Result<(), InvalidRequest> {
        let mut state = self.lock();
        if state.is_closed() || !matches!(state.upgrade, Upgrade::None) {
            return Err(InvalidRequest);
        }
        state.upgrade = Upgrade::Connecting;
        Ok(())
    }

    /// Answers polls from now on, so that a client that has probed can change over.
    pub(super) fn release_polls(&self) -> Result<(), InvalidRequest> {
        let mut state = self.lock();
        if state.is_closed() {
            return Err(InvalidRequest);
        }
        state.upgrade = Upgrade::Probing;
        state.answer_poll();
        Ok(())
    }

    /// Hands the WebSocket to the session once the client has changed over.
    ///
    /// A poll under way fails: a client that has changed over polls no more.
    pub(super) fn complete_upgrade(&self, socket: Box<MessageSocket>) {
        let mut state = self.lock();
        drop(state.outbound.take_poll());
        state.upgrade = Upgrade::Complete(socket);
        state.wake();
        self.changed.notify_waiters();
    }

    /// Clears an upgrade that was not completed.
    pub(super) fn end_upgrade(&self) {
        let mut state = self.lock();
        if matches!(state.upgrade, Upgrade::Connecting | Upgrade::Probing) {
            state.upgrade = Upgrade::None;
            self.changed.notify_waiters();
        }
    }

    /// Returns true if a WebSocket has taken over, or is about to.
    pub(super) fn has_websocket(&self) -> bool {
        !matches!(self.lock().upgrade, Upgrade::None)
    }

    /// Returns true if the client has closed the session and has not been told yet.
    pub(super) fn is_noop_due(&self) -> bool {
        matches!(self.lock().close, CloseState::Closed { noop_due: true, .. })
    }

    pub(super) fn close(&self) {
        self.lock().close();
        self.changed.notify_waiters();
    }

    /// Returns the WebSocket that has taken over, once. Polling is closed then.
    ///
    /// Must be called before anything else: a client that has changed over polls no more, so
    /// waiting for a poll would be waiting for good.
    pub(super) fn take_successor(&self) -> Option<Successor> {
        let mut state = self.lock();
        if state.is_closed() || !matches!(state.upgrade, Upgrade::Complete(_)) {
            return None;
        }
        let done = replace(&mut state.upgrade, Upgrade::Done);
        let Upgrade::Complete(socket) = done else { return None };
        let (inbound, outbound) = (take(&mut state.inbound), state.outbound.take_packets());
        state.close();
        self.changed.notify_waiters();
        Some(Successor { socket, inbound, outbound })
    }

    /// Releases what pays for the packets that the WebSocket has taken over.
    pub(super) fn handle_rest_sent(&self) {
        self.lock().outbound.release();
    }

    /// Polls for the next packet of the client. Returns `None` when the session is over.
    ///
    /// A body has thousands of packets and reading them awaits nothing, so the task yields between.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Packet>> {
        let mut state = self.lock();
        if !state.inbound.is_empty() {
            ready!(poll_proceed(cx)).made_progress();
        }
        if let Some(packet) = state.inbound.next(&self.budget) {
            if packet == Packet::Close {
                // The client ends the session itself, so its poll gets a noop. The two requests
                // race: the poll may come later, though it was sent earlier.
                let is_told_later = !state.is_closed() && !state.outbound.has_poll();
                state.end("6");
                if let CloseState::Closed { noop_due, .. } = &mut state.close {
                    *noop_due = is_told_later;
                }
            }
            if state.inbound.is_empty() {
                self.changed.notify_waiters();
            }
            return Poll::Ready(Some(packet));
        }
        if state.is_closed() {
            return Poll::Ready(None);
        }
        state.task = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Polls for room for a packet. Returns false if the session is over.
    pub(super) fn poll_ready(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        if state.is_closed() {
            return Poll::Ready(false);
        }
        if state.outbound.has_room(&self.budget) {
            return Poll::Ready(true);
        }
        state.answer_poll();
        if state.outbound.has_room(&self.budget) {
            return Poll::Ready(true);
        }
        state.task = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Queues a packet for the client.
    pub(super) fn send(&self, packet: Outgoing) {
        self.lock().outbound.push(packet);
    }

    /// Polls until a request has taken all packets.
    pub(super) fn poll_flush(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        state.answer_poll();
        if state.outbound.is_empty() || state.is_closed() {
            return Poll::Ready(());
        }
        state.task = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl CloseState {
    /// Returns true if the client must be told of its close, once.
    fn take_noop(&mut self) -> bool {
        match self {
            Self::Open => false,
            Self::Closed { noop_due, .. } => take(noop_due),
        }
    }
}

impl State {
    fn new(control_packets: ControlFrameLimit) -> Self {
        Self {
            inbound: Inbound::default(),
            posting: false,
            activity: false,
            control_packets,
            outbound: Outbound::default(),
            upgrade: Upgrade::None,
            close: CloseState::Open,
            task: None,
        }
    }

    const fn is_closed(&self) -> bool {
        matches!(self.close, CloseState::Closed { .. })
    }

    /// Answers the waiting poll, if there is something to send or an upgrade needs it back.
    fn answer_poll(&mut self) {
        match self.outbound.answer(matches!(self.upgrade, Upgrade::Probing)) {
            Answered::None => {}
            Answered::Taken => self.wake(),
            // What the client would have received is lost.
            Answered::GivenUp => self.close(),
        }
    }

    fn close(&mut self) {
        self.end("1");
    }

    /// Closes the session, and answers the waiting poll with a last packet.
    fn end(&mut self, last: &'static str) {
        if let CloseState::Open = self.close {
            self.close = CloseState::Closed { violated: false, noop_due: false };
        }
        if let Some(poll) = self.outbound.take_poll() {
            poll.send(Reply::Control(last)).ok();
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("inbound", &self.inbound.len())
            .field("outbound", &self.outbound)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::{super::answer::join, *};
    use crate::limits::memory::SMALL_MESSAGE;

    fn budget() -> MemoryBudget {
        MemoryBudget::unlimited()
    }

    fn control_packets() -> ControlFrameLimit {
        ControlFrameLimit::unlimited()
    }

    fn noop() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn text(reply: Reply) -> String {
        match reply {
            Reply::Packets(batch) => join(batch.packets),
            Reply::Control(packet) => packet.to_owned(),
        }
    }

    #[tokio::test]
    async fn packets_wait_for_poll_and_poll_for_packets() {
        let polling = Polling::new(budget(), control_packets());
        polling.send(Outgoing::Text("4a".into()));
        polling.send(Outgoing::Binary(Bytes::from_static(&[1, 2])));
        assert_eq!(text(polling.poll().unwrap().await.unwrap()), "4a\u{1e}bAQI=");
        polling.handle_answer_end();
        let mut waiting = polling.poll().unwrap();
        assert!(waiting.try_recv().is_err());
        polling.send(Outgoing::Text("4b".into()));
        assert!(polling.poll_flush(&noop()).is_ready());
        assert_eq!(text(waiting.await.unwrap()), "4b");
    }

    #[tokio::test]
    async fn poll_waits_until_last_answer_is_taken() {
        let polling = Polling::new(budget(), control_packets());
        polling.send(Outgoing::Text("4a".into()));
        assert_eq!(text(polling.poll().unwrap().await.unwrap()), "4a");
        polling.send(Outgoing::Text("4b".into()));
        let mut second = polling.poll().unwrap();
        assert!(polling.poll_flush(&noop()).is_pending());
        assert!(second.try_recv().is_err(), "the first answer is under way");
        polling.handle_answer_end();
        assert_eq!(text(second.await.unwrap()), "4b");
    }

    #[tokio::test]
    async fn small_packets_beyond_allowance_are_reserved() {
        let budget = MemoryBudget::new(4 * SMALL_MESSAGE, Duration::MAX);
        let polling = Polling::new(budget.clone(), control_packets());
        let mut sent = 0;
        while polling.poll_ready(&noop()).is_ready() {
            polling.send(Outgoing::Text("4".repeat(1_000).into()));
            sent += 1_000;
        }
        assert!(sent <= budget.held() + 2 * 1_000, "{sent} bytes, {} reserved", budget.held());
        assert!((3 * SMALL_MESSAGE..5 * SMALL_MESSAGE).contains(&sent), "{sent}");
        let reply = polling.poll().unwrap().await.unwrap();
        assert!(polling.poll_ready(&noop()).is_ready(), "the first bytes need no budget");
        assert!(budget.held() > 0, "the answer is under way");
        drop(reply);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn packets_of_one_body_are_taken_in_steps() {
        const PACKETS: usize = 5_000;
        let polling = Polling::new(budget(), control_packets());
        let body = ["3"; PACKETS].join("\u{1e}");
        let packets = Inbound::parse(body.into(), &budget()).unwrap();
        let (mut taken, mut longest) = (0, 0);
        let taking = std::future::poll_fn(|cx| {
            let before = taken;
            while taken < PACKETS && polling.poll_next(cx).is_ready() {
                taken += 1;
            }
            longest = longest.max(taken - before);
            if taken < PACKETS { Poll::Pending } else { Poll::Ready(()) }
        });
        let (posted, ()) = tokio::join!(polling.post(packets), taking);
        posted.unwrap();
        assert!(longest <= 128, "{longest} packets were taken without yielding");
    }

    #[tokio::test]
    async fn second_websocket_waits_for_upgrade_under_way() {
        let polling = Polling::new(budget(), control_packets());
        polling.upgrade_ended().await;
        for probed in [false, true] {
            polling.begin_upgrade().unwrap();
            if probed {
                polling.release_polls().unwrap();
            }
            let mut waiting = std::pin::pin!(polling.upgrade_ended());
            assert!(waiting.as_mut().poll(&mut noop()).is_pending());
            polling.end_upgrade();
            assert!(waiting.as_mut().poll(&mut noop()).is_ready());
        }
    }

    #[tokio::test]
    async fn second_poll_ends_session() {
        let polling = Polling::new(budget(), control_packets());
        let first = polling.poll().unwrap();
        assert_eq!(polling.poll().map(drop), Err(InvalidRequest));
        assert_eq!(text(first.await.unwrap()), "1");
        assert_eq!(polling.poll_next(&mut noop()), Poll::Ready(None));
    }
}
