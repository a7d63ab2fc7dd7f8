//! One side of a chat between nodes: joins the session's pipe to the partner's node.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use purrr_core::{
    Frame,
    backend::{Pipe, Received, TrySendError},
    codec::portable,
    model::{ChatEnd, PeerId},
};
use tokio::{sync::mpsc::UnboundedReceiver, time::Instant};

use super::Node;
use crate::protocol::{
    member::News,
    message::{Chat, Head, Message, PlaceId},
};

/// How many frames of one side may be on their way. The rest waits in its own pipe.
const WINDOW: usize = 8;

/// The minimum time between two reports of progress, which would otherwise be kept without a bound
/// while Redis does not answer. A stall lasts for seconds.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

struct Talk {
    node: Node,
    chat: Chat,
    pipe: Pipe,
    news: UnboundedReceiver<News>,
    /// What the partner has sent and the session has no room for: at most a window.
    inbox: VecDeque<Frame>,
    in_flight: usize,
    progress_told: Option<Instant>,
    parted: Option<ChatEnd>,
}

enum Step {
    Out(Received),
    In(Option<News>),
    Delivered,
    Receipts(u64),
    Progress,
    Over(ChatEnd),
}

/// Begins a chat. Returns the session's end of its pipe.
pub(super) fn begin(
    node: Node,
    chat: Chat,
    (peer, place): (PeerId, PlaceId),
    news: UnboundedReceiver<News>,
) -> Pipe {
    let mut free = Some(node.clone());
    let (ours, pipe) = Pipe::pair(&node.options().limits, || match free.take() {
        // The session's end is created first.
        Some(node) => Box::new(move |_| node.free(peer, place)),
        None => Box::new(|_| ()),
    });
    let talk = Talk {
        node,
        chat,
        pipe,
        news,
        inbox: VecDeque::new(),
        in_flight: 0,
        progress_told: None,
        parted: None,
    };
    tokio::spawn(talk.run());
    ours
}

impl Talk {
    async fn run(mut self) {
        let (own, parted) = loop {
            match poll_fn(|cx| self.poll_step(cx)).await {
                Step::Out(Received::Frame(frame)) => {
                    self.in_flight += 1;
                    let bytes = portable::encode_frame(&frame).into();
                    self.tell(Head::Frame { chat: self.chat }, bytes);
                }
                Step::Out(Received::Parted(reason)) => break (reason, None),
                // There is nothing else to receive in this version of the core.
                Step::Out(_) => break (ChatEnd::Lost, Some(ChatEnd::Lost)),
                Step::In(Some(News::Frame(bytes))) => match portable::decode_frame(&bytes) {
                    Ok(frame) => self.inbox.push_back(frame),
                    // Of a later version.
                    Err(_) => self.tell(Head::Took { chat: self.chat }, Bytes::new()),
                },
                Step::In(Some(News::Took)) => self.in_flight = self.in_flight.saturating_sub(1),
                Step::In(Some(News::Receipts(receipts))) => self.pipe.acknowledge(receipts),
                Step::In(Some(News::Progress)) => self.pipe.report_progress(),
                Step::In(Some(News::Parted(reason))) => {
                    self.parted = Some(reason.parse().unwrap_or(ChatEnd::Lost));
                }
                Step::In(None) => self.parted = Some(self.parted.unwrap_or(ChatEnd::Lost)),
                Step::Delivered => self.tell(Head::Took { chat: self.chat }, Bytes::new()),
                Step::Receipts(count) => {
                    self.tell(Head::Receipts { chat: self.chat, count }, Bytes::new());
                }
                Step::Progress => {
                    if self.progress_told.is_none_or(|told| told.elapsed() >= PROGRESS_INTERVAL) {
                        self.progress_told = Some(Instant::now());
                        self.tell(Head::Progress { chat: self.chat }, Bytes::new());
                    }
                }
                Step::Over(reason) => break (ChatEnd::Lost, Some(reason)),
            }
        };
        // Frees the peer before its session sees the end.
        self.node.close(self.chat, own.name());
        if let Some(reason) = parted {
            self.pipe.part(reason);
        }
    }

    fn tell(&self, head: Head, payload: Bytes) {
        self.node.tell(self.chat, Message::new(head, payload));
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if self.parted.is_none()
            && let Poll::Ready(news) = self.news.poll_recv(cx)
        {
            return Poll::Ready(Step::In(news));
        }
        if let Some(frame) = self.inbox.pop_front() {
            match self.pipe.poll_send(cx, frame) {
                Ok(()) => return Poll::Ready(Step::Delivered),
                Err(TrySendError::Full(frame)) => self.inbox.push_front(frame),
                Err(_) => self.inbox.clear(),
            }
        }
        if let Some(reason) = self.parted.filter(|_| self.inbox.is_empty()) {
            return Poll::Ready(Step::Over(reason));
        }
        if self.in_flight < WINDOW
            && let Poll::Ready(received) = self.pipe.poll_recv(cx)
        {
            return Poll::Ready(Step::Out(received));
        }
        if let Poll::Ready(Some(receipts)) = self.pipe.poll_receipts(cx) {
            return Poll::Ready(Step::Receipts(receipts));
        }
        self.pipe.poll_progress(cx).map(|()| Step::Progress)
    }
}
