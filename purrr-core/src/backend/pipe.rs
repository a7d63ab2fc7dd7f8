//! One side's end of a chat, bounded in frames and bytes: [`Pipe`].

use crate::model::reason::ChatEnd;
use crate::{
    model::{frame::Frame, limits::Limits},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        sleep,
    },
};
use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// One side's end of a chat: a bounded queue in each direction.
///
/// Holds at most [`Limits::queue_items`] frames and [`Limits::queue_bytes`] bytes each way; a frame larger than that is
/// taken only into an empty queue. Queues grow as they are used: a pipe that nothing flowed through takes about 350
/// bytes for both sides together, and each direction about 130 more once a frame has gone that way.
///
/// Both sides belong to one task each. The `poll` functions register that task and replace its last registration.
pub struct Pipe {
    shared: Arc<Shared>,
    side: usize,
    /// The waker that this side has left in the channel, while it may be sure of that.
    registered: Option<Waker>,
    /// Told once, before the partner can see that this side parted.
    on_part: Option<Box<dyn FnOnce() + Send>>,
}

/// What [`Pipe::recv`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A frame from the partner.
    Frame(Frame),
    /// The partner parted; nothing follows.
    Parted(ChatEnd),
}

/// Why [`Pipe::try_send`] did not take a frame, which is handed back.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError {
    /// The queue is full until the partner has read.
    #[error("the partner has not read enough yet")]
    Full(Frame),
    /// The chat is over.
    #[error("the chat is over")]
    Parted(Frame),
}

struct Shared {
    channel: Mutex<Channel>,
    /// Whether there may be something for the side of that index to receive. Changed under the lock only. While it is not
    /// set, the waker that side has registered is in the channel, so that it need not take the lock to find out that there
    /// is nothing.
    news: [AtomicBool; 2],
}

struct Channel {
    lanes: [Lane; 2],
    /// Which sides take part. A chat has begun, for good, when both do.
    begun: [bool; 2],
    parted: Option<ChatEnd>,
    max_items: usize,
    max_bytes: usize,
    /// How long one side waits for the other to take part.
    patience: Duration,
}

/// One direction, written by the side of its index and read by the other.
#[derive(Default)]
struct Lane {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Messages whose receipt the reader has given and the writer has not yet taken.
    receipts: u64,
    /// The reader has not made room yet, but its transport moves.
    progressed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What the queue keeps of its room when it has been emptied: enough for a lively chat, not the peak.
const KEPT_FRAMES: usize = 8;

impl Pipe {
    /// Makes both ends of a pipe within one process, for backends.
    ///
    /// `on_part` is called once for each side, when it parts or is dropped and before its partner can see that.
    ///
    /// ```
    /// use purrr_core::{Frame, Limits, backend::{Pipe, Received}, model::ChatEnd};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (mut ann, mut bob) = Pipe::pair(&Limits::default(), || Box::new(|| ()));
    /// ann.send(Frame::text("bye")).await.ok();
    /// ann.part(ChatEnd::Next);
    /// assert_eq!(bob.recv().await, Received::Frame(Frame::text("bye")));
    /// assert_eq!(bob.recv().await, Received::Parted(ChatEnd::Next));
    /// # }
    /// ```
    pub fn pair(
        limits: &Limits,
        mut on_part: impl FnMut() -> Box<dyn FnOnce() + Send>,
    ) -> (Self, Self) {
        let channel = Mutex::new(Channel {
            lanes: [Lane::default(), Lane::default()],
            begun: [false; 2],
            parted: None,
            max_items: limits.queue_items.max(1),
            max_bytes: limits.queue_bytes,
            patience: limits.stall,
        });
        let news = [AtomicBool::new(true), AtomicBool::new(true)];
        let shared = Arc::new(Shared { channel, news });
        let mut end = |side| Self {
            shared: Arc::clone(&shared),
            side,
            registered: None,
            on_part: Some(on_part()),
        };
        (end(0), end(1))
    }

    /// Takes part, and waits until the partner does. Whether it did; if not, it has given the match up, or has not taken part
    /// for [`Limits::stall`]: a task that is alive takes no time for that, and one that is never polled holds nobody up for ever.
    ///
    /// For backends that give out both ends within one process; between processes it is for them to say what happens at
    /// the other end.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, it can be asked again; if the pipe is dropped before the chat has begun, the partner is told
    /// that it never will.
    pub async fn begin(&mut self) -> bool {
        let patience = self.shared.lock().patience;
        let begun = tokio::select! {
            biased;
            begun = poll_fn(|cx| self.poll_begin(cx)) => Some(begun),
            () = sleep(patience) => None,
        };
        begun.unwrap_or_else(|| self.withdraw())
    }

    /// Gives the match up, unless the partner takes part by now. Whether it does.
    fn withdraw(&self) -> bool {
        let mut channel = self.shared.lock();
        if channel.begun[1 - self.side] {
            return true;
        }
        channel.begun[self.side] = false;
        channel.parted.get_or_insert(ChatEnd::Lost);
        self.shared.news[self.side].store(true, Ordering::Release);
        self.tell_partner(channel);
        false
    }

    fn poll_begin(&mut self, cx: &Context<'_>) -> Poll<bool> {
        let mut channel = self.shared.lock();
        channel.begun[self.side] = true;
        if channel.begun[1 - self.side] {
            // It waits where it will wait for frames.
            self.tell_partner(channel);
            return Poll::Ready(true);
        }
        if channel.parted.is_some() {
            return Poll::Ready(false);
        }
        register(&mut channel.lanes[1 - self.side].reader, cx);
        self.registered = None;
        Poll::Pending
    }

    /// Sends a frame, waiting for room.
    ///
    /// # Errors
    ///
    /// The frame, if the chat is over.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the frame was not sent.
    pub async fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        let mut waiting = Some(frame);
        poll_fn(|cx| {
            // Taken back on `Pending`, so the option is always filled here.
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
    /// Hands the frame back if there is no room or the chat is over.
    pub fn try_send(&mut self, frame: Frame) -> Result<(), TrySendError> {
        self.push(frame, None)
    }

    /// Sends a frame if there is room, and otherwise has the task woken when there is.
    ///
    /// # Errors
    ///
    /// Hands the frame back if there is no room or the chat is over.
    pub fn poll_send(&mut self, cx: &Context<'_>, frame: Frame) -> Result<(), TrySendError> {
        self.push(frame, Some(cx))
    }

    /// Polls for the next frame. After [`Received::Parted`] it yields that forever.
    pub fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Received> {
        self.poll_recv_and_receipts(cx, None)
    }

    /// Whether there may be something to receive. If not, the task is woken when there is.
    #[inline]
    pub(crate) fn has_news(&self, cx: &Context<'_>) -> bool {
        self.shared.news[self.side].load(Ordering::Acquire)
            || !self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// [`poll_recv`](Self::poll_recv), and adds the [receipts](Self::take_receipts) that were there by then.
    pub(crate) fn poll_recv_and_receipts(
        &mut self,
        cx: &Context<'_>,
        receipts: Option<&mut u64>,
    ) -> Poll<Received> {
        if !self.has_news(cx) {
            return Poll::Pending;
        }
        let mut channel = self.shared.lock();
        if let Some(receipts) = receipts {
            *receipts += std::mem::take(&mut channel.lanes[self.side].receipts);
        }
        let parted = channel.parted;
        let more = channel.lanes[self.side].receipts > 0;
        let lane = &mut channel.lanes[1 - self.side];
        let frame = lane.frames.pop_front();
        if lane.frames.is_empty() && parted.is_none() {
            register(&mut lane.reader, cx);
            register(&mut self.registered, cx);
            self.shared.news[self.side].store(more, Ordering::Release);
        }
        let Some(frame) = frame else {
            return parted.map_or(Poll::Pending, |reason| Poll::Ready(Received::Parted(reason)));
        };
        lane.bytes -= frame.weight();
        if lane.frames.is_empty() && lane.frames.capacity() > KEPT_FRAMES {
            lane.frames = VecDeque::new();
        }
        let writer = lane.writer.take();
        drop(channel);
        wake(writer);
        Poll::Ready(Received::Frame(frame))
    }

    /// Tells the partner that so many more of its messages have arrived for good.
    pub fn acknowledge(&mut self, messages: u64) {
        let mut channel = self.shared.lock();
        channel.lanes[1 - self.side].receipts += messages;
        // The partner learns of receipts where it waits for frames.
        self.tell_partner(channel);
    }

    /// Takes the receipts that arrived since the last call. [`poll_recv`](Self::poll_recv) has the task woken for them.
    pub fn take_receipts(&mut self) -> u64 {
        std::mem::take(&mut self.shared.lock().lanes[self.side].receipts)
    }

    /// Tells the partner that this side is slow but not stuck, in case it waits for room.
    pub fn report_progress(&mut self) {
        let mut channel = self.shared.lock();
        let lane = &mut channel.lanes[1 - self.side];
        lane.progressed = true;
        let writer = lane.writer.take();
        drop(channel);
        wake(writer);
    }

    /// Whether the partner has reported progress since the last call.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.shared.lock().lanes[self.side].progressed)
    }

    /// Parts, telling the partner why once it has read what is under way.
    pub fn part(mut self, reason: ChatEnd) {
        self.close(reason);
    }

    fn push(&mut self, frame: Frame, cx: Option<&Context<'_>>) -> Result<(), TrySendError> {
        let mut channel = self.shared.lock();
        if channel.parted.is_some() {
            return Err(TrySendError::Parted(frame));
        }
        let (max_items, max_bytes) = (channel.max_items, channel.max_bytes);
        let lane = &mut channel.lanes[self.side];
        let weight = frame.weight();
        let fits = lane.frames.is_empty()
            || (lane.frames.len() < max_items && lane.bytes.saturating_add(weight) <= max_bytes);
        if !fits {
            if let Some(cx) = cx {
                register(&mut lane.writer, cx);
            }
            return Err(TrySendError::Full(frame));
        }
        lane.bytes += weight;
        if lane.frames.capacity() == 0 {
            // In most chats there is never more than one under way, and a queue would begin with room for four.
            lane.frames.reserve_exact(1);
        }
        lane.frames.push_back(frame);
        self.tell_partner(channel);
        Ok(())
    }

    /// Unlocks the channel, in which something has changed for the partner, and has it look.
    fn tell_partner(&self, mut channel: MutexGuard<'_, Channel>) {
        self.shared.news[1 - self.side].store(true, Ordering::Release);
        let partner = channel.lanes[self.side].reader.take();
        drop(channel);
        wake(partner);
    }

    fn close(&mut self, reason: ChatEnd) {
        let Some(on_part) = self.on_part.take() else { return };
        on_part();
        let mut channel = self.shared.lock();
        channel.parted.get_or_insert(reason);
        // Whoever gives up alone has never begun.
        channel.begun[self.side] &= channel.begun[1 - self.side];
        // Nobody will read what was on its way to this side.
        channel.lanes[1 - self.side].frames = VecDeque::new();
        let writer = channel.lanes[1 - self.side].writer.take();
        self.tell_partner(channel);
        wake(writer);
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.close(ChatEnd::Lost);
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("side", &self.side).finish_non_exhaustive()
    }
}

impl Shared {
    /// No code between lock and unlock can panic halfway through a change, so a poisoned channel is still whole.
    fn lock(&self) -> MutexGuard<'_, Channel> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn pipe(items: usize, bytes: usize) -> (Pipe, Pipe) {
        let limits = Limits { queue_items: items, queue_bytes: bytes, ..Limits::default() };
        Pipe::pair(&limits, || Box::new(|| ()))
    }

    fn full(result: Result<(), TrySendError>) -> Frame {
        match result {
            Err(TrySendError::Full(frame)) => frame,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_queue_is_bounded_in_items() {
        let (mut ann, mut bob) = pipe(2, 100);
        for text in ["a", "b"] {
            ann.try_send(Frame::text(text)).unwrap();
        }
        let frame = full(ann.try_send(Frame::text("c")));
        assert_eq!(bob.recv().await, Received::Frame(Frame::text("a")));
        ann.try_send(frame).unwrap();
    }

    #[tokio::test]
    async fn a_queue_is_bounded_in_bytes_and_takes_a_large_frame_alone() {
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
    async fn a_waiting_sender_goes_on_when_the_partner_reads_and_when_it_parts() {
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

    #[tokio::test]
    async fn what_was_sent_arrives_before_the_parting_and_the_parting_for_ever() {
        let (mut ann, mut bob) = pipe(8, 100);
        ann.try_send(Frame::text("a")).unwrap();
        ann.part(ChatEnd::Next);
        assert_eq!(bob.recv().await, Received::Frame(Frame::text("a")));
        assert_eq!(bob.recv().await, Received::Parted(ChatEnd::Next));
        assert_eq!(bob.recv().await, Received::Parted(ChatEnd::Next));
        assert_eq!(bob.try_send(Frame::text("b")), Err(TrySendError::Parted(Frame::text("b"))));
    }

    #[tokio::test]
    async fn receipts_wake_whoever_waits_for_frames() {
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
    async fn a_queue_keeps_no_more_room_than_its_chat_has_needed() {
        let (mut ann, mut bob) = pipe(100, 1_000);
        for (at_once, kept) in [(1, 1..=1), (1, 1..=1), (8, 8..=KEPT_FRAMES), (20, 0..=0)] {
            for _ in 0..at_once {
                ann.try_send(Frame::text("a")).unwrap();
            }
            for _ in 0..at_once {
                bob.recv().await;
            }
            let capacity = ann.shared.lock().lanes[ann.side].frames.capacity();
            assert!(kept.contains(&capacity), "{capacity} after {at_once}");
        }
    }

    /// Counts how often it is woken; unlike a waker that does nothing, one of it is told from others.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_asked_to_begin_meanwhile_does_not_take_the_readers_place_for_good() {
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
    fn whoever_gives_up_sees_it_too() {
        let (_ann, mut bob) = pipe(8, 100);
        let waker = Waker::from(Arc::<Woken>::default());
        let cx = &Context::from_waker(&waker);
        assert!(bob.poll_recv(cx).is_pending());
        assert!(!bob.withdraw());
        assert_eq!(bob.poll_recv(cx), Poll::Ready(Received::Parted(ChatEnd::Lost)));
    }

    #[test]
    fn each_side_reports_its_parting_once() {
        let parted = Arc::new(AtomicUsize::new(0));
        let (ann, bob) = Pipe::pair(&Limits::default(), || {
            let parted = Arc::clone(&parted);
            Box::new(move || {
                parted.fetch_add(1, Ordering::Relaxed);
            })
        });
        ann.part(ChatEnd::Left);
        assert_eq!(parted.load(Ordering::Relaxed), 1);
        drop(bob);
        assert_eq!(parted.load(Ordering::Relaxed), 2);
    }
}
