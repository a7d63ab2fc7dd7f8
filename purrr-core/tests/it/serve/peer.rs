//! A peer at the far end of a wire, and its events, in words that a story can be compared by.

use std::time::Duration;

use purrr_core::{
    Command, Event, Frame, Hub, Profile, Search,
    hub::{Gate, Input},
    model::{Body, ChatId, CloseReason, ResumeToken},
};
use tokio::task::JoinHandle;

use crate::serve::wire::{Far, gated_wire};

pub(crate) struct Peer {
    /// Leads every complaint.
    name: &'static str,
    pub(crate) far: Far,
    pub(crate) session: JoinHandle<CloseReason>,
}

impl Peer {
    /// Connects and is welcomed.
    pub(crate) async fn connect(hub: &Hub, name: &'static str) -> Self {
        Self::connect_as(hub, name, Profile::named(name)).await
    }

    /// The same, over a wire that can be polled while nothing is wanted of the peer.
    pub(crate) async fn gated(hub: &Hub, name: &'static str) -> Self {
        let mut profile = Profile::named(name);
        profile.gate = Some(Gate::default());
        Self::connect_as(hub, name, profile).await
    }

    /// The same, with more to be known of it.
    pub(crate) async fn connect_as(hub: &Hub, name: &'static str, profile: Profile) -> Self {
        let (wire, far) = gated_wire(profile.gate.clone());
        let hub = hub.clone();
        let session = tokio::spawn(async move { hub.serve(wire, profile).await });
        let peer = Self { name, far, session };
        peer.gets(["welcome"]).await;
        peer
    }

    /// The same, with the token of its `welcome`.
    pub(crate) async fn connect_with_token(
        hub: &Hub,
        name: &'static str,
        profile: Profile,
    ) -> (Self, ResumeToken) {
        let (wire, far) = gated_wire(None);
        let hub = hub.clone();
        let session = tokio::spawn(async move { hub.serve(wire, profile).await });
        match far.next().await {
            Some(Event::Welcome { resume, .. }) => (Self { name, far, session }, resume),
            other => panic!("{name} was not welcomed: {other:?}"),
        }
    }

    /// Connects and waits.
    pub(crate) async fn waiting(hub: &Hub, name: &'static str) -> Self {
        let peer = Self::connect(hub, name).await;
        peer.send(find());
        peer.gets(["waiting"]).await;
        peer
    }

    /// Connects and waits for a partner with this interest.
    pub(crate) async fn waiting_for(hub: &Hub, name: &'static str, interest: &str) -> Self {
        let peer = Self::connect(hub, name).await;
        peer.send(Command::Find(Search::for_interests([interest])));
        peer.gets(["waiting"]).await;
        peer
    }

    /// Two who have just been matched, and their chat.
    pub(crate) async fn pair(hub: &Hub) -> (Self, Self, ChatId) {
        let ann = Self::waiting(hub, "Ann").await;
        let bob = Self::waiting(hub, "Bob").await;
        let chat = ann.gets_matched("Bob").await;
        assert_eq!(bob.gets_matched("Ann").await, chat);
        (ann, bob, chat)
    }

    pub(crate) fn send(&self, input: impl Into<Input>) {
        self.far.send(input);
    }

    pub(crate) fn say(&self, text: &str) {
        self.send(Command::say(text));
    }

    /// The next events are these and in this order; see [`told`] for the words.
    pub(crate) async fn gets<const N: usize>(&self, expected: [&str; N]) {
        for expected in expected {
            let event = self.far.next().await;
            let event = event.as_ref().map_or("gone".to_owned(), told);
            assert_eq!(event, expected, "{}", self.name);
        }
    }

    pub(crate) async fn gets_matched(&self, with: &str) -> ChatId {
        match self.far.next().await {
            Some(Event::Matched { chat, name, .. }) => {
                assert_eq!(name.as_deref(), Some(with), "{}", self.name);
                chat
            }
            other => panic!("{} was not matched: {other:?}", self.name),
        }
    }

    /// Nothing that was not asked for has come, once everybody has done what there was to do.
    pub(crate) async fn gets_nothing(&self) {
        settled().await;
        let taken: Vec<String> = self.far.taken().iter().map(told).collect();
        assert_eq!(taken, [""; 0], "{}", self.name);
    }

    /// The session's end, after these last events.
    pub(crate) async fn ends_after<const N: usize>(self, expected: [&str; N], ended: CloseReason) {
        self.gets(expected).await;
        self.gets(["gone"]).await;
        assert_eq!(self.session.await.expect("no session panics"), ended, "{}", self.name);
    }
}

pub(crate) fn find() -> Command {
    Command::Find(Search::default())
}

/// A text with an id, whose sender is owed a receipt.
pub(crate) fn numbered(id: u64) -> Command {
    let frame = Frame::text(format!("no. {id}")).with_id(id);
    Command::Send { chat: None, frame }
}

/// An event in a few words.
pub(crate) fn told(event: &Event) -> String {
    match event {
        Event::Welcome { .. } => "welcome".to_owned(),
        Event::Waiting { .. } => "waiting".to_owned(),
        Event::Idle => "idle".to_owned(),
        Event::Matched { .. } => "matched".to_owned(),
        Event::Received(frame) => match &frame.body {
            Body::Typing(on) => format!("typing {on}"),
            Body::Read { id } => format!("read {id}"),
            _ => frame.as_text().unwrap_or("no text").to_owned(),
        },
        Event::Delivered { id } => format!("delivered {id}"),
        Event::Left { reason } => format!("left: {}", reason.as_str()),
        Event::Error(problem) => {
            let about = problem.id.map_or(String::new(), |id| format!(" about {id}"));
            format!("error: {}{about}", problem.code.as_str())
        }
        Event::Draining { .. } => "draining".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Resolves when no task has anything left to do: only then does the paused clock move at all.
pub(crate) async fn settled() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
