//! A broker that can die and repeat what it carries, and pipes that go through it.

use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use purrr_core::{
    Frame, Limits,
    backend::{LobbyError, Pipe, Place, Received, TrySendError, conformance::Faults},
    model::ChatEnd,
};
use tokio::{sync::watch, time::timeout};

use super::Bug;

/// What is between the nodes of a broken cluster. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Broker(Arc<State>);

#[derive(Debug)]
struct State {
    dead: watch::Sender<bool>,
    repeats: AtomicBool,
    /// The number of ways, which are counted from 1.
    ways: AtomicUsize,
    /// The way that holds the only lane, or 0.
    lane: AtomicUsize,
}

impl Default for Broker {
    fn default() -> Self {
        Self(Arc::new(State {
            dead: watch::Sender::new(false),
            repeats: AtomicBool::default(),
            ways: AtomicUsize::default(),
            lane: AtomicUsize::default(),
        }))
    }
}

#[async_trait]
impl Faults for Broker {
    async fn kill_broker(&self) -> bool {
        self.0.dead.send_replace(true);
        true
    }

    async fn repeat_messages(&self) -> bool {
        self.0.repeats.store(true, Ordering::Relaxed);
        true
    }
}

impl Broker {
    pub(super) fn is_dead(&self) -> bool {
        *self.0.dead.borrow()
    }

    fn way(&self) -> Way {
        let id = self.0.ways.fetch_add(1, Ordering::Relaxed) + 1;
        Way { id, held: VecDeque::new(), parted: None }
    }

    /// Returns a place that fails when the broker dies.
    pub(super) fn while_alive(&self, place: Place) -> Place {
        let mut dead = self.0.dead.subscribe();
        Place::new(async move {
            tokio::select! {
                made = place => made,
                _ = dead.wait_for(|dead| *dead) => Err(LobbyError::Unavailable("dead".into())),
            }
        })
    }
}

/// Returns a pipe that passes everything along, but for what the bug swallows.
pub(super) fn bridged(far: Pipe, bug: Bug, broker: Broker) -> Pipe {
    let (ours, near) = Pipe::pair(&Limits::default(), || Box::new(|_| ()));
    tokio::spawn(Bridge { bug, broker }.run(near, far));
    ours
}

struct Bridge {
    bug: Bug,
    broker: Broker,
}

/// One direction of a bridge.
struct Way {
    id: usize,
    held: VecDeque<Frame>,
    parted: Option<ChatEnd>,
}

impl Bridge {
    async fn run(self, mut near: Pipe, mut far: Pipe) {
        let (mut out, mut back) = (self.broker.way(), self.broker.way());
        while !out.is_over() && !back.is_over() {
            if self.bug == Bug::SilentWhenDead && self.broker.is_dead() {
                return pending().await;
            }
            let advance = poll_fn(|cx| {
                let mut moved = self.advance(cx, &mut near, &mut far, &mut out);
                moved |= self.advance(cx, &mut far, &mut near, &mut back);
                if moved { Poll::Ready(()) } else { Poll::Pending }
            });
            // A bridge that waits for the lane or for the death of the broker is not woken.
            timeout(Duration::from_millis(5), advance).await.ok();
        }
        let (pipe, reason) = match (out.parted, back.parted) {
            (Some(reason), _) if out.is_over() => (far, reason),
            (_, reason) => (near, reason.unwrap_or(ChatEnd::Lost)),
        };
        pipe.part(if self.bug == Bug::AlwaysLeft { ChatEnd::Left } else { reason });
    }

    /// Takes and passes on what one direction has. Returns true if there was anything.
    fn advance(&self, cx: &Context<'_>, from: &mut Pipe, to: &mut Pipe, way: &mut Way) -> bool {
        let lane = &self.broker.0.lane;
        let pass = |from, to| lane.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        if self.bug == Bug::OneLane && ![0, way.id].contains(&lane.load(Ordering::Relaxed)) {
            return false;
        }
        let mut moved = false;
        if way.parted.is_none() && (way.held.is_empty() || self.bug == Bug::Unbounded) {
            match from.poll_recv(cx) {
                Poll::Ready(Received::Frame(frame)) => {
                    let repeats = self.broker.0.repeats.load(Ordering::Relaxed);
                    if repeats && self.bug == Bug::Repeats {
                        way.held.push_back(frame.clone());
                    }
                    way.held.push_back(frame);
                    moved = true;
                }
                Poll::Ready(Received::Parted(reason)) => {
                    way.parted = Some(reason);
                    moved = true;
                }
                Poll::Ready(other) => panic!("{other:?}"),
                Poll::Pending => {}
            }
        }
        if let Some(frame) = way.held.pop_front() {
            match to.poll_send(cx, frame) {
                Ok(()) => {
                    moved = true;
                    pass(way.id, 0).ok();
                }
                Err(TrySendError::Full(frame)) => {
                    way.held.push_front(frame);
                    pass(0, way.id).ok();
                }
                Err(_) => way.held.clear(),
            }
        }
        if self.bug != Bug::Deaf {
            if let Poll::Ready(Some(receipts)) = to.poll_receipts(cx) {
                from.acknowledge(receipts);
                moved = true;
            }
            if to.poll_progress(cx).is_ready() {
                from.report_progress();
                moved = true;
            }
        }
        moved
    }
}

impl Way {
    fn is_over(&self) -> bool {
        self.parted.is_some() && self.held.is_empty()
    }
}
