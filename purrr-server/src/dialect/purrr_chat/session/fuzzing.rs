//! The target `events`: packets of a Purrr.chat client, and what its partner is sent.

use std::cell::RefCell;

use bytes::Bytes;
use purrr_core::{
    Command, Event, Frame, Limits,
    codec::{self, Parsed},
    model::{Body, ChatEnd, ChatId, Message, PeerId, QueueStatus, ResumeToken, Resumed},
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::PurrrChat;
use crate::{
    config::Config,
    dialect::{
        native,
        purrr_chat::{
            Auth, chat::Chat, lost_chats::LostChats, message_index::MessageIndex, offset::Offset,
            packet::Packet,
        },
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

/// Connects a client with the auth payload of the first line, and sends it events by the bytes after
/// it.
///
/// Checks that the client is connected once and first, and that each event bears its position if
/// it speaks connection state recovery, and none otherwise.
pub fn recovery(data: &[u8]) {
    thread_local! {
        static RUNTIME: Runtime =
            Builder::new_current_thread().enable_time().build().expect("a runtime for timers");
    }
    let (auth, events) = data.split_at(data.iter().position(|b| *b == b'\n').unwrap_or(data.len()));
    let Ok(auth) = serde_json::from_slice::<Auth>(auth) else { return };
    RUNTIME.with(|runtime| {
        let _entered = runtime.enter();
        connect(&auth, events);
    });
}

fn connect(auth: &Auth, events: &[u8]) {
    let limits = Limits::default();
    let socket = EioSocket::new(EioTransport::closed(), &Config::default());
    let recovery = auth.recovery(LostChats::new(limits.resume_window));
    let mut client = PurrrChat::new(socket, &limits, &Config::default(), recovery);
    let mut commands = std::mem::take(&mut client.commands);
    if auth.auto_pair {
        client.find_at_once();
    }
    commands.append(&mut client.commands);
    let claims = commands.iter().filter(|command| match command {
        Command::Recover(recover) => recover.token.is_some(),
        _ => false,
    });
    assert!(claims.count() <= 1, "one claim");
    let (session, resume) = (PeerId::from_bits(1), ResumeToken::from_bits(1));
    let welcome = Event::Welcome { session, resume, online: 1, limits: limits.into() };
    let mut packets = hear_event(&mut client, welcome);
    for byte in events {
        let chat = ChatId::from_bits(u128::from(byte >> 6));
        let (name, public_key) = (Some("Ann".into()), None);
        packets.extend(hear_event(
            &mut client,
            match byte % 8 {
                0 => Event::Matched { chat, name, public_key, shared: Vec::new() },
                1 => Event::Received(Frame::text("hi")),
                2 => Event::Left { reason: ChatEnd::Left },
                3 => Event::Waiting(QueueStatus::default()),
                4 => Event::Idle,
                5 => Event::Away,
                6 => Event::Back { name: Some("Bob".into()), public_key },
                _ => Event::Resumed(Box::new(Resumed::new(session, chat))),
            },
        ));
    }
    let Some(greeting) = packets.iter().position(|packet| packet.starts_with("40")) else { return };
    assert_eq!(greeting, 0, "connected first");
    for packet in &packets[1..] {
        assert!(!packet.starts_with("40"), "connected twice");
        let Some(event) = packet.strip_prefix("42") else { continue };
        let array: Vec<Value> = serde_json::from_str(event).expect("an event is an array");
        let last = array.last().and_then(Value::as_str);
        let offset = last.filter(|_| array.len() > 1).map(str::parse::<Offset>);
        assert_eq!(matches!(offset, Some(Ok(_))), auth.recovery, "{packet}");
    }
}

/// Returns the texts that a client is sent of an event.
fn hear_event(client: &mut PurrrChat, event: Event) -> Vec<String> {
    client.encode(event);
    client.rejoin();
    let packets = std::mem::take(&mut client.packets);
    let texts = packets.into_iter().filter_map(|packet| match packet {
        Outgoing::Text(text) => Some(text.to_string()),
        Outgoing::Binary(_) => None,
    });
    texts.collect()
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
