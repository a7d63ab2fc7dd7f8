//! One side's end of a chat, bounded in frames and bytes: [`Pipe`].

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    backend::{
        budget::{Charge, QUEUE_ALLOWANCE, QueueBudget},
        log::{Log, Notice, OwedReceipts},
    },
    model::{frame::Frame, limits::Limits, profile::Hello, reason::ChatEnd},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        lock, sleep,
    },
};

/// One side's end of a chat: a bounded queue in each direction.
///
/// Each queue holds at most [`Limits::queue_items`] frames and [`Limits::queue_bytes`] bytes. A
/// frame larger than that is taken only into an empty queue. Small frames beyond
/// [`QUEUE_ALLOWANCE`] bytes are charged to the sender's [`QueueBudget`], if it has one. Memory:
/// about 380 bytes for both ends, about 130 more for each direction once a frame has gone that way,
/// and 64 more for each direction whose receiver acknowledges.
///
/// Each end belongs to one task. The `poll` functions register that task's waker and replace the
/// one of its last call.
pub struct Pipe {
    shared: Arc<Shared>,
    /// This end's index into every pair of the shared state.
    side: usize,
    /// The waker that this end last registered for receiving, or `None` if it may have been
    /// replaced.
    registered: Option<Waker>,
    /// Pays for what this end sends.
    budget: Option<Arc<dyn QueueBudget>>,
    /// A callback for the backend, called once and before the partner can see that this side
    /// parted.
    on_part: Option<OnPart>,
}

/// A callback with the reason for which one side parts.
pub type OnPart = Box<dyn FnOnce(ChatEnd) + Send>;

/// What [`Pipe::recv`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// A frame from the partner.
    Frame(Frame),
    /// The partner parted; nothing follows.
    Parted(ChatEnd),
}

/// The bounds of one direction of a [`Pipe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// The maximum number of frames in flight. At least one is taken.
    pub items: u32,
    /// The maximum bytes in flight. One larger frame is taken into an empty queue.
    pub bytes: u32,
}

/// Why [`Pipe::try_send`] did not take a frame, which is handed back.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// The queue is full until the partner has read.
    #[error("the partner's queue is full")]
    Full(Frame),
    /// The chat is over.
    #[error("the chat is over")]
    Parted(Frame),
}

struct Shared {
    channel: Mutex<Channel>,
    /// Whether each side may have something to receive: a frame, a receipt or the parting. Written
    /// under the lock only.
    ///
    /// Invariant: `readable[side]` is false only while the current waker of `side` is registered in
    /// the channel. So a poll that reads false with the waker it registered last may return
    /// `Pending` without the lock.
    readable: [AtomicBool; 2],
}

/// The state of both directions.
struct Channel {
    /// The queue that each side sends into.
    queues: [Queue; 2],
    /// Which sides have begun. The chat has begun, for good, once both have.
    begun: [bool; 2],
    parted: Option<ChatEnd>,
    /// The bounds of each of the queues.
    bounds: [QueueBounds; 2],
    /// How long [`Pipe::begin`] waits for the other side.
    begin_timeout: Duration,
}

/// One direction: frames of one sender to its receiver, and what the receiver reports back.
#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The bytes of small frames, which are charged beyond [`QUEUE_ALLOWANCE`].
    small: usize,
    /// Boxed, since few queues have any of it.
    extra: Option<Box<Extra>>,
    /// Messages that the receiver acknowledged and the sender has not yet taken note of.
    receipts: u64,
    /// Whether the receiver's transport made write progress while this queue was full.
    progressed: bool,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

/// What only some queues have.
#[derive(Default)]
struct Extra {
    /// What the small frames have reserved.
    charge: Option<Charge>,
    /// Set if the receiver's client acknowledges, so that frames stay after they were read.
    log: Option<Log>,
    /// Boxed, since most logs never have any of it.
    resume: Option<Box<Resume>>,
}

/// What a queue has while its receiver has no connection, or reads no acknowledgement.
#[derive(Default)]
struct Resume {
    /// What the sender is to be told of the receiver.
    notice: Option<PendingNotice>,
    /// The bounds of the queue while the receiver was attached. `None` unless it is detached.
    attached_bounds: Option<QueueBounds>,
    /// Whether the sender was told that the receiver's connection has dropped.
    told_away: bool,
    /// What the receiver has not acknowledged of what was freed.
    owed: OwedReceipts,
}

/// A notice, and how many frames that were sent before it are not received.
struct PendingNotice {
    notice: Notice,
    after: usize,
}

/// What the partner reports beside frames.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// Messages that the partner acknowledged.
    pub(crate) receipts: u64,
    /// The partner's connection dropped or is there again.
    pub(crate) notice: Option<Notice>,
    /// The [weight](Frame::weight) of the frame that came with the report.
    pub(crate) weight: usize,
}

/// Capacity that an empty queue keeps at most, in frames: enough for a lively chat, but not its
/// peak.
const MAX_IDLE_CAPACITY: usize = 8;

impl Pipe {
    /// Creates both ends of a pipe within one process, for backends.
    ///
    /// Calls `on_part` twice. Each callback is called once: when its side parts or is dropped, and
    /// before the partner can see that. After the partner has parted, its reason means nothing.
    ///
    /// ```
    /// use purrr_core::{Frame, Limits, backend::{Pipe, Received}, model::ChatEnd};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (mut ann, mut bob) = Pipe::pair(&Limits::default(), || Box::new(|_| ()));
    /// ann.send(Frame::text("bye")).await.ok();
    /// ann.part(ChatEnd::Next);
    /// assert_eq!(bob.recv().await, Received::Frame(Frame::text("bye")));
    /// assert_eq!(bob.recv().await, Received::Parted(ChatEnd::Next));
    /// # }
    /// ```
    pub fn pair(limits: &Limits, on_part: impl FnMut() -> OnPart) -> (Self, Self) {
        let bounds = QueueBounds {
            items: u32::try_from(limits.queue_items).unwrap_or(u32::MAX),
            bytes: u32::try_from(limits.queue_bytes).unwrap_or(u32::MAX),
        };
        Self::pair_bounded([bounds; 2], limits.stall, on_part)
    }

    /// Creates both ends of a pipe with bounds for what each of them sends.
    ///
    /// For a backend between processes, whose own end may hold less than a session's.
    /// `begin_timeout` is how long [`begin`](Self::begin) waits.
    pub fn pair_bounded(
        bounds: [QueueBounds; 2],
        begin_timeout: Duration,
        mut on_part: impl FnMut() -> OnPart,
    ) -> (Self, Self) {
        let channel = Mutex::new(Channel {
            queues: [Queue::default(), Queue::default()],
            begun: [false; 2],
            parted: None,
            bounds,
            begin_timeout,
        });
        let readable = [AtomicBool::new(true), AtomicBool::new(true)];
        let shared = Arc::new(Shared { channel, readable });
        let mut end = |side| Self {
            shared: Arc::clone(&shared),
            side,
            registered: None,
            budget: None,
            on_part: Some(on_part()),
        };
        (end(0), end(1))
    }

    /// Sets what pays for the small frames that this end sends.
    pub(crate) fn set_budget(&mut self, budget: Option<Arc<dyn QueueBudget>>) {
        self.budget = budget;
    }

    /// Returns what pays for them.
    pub(crate) const fn budget(&self) -> Option<&Arc<dyn QueueBudget>> {
        self.budget.as_ref()
    }

    /// Begins the chat on this side and waits until the partner does. Returns true if it did.
    ///
    /// Returns false if the partner gave the match up, or did not begin within [`Limits::stall`].
    /// So a task that is never polled cannot hold its partner up for ever.
    ///
    /// For backends that give out both ends within one process. A backend between processes must do
    /// the same by its own means.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, it can be called again. If the pipe is dropped before the chat has
    /// begun, the partner's call returns false.
    pub async fn begin(&mut self) -> bool {
        // The side that begins last needs no timer.
        if let Poll::Ready(begun) = poll_fn(|cx| Poll::Ready(self.poll_begin(cx))).await {
            return begun;
        }
        let begin_timeout = lock(&self.shared.channel).begin_timeout;
        let begun = tokio::select! {
            biased;
            begun = poll_fn(|cx| self.poll_begin(cx)) => Some(begun),
            () = sleep(begin_timeout) => None,
        };
        begun.unwrap_or_else(|| self.withdraw())
    }

    /// Gives the match up unless the partner has begun by now. Returns true if it has.
    fn withdraw(&self) -> bool {
        let mut channel = lock(&self.shared.channel);
        if channel.begun[1 - self.side] {
            return true;
        }
        channel.begun[self.side] = false;
        channel.parted.get_or_insert(ChatEnd::Lost);
        self.shared.readable[self.side].store(true, Ordering::Release);
        self.notify_partner(channel);
        false
    }

    fn poll_begin(&mut self, cx: &Context<'_>) -> Poll<bool> {
        let mut channel = lock(&self.shared.channel);
        channel.begun[self.side] = true;
        if channel.begun[1 - self.side] {
            // The partner waits for this with the waker that it receives by.
            self.notify_partner(channel);
            return Poll::Ready(true);
        }
        if channel.parted.is_some() {
            return Poll::Ready(false);
        }
        register(&mut channel.queues[1 - self.side].receiver, cx);
        self.registered = None;
        Poll::Pending
    }

    /// Sends a frame, waiting for room.
    ///
    /// # Errors
    ///
    /// Returns the frame if the chat is over.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the frame was not sent.
    pub async fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        let mut waiting = Some(frame);
        poll_fn(|cx| {
            // Put back on `Pending`, so the option is always filled here.
            let Some(frame) = waiting.take() else { return Poll::Ready(Ok(())) };
            match self.poll_send(cx, frame) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(TrySendError::Parted(frame)) => Poll::Ready(Err(frame)),
                Err(TrySendError::Full(frame)) => {
                    waiting = Some(frame);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Receives the next frame, or the news that the partner parted.
    ///
    /// # Cancel safety
    ///
    /// Safe: a frame is taken only when it is returned.
    pub async fn recv(&mut self) -> Received {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Sends a frame if there is room.
    ///
    /// # Errors
    ///
    /// Returns the frame if there is no room or the chat is over.
    pub fn try_send(&mut self, frame: Frame) -> Result<(), TrySendError> {
        let weight = frame.weight();
        self.push(frame, weight, None)
    }

    /// Sends a frame if there is room, and otherwise registers the task to be woken when there is.
    ///
    /// # Errors
    ///
    /// Returns the frame if there is no room or the chat is over.
    pub fn poll_send(&mut self, cx: &Context<'_>, frame: Frame) -> Result<(), TrySendError> {
        let weight = frame.weight();
        self.push(frame, weight, Some(cx))
    }

    /// Polls for the next frame. After [`Received::Parted`] it yields that forever.
    pub fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Received> {
        self.poll_recv_and_reports(cx, None)
    }

    /// Returns true if there may be something to receive. If false, the task is woken once there
    /// is.
    #[inline]
    pub(crate) fn is_readable(&self, cx: &Context<'_>) -> bool {
        self.shared.readable[self.side].load(Ordering::Acquire)
            || !self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// Polls as [`poll_recv`](Self::poll_recv) and takes what the partner reports.
    pub(crate) fn poll_recv_and_reports(
        &mut self,
        cx: &Context<'_>,
        mut reports: Option<&mut Reports>,
    ) -> Poll<Received> {
        if !self.is_readable(cx) {
            return Poll::Pending;
        }
        let mut channel = lock(&self.shared.channel);
        if let Some(reports) = &mut reports {
            reports.receipts = std::mem::take(&mut channel.queues[self.side].receipts);
            reports.notice = channel.take_notice(self.side);
        }
        let owes_reports = channel.queues[self.side].owes_reports();
        let parted = channel.parted;
        let queue = &mut channel.queues[1 - self.side];
        let unread = queue.unread();
        if unread <= 1 && parted.is_none() {
            register(&mut queue.receiver, cx);
            register(&mut self.registered, cx);
            self.shared.readable[self.side].store(owes_reports, Ordering::Release);
        }
        if unread == 0 {
            return parted.map_or(Poll::Pending, |reason| Poll::Ready(Received::Parted(reason)));
        }
        let weight = queue.next_weight();
        if let Some(reports) = reports {
            reports.weight = weight;
        }
        let sender = queue.take_freed();
        // Last, since each move of a frame costs as much as the rest.
        let frame = queue.take_next(weight);
        drop(channel);
        wake(sender);
        frame.map_or(Poll::Pending, |frame| Poll::Ready(Received::Frame(frame)))
    }

    /// Polls for what becomes of the partner's connection, without taking frames. Returns `None`
    /// once the chat is over.
    ///
    /// Wakes the task that sends. What belongs behind frames comes once they are received, which
    /// wakes no task.
    pub(crate) fn poll_connection(&self, cx: &Context<'_>) -> Poll<Option<Notice>> {
        self.poll_notice(cx, |channel, side| {
            let unread = channel.queues[1 - side].unread();
            let pending = channel.queues[side].resume().and_then(|it| it.notice.as_ref());
            match pending {
                Some(pending) if pending.after == 0 || unread == 0 => {
                    Some(channel.take_notice(side))
                }
                _ => channel.parted.map(|_| None),
            }
        })
    }

    /// Acknowledges so many more messages of the partner as delivered.
    pub fn acknowledge(&mut self, messages: u64) {
        let mut channel = lock(&self.shared.channel);
        let queue = &mut channel.queues[1 - self.side];
        queue.receipts += messages;
        let sender = queue.sender.take();
        // The partner is told of receipts by the waker that it receives by, too.
        self.notify_partner(channel);
        wake(sender);
    }

    /// Takes the receipts that arrived since the last call. A task that polls
    /// [`poll_recv`](Self::poll_recv) is woken for them.
    pub fn take_receipts(&mut self) -> u64 {
        std::mem::take(&mut lock(&self.shared.channel).queues[self.side].receipts)
    }

    /// Polls for receipts without taking frames. Returns `None` once the partner has parted and no
    /// receipt is left.
    ///
    /// Wakes the task that sends, as [`poll_send`](Self::poll_send) does.
    pub fn poll_receipts(&mut self, cx: &Context<'_>) -> Poll<Option<u64>> {
        self.poll_notice(cx, |channel, side| {
            let receipts = std::mem::take(&mut channel.queues[side].receipts);
            match receipts {
                0 => channel.parted.map(|_| None),
                receipts => Some(Some(receipts)),
            }
        })
    }

    /// Polls for the end of the chat without taking frames. What is in flight can still be received.
    ///
    /// Wakes the task that sends.
    pub fn poll_parted(&mut self, cx: &Context<'_>) -> Poll<ChatEnd> {
        self.poll_notice(cx, |channel, _| channel.parted)
    }

    /// Polls for [progress](Self::take_progress) of the partner. Pending for ever once the chat is
    /// over.
    ///
    /// Wakes the task that sends.
    pub fn poll_progress(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.poll_notice(cx, |channel, side| {
            std::mem::take(&mut channel.queues[side].progressed).then_some(())
        })
    }

    /// Polls for what the partner tells of what this side sends.
    fn poll_notice<T>(
        &self,
        cx: &Context<'_>,
        take: impl FnOnce(&mut Channel, usize) -> Option<T>,
    ) -> Poll<T> {
        let mut channel = lock(&self.shared.channel);
        match take(&mut channel, self.side) {
            Some(notice) => Poll::Ready(notice),
            None => {
                register(&mut channel.queues[self.side].sender, cx);
                Poll::Pending
            }
        }
    }

    /// Reports write progress to a partner that waits for room, so that its stall timeout starts
    /// anew.
    pub fn report_progress(&mut self) {
        let mut channel = lock(&self.shared.channel);
        let queue = &mut channel.queues[1 - self.side];
        queue.progressed = true;
        let sender = queue.sender.take();
        drop(channel);
        wake(sender);
    }

    /// Returns true if the partner has reported progress since the last call.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut lock(&self.shared.channel).queues[self.side].progressed)
    }

    /// Keeps what this side receives until it is [acknowledged](Self::acknowledge_received) by
    /// count. Must be called before the first frame is received.
    pub(crate) fn keep_received(&mut self) {
        let mut channel = lock(&self.shared.channel);
        channel.queues[1 - self.side].extra.get_or_insert_default().log = Some(Log::default());
    }

    /// Frees the first `received` frames of the chat, as far as they were received. `receipts` if
    /// the partner is to be told which of its messages were delivered.
    pub(crate) fn acknowledge_received(&mut self, received: u64, receipts: bool) {
        let mut channel = lock(&self.shared.channel);
        let queue = &mut channel.queues[1 - self.side];
        let Some(messages) = queue.acknowledge(received) else { return };
        queue.receipts += if receipts { messages } else { 0 };
        let sender = queue.sender.take();
        self.notify_partner(channel);
        wake(sender);
    }

    /// Frees every frame that was received, without a receipt before it is acknowledged.
    ///
    /// Must be called while this side reads no acknowledgement. Otherwise two sides with full queues
    /// would wait for each other.
    pub(crate) fn release_received(&mut self) {
        let mut channel = lock(&self.shared.channel);
        let queue = &mut channel.queues[1 - self.side];
        if queue.release() {
            let sender = queue.sender.take();
            drop(channel);
            wake(sender);
        }
    }

    /// Receives again from frame number `received` of the chat on, and acknowledges those before.
    /// Returns how many of the frames from there on are gone.
    pub(crate) fn rewind(&mut self, received: u64, receipts: bool) -> u64 {
        self.acknowledge_received(received, receipts);
        let mut channel = lock(&self.shared.channel);
        self.shared.readable[self.side].store(true, Ordering::Release);
        let queue = &mut channel.queues[1 - self.side];
        let Some(log) = queue.log_mut() else { return 0 };
        log.rewind(received)
    }

    /// Returns true if the client that has `received` frames has the end of the chat as well, which
    /// counts as one.
    pub(crate) fn is_end_acknowledged(&self, received: u64) -> bool {
        let channel = lock(&self.shared.channel);
        let queue = &channel.queues[1 - self.side];
        let log = queue.extra.as_ref().and_then(|extra| extra.log.as_ref());
        log.is_none_or(|log| log.first + (queue.frames.len() as u64) < received)
    }

    /// Returns the bytes in flight to this side.
    pub(crate) fn bytes_to_receive(&self) -> usize {
        lock(&self.shared.channel).queues[1 - self.side].bytes
    }

    /// Lets no more than `more` bytes into what is in flight to this side, which has no connection.
    /// The partner's stall timeout does not run meanwhile.
    pub(crate) fn detach(&mut self, more: usize) {
        let mut channel = lock(&self.shared.channel);
        let partner = 1 - self.side;
        let bounds = channel.bounds[partner];
        let queue = &mut channel.queues[partner];
        let bytes = u32::try_from(queue.bytes + more).unwrap_or(u32::MAX).min(bounds.bytes);
        queue.resume_mut().attached_bounds.get_or_insert(bounds);
        let sender = queue.sender.take();
        channel.bounds[partner].bytes = bytes;
        drop(channel);
        wake(sender);
    }

    /// Tells the partner that this side's connection has dropped.
    pub(crate) fn tell_away(&mut self) {
        let mut channel = lock(&self.shared.channel);
        let resume = channel.queues[1 - self.side].resume_mut();
        resume.notice = Some(PendingNotice { notice: Notice::Away, after: 0 });
        resume.told_away = true;
        let sender = channel.queues[1 - self.side].sender.take();
        self.notify_partner(channel);
        wake(sender);
    }

    /// Ends [`detach`](Self::detach), and tells the partner who is there again.
    ///
    /// A partner that was told nothing is not woken, unless the introduction `is_new`.
    pub(crate) fn attach(&mut self, hello: Hello, is_new: bool) {
        let mut channel = lock(&self.shared.channel);
        let partner = 1 - self.side;
        // What was sent before may be meant for another key.
        let after = channel.queues[self.side].unread();
        let queue = &mut channel.queues[partner];
        let resume = queue.resume_mut();
        let tells = std::mem::take(&mut resume.told_away) || is_new;
        if tells {
            resume.notice = Some(PendingNotice { notice: Notice::Back(Box::new(hello)), after });
        }
        let (bounds, sender) = (resume.attached_bounds.take(), queue.sender.take());
        queue.free_unused_resume();
        if let Some(bounds) = bounds {
            channel.bounds[partner] = bounds;
        }
        if tells {
            self.notify_partner(channel);
        } else {
            drop(channel);
        }
        wake(sender);
    }

    /// Returns true if the partner has no connection, and no room for a frame of this weight.
    pub(crate) fn is_detached_and_full(&self, weight: usize) -> bool {
        let channel = lock(&self.shared.channel);
        let (queue, bounds) = (&channel.queues[self.side], &channel.bounds[self.side]);
        queue.is_detached()
            && (queue.frames.len() >= bounds.items as usize
                || queue.bytes.saturating_add(weight) > bounds.bytes as usize)
    }

    /// Returns true if the partner has no connection.
    pub(crate) fn is_partner_detached(&self) -> bool {
        let channel = lock(&self.shared.channel);
        channel.queues[self.side].is_detached()
    }

    /// Calls `tell` once this side's chat is over, with the reason of this side, and with the
    /// partner's if that one parted first.
    pub(crate) fn on_end(&mut self, tell: impl FnOnce(ChatEnd, Option<ChatEnd>) + Send + 'static) {
        let (shared, on_part) = (Arc::clone(&self.shared), self.on_part.take());
        self.on_part = on_part.map(|on_part| -> OnPart {
            Box::new(move |reason| {
                let partners = lock(&shared.channel).parted;
                on_part(reason);
                tell(reason, partners);
            })
        });
    }

    /// Parts, and tells the partner why once it has received what is in flight.
    pub fn part(self, reason: ChatEnd) {
        self.part_after(VecDeque::new(), None, reason);
    }

    /// Sends these frames whether there is room or not, and parts.
    ///
    /// The caller bounds them. They exceed the limits of the queue once, since nothing follows.
    /// What has paid for them so far pays on.
    pub(crate) fn part_after(
        mut self,
        frames: VecDeque<Frame>,
        charge: Option<Charge>,
        reason: ChatEnd,
    ) {
        self.close(frames, charge, reason);
    }

    /// Sends a frame of this weight, or registers the task of `cx`.
    pub(crate) fn push(
        &mut self,
        frame: Frame,
        weight: usize,
        cx: Option<&Context<'_>>,
    ) -> Result<(), TrySendError> {
        let mut channel = lock(&self.shared.channel);
        if channel.parted.is_some() {
            return Err(TrySendError::Parted(frame));
        }
        let QueueBounds { items: max_items, bytes: max_bytes } = channel.bounds[self.side];
        let (max_items, max_bytes) = (max_items as usize, max_bytes as usize);
        let queue = &mut channel.queues[self.side];
        let cost = Charge::cost(&frame, weight);
        // Room that is reserved for a side without a connection is not exceeded by a large frame.
        let fits = (queue.frames.is_empty() && !queue.is_detached())
            || (queue.frames.len() < max_items && queue.bytes.saturating_add(weight) <= max_bytes);
        // One frame is always taken, otherwise a sender could wait for a partner that has nothing
        // to read.
        let fits = fits
            && (queue.small + cost <= QUEUE_ALLOWANCE
                || queue.cover(cost, self.budget.as_ref())
                || queue.frames.is_empty());
        if !fits {
            if let Some(cx) = cx {
                register(&mut queue.sender, cx);
            }
            return Err(TrySendError::Full(frame));
        }
        queue.bytes += weight;
        queue.small += cost;
        if queue.frames.capacity() == 0 {
            // Most chats never have more than one frame in flight, and a `VecDeque` would begin
            // with room for four.
            queue.frames.reserve_exact(1);
        }
        queue.frames.push_back(frame);
        self.notify_partner(channel);
        Ok(())
    }

    /// Unlocks the channel after a change that the partner must see, and wakes the partner.
    #[inline]
    fn notify_partner(&self, mut channel: MutexGuard<'_, Channel>) {
        self.shared.readable[1 - self.side].store(true, Ordering::Release);
        let partner = channel.queues[self.side].receiver.take();
        drop(channel);
        wake(partner);
    }

    fn close(&mut self, mut frames: VecDeque<Frame>, charge: Option<Charge>, reason: ChatEnd) {
        let Some(on_part) = self.on_part.take() else { return };
        on_part(reason);
        let mut channel = lock(&self.shared.channel);
        if channel.parted.is_none() {
            let queue = &mut channel.queues[self.side];
            queue.append(&mut frames, charge);
            channel.parted = Some(reason);
        }
        // A side that parts before the other has begun has never begun itself, so the other's
        // `begin` fails.
        channel.begun[self.side] &= channel.begun[1 - self.side];
        // This side receives nothing any more, so what is in flight to it is freed now.
        let sender = channel.queues[1 - self.side].clear();
        self.notify_partner(channel);
        wake(sender);
    }
}

impl Channel {
    /// Takes what `side` is to be told of its partner by now.
    #[inline]
    fn take_notice(&mut self, side: usize) -> Option<Notice> {
        // Hardly ever is there one.
        self.queues[side].resume()?.notice.as_ref()?;
        let unread = self.queues[1 - side].unread();
        let queue = &mut self.queues[side];
        let notice = &mut queue.resume_mut().notice;
        let pending = notice.as_mut()?;
        if pending.after > 0 && unread > 0 {
            pending.after -= 1;
            return None;
        }
        let pending = notice.take();
        queue.free_unused_resume();
        pending.map(|pending| pending.notice)
    }
}

impl Queue {
    /// Reserves for a frame beyond [`QUEUE_ALLOWANCE`]. Returns false if the budget has no room.
    #[cold]
    fn cover(&mut self, cost: usize, budget: Option<&Arc<dyn QueueBudget>>) -> bool {
        let Some(budget) = budget else { return true };
        let extra = self.extra.get_or_insert_default();
        let charge = extra.charge.get_or_insert_with(|| Charge::new(Arc::clone(budget)));
        charge.cover(self.small + cost - QUEUE_ALLOWANCE)
    }

    /// Returns the weight of the next frame to receive, or 0 if there is none.
    #[inline]
    fn next_weight(&self) -> usize {
        let log = self.extra.as_ref().and_then(|extra| extra.log.as_ref());
        let read = log.map_or(0, |log| log.read);
        match self.frames.len() {
            1 if read == 0 => self.bytes,
            _ => self.frames.get(read).map_or(0, Frame::weight),
        }
    }

    /// Takes the next frame to receive, of this weight.
    #[inline]
    fn take_next(&mut self, weight: usize) -> Option<Frame> {
        if self.extra.is_some()
            && let Some(log) = self.log_mut()
        {
            let read = log.read;
            log.read += 1;
            return self.frames.get(read).cloned();
        }
        self.pop(weight)
    }

    /// Frees the first frame, of this weight.
    #[inline]
    fn pop(&mut self, weight: usize) -> Option<Frame> {
        let first = self.frames.front()?;
        self.bytes -= weight;
        self.small -= match self.frames.len() {
            1 => self.small,
            _ => Charge::cost(first, weight),
        };
        if self.extra.is_some() && self.small <= QUEUE_ALLOWANCE {
            self.drop_charge();
        }
        if self.frames.len() == 1 && self.frames.capacity() > MAX_IDLE_CAPACITY {
            return std::mem::take(&mut self.frames).pop_front();
        }
        self.frames.pop_front()
    }

    #[inline(never)]
    fn drop_charge(&mut self) {
        let Some(extra) = &mut self.extra else { return };
        extra.charge = None;
        if extra.is_unused() {
            self.extra = None;
        }
    }

    /// Returns the number of frames to receive.
    #[inline]
    fn unread(&self) -> usize {
        let log = self.extra.as_ref().and_then(|extra| extra.log.as_ref());
        self.frames.len() - log.map_or(0, |log| log.read)
    }

    /// Takes the waker of the sender if reading makes room: frames in a log stay.
    #[inline]
    fn take_freed(&mut self) -> Option<Waker> {
        let is_logged = self.extra.as_ref().is_some_and(|extra| extra.log.is_some());
        if is_logged { None } else { self.sender.take() }
    }

    /// Returns true if the sender is to be told something.
    #[inline]
    fn owes_reports(&self) -> bool {
        self.receipts > 0 || self.resume().is_some_and(|resume| resume.notice.is_some())
    }

    /// Frees frames that were read, up to number `received` of the chat. Returns how many messages
    /// of them are owed a receipt, or `None` if nothing has changed.
    fn acknowledge(&mut self, received: u64) -> Option<u64> {
        self.log_mut()?;
        let mut messages = self.take_owed(received);
        let mut changed = messages > 0;
        while let Some(frame) = self.free_next(received) {
            messages += u64::from(frame.wants_receipt());
            changed = true;
        }
        changed.then_some(messages)
    }

    /// Frees every frame that was read. Returns true if there was one.
    fn release(&mut self) -> bool {
        let mut released = false;
        while let Some(frame) = self.free_next(u64::MAX) {
            released = true;
            if let Some(log) = self.log_mut()
                && frame.wants_receipt()
            {
                let number = log.first - 1;
                self.resume_mut().owed.push(number);
            }
        }
        released
    }

    /// Frees the first frame if it was read and its number is below `end`.
    fn free_next(&mut self, end: u64) -> Option<Frame> {
        let log = self.log_mut()?;
        if log.read == 0 || log.first >= end {
            return None;
        }
        (log.read, log.first) = (log.read - 1, log.first + 1);
        let weight = self.frames.front()?.weight();
        self.pop(weight)
    }

    /// Returns true if the receiver has no connection.
    #[inline]
    fn is_detached(&self) -> bool {
        self.resume().is_some_and(|resume| resume.attached_bounds.is_some())
    }

    #[inline]
    fn resume(&self) -> Option<&Resume> {
        self.extra.as_ref()?.resume.as_deref()
    }

    fn resume_mut(&mut self) -> &mut Resume {
        self.extra.get_or_insert_default().resume.get_or_insert_default()
    }

    /// Takes the receipts that are owed for messages before number `received`.
    fn take_owed(&mut self, received: u64) -> u64 {
        if self.resume().is_none() {
            return 0;
        }
        let owed = self.resume_mut().owed.take(received);
        self.free_unused_resume();
        owed
    }

    fn free_unused_resume(&mut self) {
        if let Some(extra) = &mut self.extra
            && extra.resume.as_ref().is_some_and(|resume| resume.is_unused())
        {
            extra.resume = None;
        }
    }

    fn log_mut(&mut self) -> Option<&mut Log> {
        self.extra.as_mut()?.log.as_mut()
    }

    /// Adds frames that another charge has paid for so far.
    fn append(&mut self, frames: &mut VecDeque<Frame>, charge: Option<Charge>) {
        for frame in frames.iter() {
            let weight = frame.weight();
            self.bytes += weight;
            self.small += Charge::cost(frame, weight);
        }
        self.frames.append(frames);
        if let Some(charge) = charge {
            match &mut self.extra.get_or_insert_default().charge {
                Some(pays) => pays.absorb(charge),
                none => *none = Some(charge),
            }
        }
    }

    /// Frees what is in flight, and returns the waker of the sender.
    fn clear(&mut self) -> Option<Waker> {
        (self.frames, self.bytes, self.small, self.extra) = (VecDeque::new(), 0, 0, None);
        self.sender.take()
    }
}

impl Extra {
    const fn is_unused(&self) -> bool {
        let Self { charge, log, resume } = self;
        charge.is_none() && log.is_none() && resume.is_none()
    }
}

impl Resume {
    fn is_unused(&self) -> bool {
        let Self { notice, attached_bounds, owed, told_away } = self;
        !told_away && notice.is_none() && attached_bounds.is_none() && owed.is_empty()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.close(VecDeque::new(), None, ChatEnd::Lost);
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("side", &self.side).finish_non_exhaustive()
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, task::Wake};

    use super::*;

    /// A budget of so many bytes.
    #[derive(Debug)]
    struct Bytes(AtomicUsize);

    impl QueueBudget for Bytes {
        fn reserve(&self, bytes: usize) -> bool {
            let left = |left: usize| left.checked_sub(bytes);
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
        }

        fn release(&self, bytes: usize) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn text(bytes: usize) -> Frame {
        Frame::text("x".repeat(bytes))
    }

    fn pipe(items: usize, bytes: usize) -> (Pipe, Pipe) {
        let limits = Limits { queue_items: items, queue_bytes: bytes, ..Limits::default() };
        Pipe::pair(&limits, || Box::new(|_| ()))
    }

    fn full(result: Result<(), TrySendError>) -> Frame {
        match result {
            Err(TrySendError::Full(frame)) => frame,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn queue_bounded_in_items() {
        let (mut ann, mut bob) = pipe(2, 100);
        for text in ["a", "b"] {
            ann.try_send(Frame::text(text)).unwrap();
        }
        let frame = full(ann.try_send(Frame::text("c")));
        assert_eq!(bob.recv().await, Received::Frame(Frame::text("a")));
        ann.try_send(frame).unwrap();
    }

    #[tokio::test]
    async fn queue_bounded_in_bytes_takes_one_large_frame() {
        let (mut ann, mut bob) = pipe(10, 4);
        ann.try_send(Frame::text("abc")).unwrap();
        let large = full(ann.try_send(Frame::text("0123456789")));
        bob.recv().await;
        ann.try_send(large).unwrap();
        full(ann.try_send(Frame::text("")));
        bob.recv().await;
        ann.try_send(Frame::text("")).unwrap();
    }

    #[tokio::test]
    async fn sender_waiting_for_room_wakes_on_recv_and_on_part() {
        let (mut ann, mut bob) = pipe(1, 100);
        ann.send(Frame::text("a")).await.unwrap();
        let sending = tokio::spawn(async move {
            let second = ann.send(Frame::text("b")).await;
            (second, ann.send(Frame::text("c")).await)
        });
        tokio::task::yield_now().await;
        assert_eq!(bob.recv().await, Received::Frame(Frame::text("a")));
        tokio::task::yield_now().await;
        bob.part(ChatEnd::Left);
        assert_eq!(sending.await.unwrap(), (Ok(()), Err(Frame::text("c"))));
    }

    #[test]
    fn directions_are_bounded_apart() {
        let bounds = |items| QueueBounds { items, bytes: 100 };
        let (mut ann, mut bob) =
            Pipe::pair_bounded([bounds(1), bounds(3)], Duration::ZERO, || Box::new(|_| ()));
        for (pipe, items) in [(&mut ann, 1), (&mut bob, 3)] {
            let sent = (0..10).take_while(|_| pipe.try_send(Frame::text("a")).is_ok());
            assert_eq!(sent.count(), items);
        }
    }

    #[test]
    fn notices_are_polled_without_taking_frames() {
        let (mut ann, mut bob) = pipe(8, 100);
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &Context::from_waker(&waker);
        bob.try_send(Frame::text("a")).unwrap();
        assert!(ann.poll_receipts(cx).is_pending());
        bob.acknowledge(2);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(ann.poll_receipts(cx), Poll::Ready(Some(2)));
        assert!(ann.poll_progress(cx).is_pending());
        bob.report_progress();
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        assert!(ann.poll_progress(cx).is_ready() && ann.poll_progress(cx).is_pending());
        assert!(ann.poll_parted(cx).is_pending());
        bob.acknowledge(1);
        bob.part(ChatEnd::Next);
        assert!(woken.0.load(Ordering::Relaxed) > 2);
        assert_eq!(ann.poll_parted(cx), Poll::Ready(ChatEnd::Next));
        assert_eq!(ann.poll_receipts(cx), Poll::Ready(Some(1)));
        assert_eq!(ann.poll_receipts(cx), Poll::Ready(None));
        assert_eq!(ann.poll_recv(cx), Poll::Ready(Received::Frame(Frame::text("a"))));
    }

    #[tokio::test]
    async fn frames_in_flight_arrive_before_parted() {
        let (mut ann, mut bob) = pipe(8, 100);
        ann.try_send(Frame::text("a")).unwrap();
        ann.part(ChatEnd::Next);
        assert_eq!(bob.recv().await, Received::Frame(Frame::text("a")));
        assert_eq!(bob.recv().await, Received::Parted(ChatEnd::Next));
        assert_eq!(bob.recv().await, Received::Parted(ChatEnd::Next));
        assert_eq!(bob.try_send(Frame::text("b")), Err(TrySendError::Parted(Frame::text("b"))));
    }

    #[tokio::test]
    async fn receipts_wake_receiver() {
        let (mut ann, mut bob) = pipe(8, 100);
        ann.try_send(Frame::text("a")).unwrap();
        let waiting = tokio::spawn(async move {
            poll_fn(|cx| {
                let receipts = ann.take_receipts();
                if receipts > 0 {
                    return Poll::Ready(receipts);
                }
                assert!(ann.poll_recv(cx).is_pending());
                Poll::Pending
            })
            .await
        });
        tokio::task::yield_now().await;
        bob.acknowledge(1);
        assert_eq!(waiting.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn small_frames_beyond_allowance_are_charged() {
        const FREE: usize = 100_000;
        let budget = Arc::new(Bytes(AtomicUsize::new(FREE)));
        let left = || budget.0.load(Ordering::Relaxed);
        let (mut ann, mut bob) = pipe(1_000, usize::MAX);
        ann.set_budget(Some(budget.clone()));
        let mut sent = 0;
        let refused = loop {
            match ann.try_send(text(1_000)) {
                Ok(()) => sent += 1,
                Err(TrySendError::Full(frame)) => break frame,
                Err(other) => panic!("{other:?}"),
            }
            assert!(sent <= 13 || left() < FREE, "{sent} are more than the allowance");
        };
        assert!(sent > 13 && sent * 1_256 <= QUEUE_ALLOWANCE + FREE, "{sent}");
        bob.recv().await;
        ann.try_send(refused).unwrap();
        for _ in 0..sent {
            bob.recv().await;
        }
        assert_eq!(left(), FREE, "all is released");

        // One frame is taken without a budget, and so is a large one, which others have paid for.
        budget.0.store(0, Ordering::Relaxed);
        ann.try_send(text(16_000)).unwrap();
        full(ann.try_send(text(0)));
        bob.recv().await;
        for _ in 0..5 {
            ann.try_send(text(70_000)).unwrap();
        }
        full(ann.try_send(text(16_000)));
        drop(bob);
        assert_eq!(left(), 0);
    }

    #[tokio::test]
    async fn parting_frames_keep_their_charge() {
        const FREE: usize = 100_000;
        let budget = Arc::new(Bytes(AtomicUsize::new(FREE)));
        let left = || budget.0.load(Ordering::Relaxed);
        for receives in [true, false] {
            let (mut ann, mut bob) = pipe(1_000, usize::MAX);
            ann.set_budget(Some(budget.clone()));
            for _ in 0..2 {
                ann.try_send(text(20_000)).unwrap();
            }
            let mut charge = Charge::new(budget.clone());
            assert!(charge.cover(20_000));
            let held = left();
            ann.part_after([text(20_000)].into(), Some(charge), ChatEnd::Left);
            assert_eq!(left(), held);
            if receives {
                for _ in 0..3 {
                    assert_eq!(bob.recv().await, Received::Frame(text(20_000)));
                }
                assert_eq!(bob.recv().await, Received::Parted(ChatEnd::Left));
            }
            drop(bob);
            assert_eq!(left(), FREE);
        }
    }

    #[tokio::test]
    async fn queue_shrinks_when_empty() {
        let (mut ann, mut bob) = pipe(100, 1_000);
        for (at_once, kept) in [(1, 1..=1), (1, 1..=1), (8, 8..=MAX_IDLE_CAPACITY), (20, 0..=0)] {
            for _ in 0..at_once {
                ann.try_send(Frame::text("a")).unwrap();
            }
            for _ in 0..at_once {
                bob.recv().await;
            }
            let capacity = lock(&ann.shared.channel).queues[ann.side].frames.capacity();
            assert!(kept.contains(&capacity), "{capacity} after {at_once}");
        }
    }

    /// Counts wake-ups. Unlike two no-op wakers, two of these compare as different.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn poll_begin_does_not_lose_receiver_waker() {
        let (mut ann, mut bob) = pipe(8, 100);
        let [reads, begins] = [Arc::<Woken>::default(), Arc::default()];
        let [reading, beginning] = [reads.clone(), begins].map(Waker::from);
        let cx = &Context::from_waker(&reading);
        assert!(bob.poll_recv(cx).is_pending());
        assert!(bob.poll_begin(&Context::from_waker(&beginning)).is_pending());
        assert!(bob.poll_recv(cx).is_pending());
        ann.try_send(Frame::text("a")).unwrap();
        assert_eq!(reads.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn withdraw_is_seen_by_own_side() {
        let (_ann, mut bob) = pipe(8, 100);
        let waker = Waker::from(Arc::<Woken>::default());
        let cx = &Context::from_waker(&waker);
        assert!(bob.poll_recv(cx).is_pending());
        assert!(!bob.withdraw());
        assert_eq!(bob.poll_recv(cx), Poll::Ready(Received::Parted(ChatEnd::Lost)));
    }

    #[test]
    fn on_part_called_once_per_side() {
        let parted = Arc::new(AtomicUsize::new(0));
        let (ann, bob) = Pipe::pair(&Limits::default(), || {
            let parted = Arc::clone(&parted);
            Box::new(move |_| {
                parted.fetch_add(1, Ordering::Relaxed);
            })
        });
        ann.part(ChatEnd::Left);
        assert_eq!(parted.load(Ordering::Relaxed), 1);
        drop(bob);
        assert_eq!(parted.load(Ordering::Relaxed), 2);
    }
}
