//! One side of a chat: joins the session's pipe to the broker.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll},
};

use purrr_core::{
    Frame, Limits,
    backend::{Pipe, Received, TrySendError},
    codec::portable,
    model::ChatEnd,
};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    node::Node,
    wire::{News, SideKey, ToBroker},
};

/// How many frames of one side may be on their way. The rest waits in its own pipe.
const WINDOW: usize = 8;

struct Talk {
    node: Node,
    key: SideKey,
    pipe: Pipe,
    news: UnboundedReceiver<News>,
    /// What the partner has sent and the session has no room for: at most a window.
    inbox: VecDeque<Frame>,
    in_flight: usize,
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
pub(super) fn begin(node: Node, key: SideKey, news: UnboundedReceiver<News>) -> Pipe {
    let mut free = Some(node.clone());
    let (ours, pipe) = Pipe::pair(&Limits::default(), || match free.take() {
        // The session's end is created first.
        Some(node) => Box::new(move |_| node.send(ToBroker::Free(key))),
        None => Box::new(|_| ()),
    });
    let inbox = VecDeque::new();
    tokio::spawn(Talk { node, key, pipe, news, inbox, in_flight: 0, parted: None }.run());
    ours
}

impl Talk {
    async fn run(mut self) {
        let (own, parted) = loop {
            match poll_fn(|cx| self.poll_step(cx)).await {
                Step::Out(Received::Frame(frame)) => {
                    self.in_flight += 1;
                    self.tell(News::Frame(portable::encode_frame(&frame)));
                }
                Step::Out(Received::Parted(reason)) => break (reason, None),
                Step::Out(other) => panic!("{other:?}"),
                Step::In(Some(News::Frame(bytes))) => match portable::decode_frame(&bytes.into()) {
                    Ok(frame) => self.inbox.push_back(frame),
                    // Of a later version.
                    Err(_) => self.tell(News::Took),
                },
                Step::In(Some(News::Took)) => self.in_flight -= 1,
                Step::In(Some(News::Receipts(receipts))) => self.pipe.acknowledge(receipts),
                Step::In(Some(News::Progress)) => self.pipe.report_progress(),
                Step::In(Some(News::Parted(reason))) => {
                    self.parted = Some(reason.parse().unwrap_or(ChatEnd::Lost));
                }
                Step::In(None) => self.parted = Some(ChatEnd::Lost),
                Step::Delivered => self.tell(News::Took),
                Step::Receipts(receipts) => self.tell(News::Receipts(receipts)),
                Step::Progress => self.tell(News::Progress),
                Step::Over(reason) => break (ChatEnd::Lost, Some(reason)),
            }
        };
        self.node.hang_up(self.key);
        self.tell(News::Parted(own.name().to_owned()));
        if let Some(reason) = parted {
            self.pipe.part(reason);
        }
    }

    fn tell(&self, news: News) {
        self.node.send(ToBroker::Chat(self.key, news));
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
