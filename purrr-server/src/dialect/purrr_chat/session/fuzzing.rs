//! The target `events`: packets of a Purrr.chat client, and what its partner is sent.

use std::cell::RefCell;

use bytes::Bytes;
use purrr_core::{
    Command, Event, Frame, Limits,
    codec::{self, Parsed},
    model::{Body, ChatEnd, ChatId, Message},
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::PurrrChat;
use crate::{
    config::Config,
    dialect::{
        native,
        purrr_chat::{chat::Chat, message_index::MessageIndex, packet::Packet},
    },
    liveness::Incoming,
    transport::{
        Message as Said,
        engineio::{EioSocket, EioTransport, Outgoing},
    },
};

/// Decodes Socket.IO packets, separated by `\x1e`.
///
/// Checks that frames are addressed to the current chat, arrive unchanged on this dialect, and can
/// be parsed on the native one. Errors must be short. `m` and `l` are no packets: the client is
/// matched, or its partner leaves. A packet that begins with `b` is an attachment.
pub fn events(data: &[u8]) {
    thread_local! {
        static RUNTIME: Runtime =
            Builder::new_current_thread().enable_time().build().expect("a runtime for timers");
        static CONFIG: RefCell<Config> = RefCell::default();
    }
    RUNTIME.with(|runtime| {
        // The timer of a heartbeat needs a runtime.
        let _entered = runtime.enter();
        CONFIG.with_borrow(|config| say(data, config));
    });
}

fn say(data: &[u8], config: &Config) {
    let [mut speaker, mut partner] = [0, 1].map(|_| {
        let limits = Limits::default();
        let socket = EioSocket::new(EioTransport::closed(), config);
        PurrrChat::new(socket, &limits, config, None)
    });
    partner.chat = Some(chat(ChatId::from_bits(1)));
    let mut chats = 0;
    for packet in data.split(|byte| *byte == 0x1e) {
        let message = match packet {
            b"m" => {
                chats += 1;
                speaker.chat = Some(chat(ChatId::from_bits(chats)));
                continue;
            }
            b"l" => {
                speaker.encode(Event::Left { reason: ChatEnd::Left });
                speaker.packets.clear();
                continue;
            }
            [b'b', bytes @ ..] => Said::Binary(Bytes::copy_from_slice(bytes)),
            text => match std::str::from_utf8(text) {
                Ok(text) => Said::Text(text.into()),
                Err(_) => return,
            },
        };
        let said = match &message {
            Said::Text(text) => Some(text.clone()),
            _ => None,
        };
        match speaker.decode(Incoming::Message(message)) {
            Err(()) => return,
            Ok(Err(problem)) => assert!(problem.message.len() < 200, "{problem}"),
            Ok(Ok(None)) => {}
            Ok(Ok(Some(command))) => {
                if let Command::Send { chat, frame } = speaker.addressed(command) {
                    let current = speaker.chat.as_ref().map_or(ChatId::NONE, |chat| chat.id);
                    assert_eq!(chat, Some(current), "addressed to the current chat");
                    hear(&mut partner, &frame, said.as_deref());
                    hear_natively(frame);
                }
            }
        }
        assert!(speaker.packets.len() <= 1, "an answer at most");
        speaker.packets.clear();
    }
}

fn chat(id: ChatId) -> Box<Chat> {
    Box::new(Chat::new(id, Some("Ann".into()), None, MessageIndex::default()))
}

/// Checks what the partner is sent on this dialect.
fn hear(partner: &mut PurrrChat, frame: &Frame, said: Option<&str>) {
    partner.encode(Event::Received(frame.clone()));
    let mut packets = std::mem::take(&mut partner.packets).into_iter();
    // A read mark for a message that the partner has not seen is not sent.
    let Some(Outgoing::Text(packet)) = packets.next() else {
        let nothing = matches!(frame.body, Body::Read { .. });
        return assert!(nothing, "nothing arrives of {:?}", frame.body);
    };
    let event = match Packet::parse(packet.strip_prefix('4').expect("it is a message")) {
        Some(Packet::Event(event, _) | Packet::BinaryEvent(event, _)) => event,
        other => panic!("what is written is no event: {other:?}"),
    };
    let said = said.map(event_of);
    if let Body::Message(Message { text, image, .. }) = &frame.body {
        if !event.starts_with(r#"["receive_message""#) {
            return assert!(said.is_none_or(|said| said == event), "passed on as it is");
        }
        let event: Value = serde_json::from_str(event).expect("what is written is JSON");
        assert_eq!(event[1]["body"].as_str(), text.as_deref(), "the text");
        assert_eq!(event[1]["image"].is_string(), image.is_some(), "the picture");
        assert!(event[1].get("reply").is_some(), "a page without it breaks");
        // An ignored field may hold what this parser refuses, such as half of a surrogate pair.
        if let Some(Ok(said)) = said.map(serde_json::from_str::<Value>) {
            assert_eq!(said[1]["image"].as_str(), event[1]["image"].as_str(), "the picture");
        }
    }
}

/// Returns the array of an event's packet.
fn event_of(packet: &str) -> &str {
    packet.find('[').map_or("", |at| &packet[at..])
}

/// Checks that what the partner is sent on the native dialect can be parsed.
fn hear_natively(frame: Frame) {
    let mut bytes_due = None;
    for message in native::encode(Event::Received(frame)) {
        match (message, bytes_due.take()) {
            (Said::Text(text), None) => match codec::parse(&text) {
                Ok(Parsed::Image(head)) => bytes_due = Some(head.size),
                Ok(Parsed::Command(Command::Send { .. })) => {}
                other => panic!("what is written is not understood: {other:?}"),
            },
            (Said::Binary(bytes), Some(due)) => {
                assert_eq!(bytes.len() as u64, due)
            }
            (message, due) => panic!("{message:?} while {due:?} bytes are due"),
        }
    }
    assert_eq!(bytes_due, None, "the bytes follow");
}
