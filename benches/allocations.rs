//! Relaying a frame allocates nothing: counted over whole sessions, from one peer's transport to
//! the other's. Alone in its program, since the allocator is the program's.

mod counting;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::{Sink, Stream, task::AtomicWaker};
use purrr_core::{Command, Event, Frame, Hub, Profile, Search, hub::Input};

/// So many pass first, while queues and buckets take the room that they keep.
const WARM_UP: usize = 100;
const FRAMES: usize = 1_000;

/// A transport that takes every event at once.
struct Transport<I, E> {
    input: I,
    event: E,
}

/// What the speaker waits for.
#[derive(Default)]
struct Progress {
    matched: AtomicBool,
    heard: AtomicUsize,
    speaker: AtomicWaker,
}

#[tokio::test]
async fn relaying_a_frame_allocates_nothing() {
    let hub = Hub::memory();
    let progress = Arc::new(Progress::default());
    let speaker = hub.serve(speaker(Arc::clone(&progress)), Profile::default());
    let (done, counted) = tokio::sync::oneshot::channel();
    let listener = hub.serve(listener(progress, done), Profile::default());
    let calls = tokio::select! {
        calls = counted => calls.expect("it is told before the listener goes"),
        _ = async { tokio::join!(speaker, listener) } => unreachable!("neither hangs up"),
    };
    assert_eq!(calls, 0, "allocations for {FRAMES} frames");
}

/// Says the next thing whenever the last one has arrived.
fn speaker(progress: Arc<Progress>) -> impl Stream<Item = Input> + Sink<Event> {
    let mut said = 0;
    let frame = Frame::text("hello").with_id(1);
    let told = Arc::clone(&progress);
    let say = move |cx: &mut Context<'_>| {
        progress.speaker.register(cx.waker());
        let matched = progress.matched.load(Ordering::Relaxed);
        if !matched || said > progress.heard.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        said += 1;
        Poll::Ready(Some(Command::Send { chat: None, frame: frame.clone() }))
    };
    Transport::searching(say, move |event| {
        if let Event::Matched { .. } = event {
            told.matched.store(true, Ordering::Relaxed);
            told.speaker.wake();
        }
    })
}

/// Hears everything, and tells how often the allocator was asked meanwhile.
fn listener(
    progress: Arc<Progress>,
    done: tokio::sync::oneshot::Sender<usize>,
) -> impl Stream<Item = Input> + Sink<Event> {
    let (mut before, mut done) = (0, Some(done));
    Transport::searching(
        |_| Poll::Pending,
        move |event| {
            let Event::Received(_) = event else { return };
            let heard = progress.heard.fetch_add(1, Ordering::Relaxed) + 1;
            let calls = counting::CALLS.load(Ordering::Relaxed);
            match heard {
                WARM_UP => before = calls,
                heard if heard == WARM_UP + FRAMES => {
                    done.take().map(|done| done.send(calls - before));
                }
                _ => {}
            }
            progress.speaker.wake();
        },
    )
}

impl<I, E> Transport<I, E> {
    /// Searches for a partner before anything else.
    fn searching(
        mut input: I,
        event: E,
    ) -> Transport<impl FnMut(&mut Context<'_>) -> Poll<Option<Command>>, E>
    where
        I: FnMut(&mut Context<'_>) -> Poll<Option<Command>>,
    {
        let mut search = Some(Command::Find(Search::default()));
        let input = move |cx: &mut Context<'_>| match search.take() {
            Some(search) => Poll::Ready(Some(search)),
            None => input(cx),
        };
        Transport { input, event }
    }
}

impl<I, E> Stream for Transport<I, E>
where
    I: FnMut(&mut Context<'_>) -> Poll<Option<Command>> + Unpin,
    E: Unpin,
{
    type Item = Input;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Input>> {
        (self.input)(cx).map(|command| command.map(Input::Command))
    }
}

impl<I: Unpin, E: FnMut(Event) + Unpin> Sink<Event> for Transport<I, E> {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<(), Infallible> {
        (self.event)(event);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}
