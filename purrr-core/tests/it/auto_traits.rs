//! Public types can be shared between threads and moved while they are polled. Held by the
//! compiler.

use purrr_core::{
    Anyone, Chat, Code, Command, Event, Frame, Hello, Hub, HubBuilder, Interests, Languages,
    Limits, Lobby, PairError, Pairing, Problem, Profile, Rates, Relay, Search, backend, codec, hub,
    matching, model, rate, session,
};

const fn check<T: Send + Sync + Unpin + ?Sized>() {}

const fn check_owned<T: Send + Unpin>() {}

const fn check_future<T: Future + Send>(_: &T) {}

const _: () = {
    // Root.
    check::<(Anyone, Code, Command, Event, Frame, Hello, Hub, HubBuilder)>();
    check::<(Interests, Languages, Limits, PairError, Problem, Profile, Rates, Search)>();
    check::<(Box<dyn Lobby>, Box<dyn Relay>, Box<dyn Pairing>)>();
    // Vocabulary.
    check::<(model::Body, model::Capabilities, model::Census, model::ChatEnd, model::ChatId)>();
    check::<(model::CloseReason, model::Exclusions, model::Image, model::Interest)>();
    check::<(model::Message, model::ParseChatIdError, model::ParseResumeTokenError)>();
    check::<(model::PeerId, model::PersonId, model::QueueStatus, model::Rate)>();
    check::<(model::ResumeToken, model::Signal, model::SignalKind, model::Ticket)>();
    check::<(model::Dialect, model::ParseDialectError, model::Verbatim)>();
    // Machines.
    check::<(matching::EnterError, matching::And<Anyone, Anyone>, matching::Bucket)>();
    check::<(matching::Choice, matching::Made<u8>, matching::Matchmaker<u8>, matching::PairKey)>();
    check::<(matching::Partition, matching::PlaceKey, matching::Side<u8>)>();
    check::<(matching::Widening<Anyone, Anyone>, rate::Allowance)>();
    check::<(session::Action, session::Consumer, session::Session)>();
    // Backends and codec.
    check::<(backend::LobbyError, backend::MemoryLobby, backend::MemoryRelay)>();
    check::<(backend::Received, backend::RelayError, backend::TrySendError)>();
    check::<(codec::ImageHead, codec::Parsed, codec::portable::DecodeError)>();
    // Shell.
    check::<(hub::Connection, hub::SendError, hub::Gate, hub::Input, hub::Stats)>();
    check::<(hub::Commands, hub::Events, hub::SessionOver)>();
    check::<(hub::ChatSide, hub::EndedBy, hub::Ending, hub::Participant)>();
    // These have one owner.
    check_owned::<(Chat, backend::Match, backend::Pipe)>();
};

#[test]
fn futures_of_hub_and_chat_are_send() {
    let hub = Hub::memory();
    check_future(&hub.pair(Profile::default()));
    check_future(&hub.drain(std::time::Duration::ZERO));
}
