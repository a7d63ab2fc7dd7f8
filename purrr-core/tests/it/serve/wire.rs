//! A transport in memory, whose far end the test holds in its hand: what room there is, and what fails.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{Sink, Stream};
use purrr_core::{
    Event,
    hub::{Gate, Input},
};

/// What the hub serves.
pub(crate) struct Wire(Arc<Mutex<Ends>>, Option<Gate>);

/// Where the test reads and writes. Clones are the same end.
#[derive(Clone)]
pub(crate) struct Far(Arc<Mutex<Ends>>);

/// What a wire can be told to fail in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    Ready,
    Send,
    Flush,
}

/// The wire was told to fail.
#[derive(Debug)]
pub(crate) struct Broken;

struct Ends {
    inputs: VecDeque<Written>,
    hung_up: bool,
    /// The line is dead, whatever was sent before.
    vanished: bool,
    ignores_gate: bool,
    /// How many inputs the hub has read.
    read: usize,
    taken: VecDeque<Event>,
    /// How many more events are taken.
    room: usize,
    /// What room there is again once all was flushed.
    refill: Option<usize>,
    flushes: bool,
    /// How many flushes came to their end.
    flushed: usize,
    closes: bool,
    fault: Option<Fault>,
    /// The hub let go of the wire.
    dropped: bool,
    task: Option<Waker>,
    reader: Option<Waker>,
}

/// An input, and what happens in the very moment in which it is read.
struct Written {
    input: Input,
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
}

/// Longer than anything the hub waits for. The clock is virtual, so that it costs nothing.
const FOREVER: Duration = Duration::from_secs(3600);

/// A wire that takes everything at once.
pub(crate) fn wire() -> (Wire, Far) {
    gated_wire(None)
}

/// The same, which keeps commands back while this gate is closed.
pub(crate) fn gated_wire(gate: Option<Gate>) -> (Wire, Far) {
    let ends = Arc::new(Mutex::new(Ends {
        inputs: VecDeque::new(),
        hung_up: false,
        vanished: false,
        ignores_gate: false,
        read: 0,
        taken: VecDeque::new(),
        room: usize::MAX,
        refill: None,
        flushes: true,
        flushed: 0,
        closes: true,
        fault: None,
        dropped: false,
        task: None,
        reader: None,
    }));
    (Wire(Arc::clone(&ends), gate), Far(ends))
}

impl Far {
    pub(crate) fn send(&self, input: impl Into<Input>) {
        let input = Written { input: input.into(), meanwhile: None };
        self.change(|ends| ends.inputs.push_back(input));
    }

    /// Sends, and has something else happen while the hub reads it.
    pub(crate) fn send_with(
        &self,
        input: impl Into<Input>,
        meanwhile: impl FnOnce() + Send + 'static,
    ) {
        let input = Written { input: input.into(), meanwhile: Some(Box::new(meanwhile)) };
        self.change(|ends| ends.inputs.push_back(input));
    }

    /// Ends the stream, after what was sent before.
    pub(crate) fn hang_up(&self) {
        self.change(|ends| ends.hung_up = true);
    }

    /// Ends the stream at once.
    pub(crate) fn vanish(&self) {
        self.change(|ends| ends.vanished = true);
    }

    /// Hands on commands also while the gate is closed.
    pub(crate) fn ignore_gate(&self) {
        self.change(|ends| ends.ignores_gate = true);
    }

    /// Takes so many more events and then none.
    pub(crate) fn take_only(&self, events: usize) {
        self.change(|ends| ends.room = events);
    }

    pub(crate) fn take_all(&self) {
        self.take_only(usize::MAX);
    }

    /// Takes so many events from one flush to the next, as a buffer does that wakes no task when it has been emptied.
    pub(crate) fn take_between_flushes(&self, events: usize) {
        self.change(|ends| (ends.room, ends.refill) = (events, Some(events)));
    }

    /// Whether a flush comes to its end.
    pub(crate) fn let_flush(&self, flushes: bool) {
        self.change(|ends| ends.flushes = flushes);
    }

    /// How often all that was sent has been flushed so far.
    pub(crate) fn flushed(&self) -> usize {
        lock(&self.0).flushed
    }

    /// Whether closing comes to its end.
    pub(crate) fn let_close(&self, closes: bool) {
        self.change(|ends| ends.closes = closes);
    }

    pub(crate) fn fail(&self, fault: Fault) {
        self.change(|ends| ends.fault = Some(fault));
    }

    /// How many inputs the hub has read so far.
    pub(crate) fn read(&self) -> usize {
        lock(&self.0).read
    }

    /// What was taken and not yet asked for.
    pub(crate) fn taken(&self) -> Vec<Event> {
        lock(&self.0).taken.drain(..).collect()
    }

    /// The next event, or `None` once the hub has let go of the wire.
    pub(crate) async fn next(&self) -> Option<Event> {
        let next = poll_fn(|cx| {
            let mut ends = lock(&self.0);
            if let Some(event) = ends.taken.pop_front() {
                return Poll::Ready(Some(event));
            }
            if ends.dropped {
                return Poll::Ready(None);
            }
            ends.reader = Some(cx.waker().clone());
            Poll::Pending
        });
        tokio::time::timeout(FOREVER, next).await.expect("something happens in the end")
    }

    fn change(&self, change: impl FnOnce(&mut Ends)) {
        let mut ends = lock(&self.0);
        change(&mut ends);
        let task = ends.task.take();
        drop(ends);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wire {
    /// Waits for a change if `ready` is false.
    fn poll(
        &self,
        cx: &Context<'_>,
        fault: Fault,
        ready: impl FnOnce(&Ends) -> bool,
    ) -> Poll<Result<(), Broken>> {
        let mut ends = lock(&self.0);
        if ends.fault == Some(fault) {
            return Poll::Ready(Err(Broken));
        }
        if ready(&ends) {
            return Poll::Ready(Ok(()));
        }
        ends.task = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Stream for Wire {
    type Item = Input;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Input>> {
        let mut ends = lock(&self.0);
        if ends.vanished {
            return Poll::Ready(None);
        }
        let closed = self.1.as_ref().is_some_and(Gate::is_closed) && !ends.ignores_gate;
        // The transport's own news does not queue up behind what the peer has sent.
        let at = ends.inputs.iter().position(|Written { input, .. }| {
            !closed || !matches!(input, Input::Command(_) | Input::Invalid(_))
        });
        let Some(Written { input, meanwhile }) = at.and_then(|at| ends.inputs.remove(at)) else {
            ends.task = Some(cx.waker().clone());
            return if ends.hung_up && !closed { Poll::Ready(None) } else { Poll::Pending };
        };
        ends.read += 1;
        drop(ends);
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        Poll::Ready(Some(input))
    }
}

impl Sink<Event> for Wire {
    type Error = Broken;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll(cx, Fault::Ready, |ends| ends.room > 0)
    }

    fn start_send(self: Pin<&mut Self>, event: Event) -> Result<(), Broken> {
        let mut ends = lock(&self.0);
        if ends.fault == Some(Fault::Send) {
            return Err(Broken);
        }
        assert!(ends.room > 0, "the hub sends only what there is room for");
        if ends.room < usize::MAX {
            ends.room -= 1;
        }
        ends.taken.push_back(event);
        let reader = ends.reader.take();
        drop(ends);
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let flushed = self.poll(cx, Fault::Flush, |ends| ends.flushes);
        if let Poll::Ready(Ok(())) = flushed {
            let mut ends = lock(&self.0);
            ends.flushed += 1;
            ends.room = ends.refill.unwrap_or(ends.room);
        }
        flushed
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll(cx, Fault::Flush, |ends| ends.closes)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let mut ends = lock(&self.0);
        ends.dropped = true;
        let reader = ends.reader.take();
        drop(ends);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = lock(&self.0);
        f.debug_struct("Far").field("read", &ends.read).field("taken", &ends.taken).finish()
    }
}

/// A story that failed while it held the lock has said why already.
fn lock(ends: &Mutex<Ends>) -> MutexGuard<'_, Ends> {
    ends.lock().unwrap_or_else(PoisonError::into_inner)
}
