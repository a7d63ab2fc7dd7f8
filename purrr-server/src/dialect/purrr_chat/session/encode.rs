//! Events of the hub, as packets for the client: [`PurrrChat::encode`].

use bytestring::ByteString;
use purrr_core::{
    Code, Event, Frame,
    codec::__private::write_string,
    model::{Body, Message, Signal, SignalKind, Verbatim},
};
use serde_json::json;

use super::{
    super::{
        data_url,
        message_index::MessageIndex,
        packet::{binary_event, event, greeting},
        ping_barrier::PingBarrier,
    },
    Chat, DIALECT, PurrrChat,
};
use crate::transport::engineio::Outgoing;

/// The name of a partner without one. The frontend takes an empty name for no partner at all.
const NAMELESS: &str = "Stranger";

impl PurrrChat {
    /// Queues the packets of an event.
    pub(super) fn encode(&mut self, event: Event) {
        match event {
            Event::Welcome { resume, .. } => self.packets.push_back(greeting(resume)),
            Event::Waiting(_) => {
                self.socket.set_active(true);
                self.emit("waiting", None);
            }
            Event::Matched { chat: id, name, public_key, .. } => {
                let name = name.filter(|name| !name.is_empty());
                let name = name.unwrap_or_else(|| ByteString::from_static(NAMELESS));
                let key = public_key.unwrap_or_default();
                self.socket.set_active(true);
                let barrier = self.had_chat.then(|| {
                    self.packets.push_back(Outgoing::PING);
                    PingBarrier::default()
                });
                self.had_chat = true;
                self.emit("matched", Some(json!({"partnerName": &*name, "partnerPk": &*key})));
                self.chat = Some(Chat {
                    id,
                    partner: name,
                    index: MessageIndex::default(),
                    is_typing: false,
                    has_read_mark: false,
                    barrier,
                });
            }
            Event::Received(frame) => self.encode_frame(frame),
            Event::Idle | Event::Left { .. } => {
                self.socket.set_active(false);
                if let Some(chat) = self.chat.take() {
                    self.end_chat(&chat);
                }
            }
            Event::Error(problem) => {
                let message = match problem.code {
                    Code::NotPaired => "No partner found.".into(),
                    _ => problem.message,
                };
                let mut told = json!({"message": message});
                if let Some(wait) = problem.retry_after_ms {
                    told["retryAfterMs"] = wait.into();
                }
                self.emit("error", Some(told));
            }
            // The frontend knows no such event and ignores it. It answers a poll that is under way.
            Event::Draining { retry_after_ms } => {
                self.emit("draining", Some(json!({"retryAfterMs": retry_after_ms})));
            }
            // The dialect has no packets for other events, and its frontend needs none.
            _ => {}
        }
    }

    /// Queues the end of a chat. The page would keep showing what it is not told to reset.
    fn end_chat(&mut self, chat: &Chat) {
        if chat.has_read_mark {
            // No message has this index, so none is marked. The page sends the same for no message.
            self.emit("mark_as_read", Some(json!({"messageId": -1})));
        }
        self.emit("hide_typing", None);
        self.emit("partner_disconnected", None);
    }

    fn encode_frame(&mut self, frame: Frame) {
        let Frame { body, verbatim } = frame;
        let Some(chat) = &mut self.chat else { return };
        match body {
            Body::Message(message) => {
                let reply = message.reply.and_then(|id| chat.index.index_of(id));
                chat.index.push_partner(message.id);
                if let Some(Verbatim { dialect: DIALECT, text, binary }) = verbatim {
                    match message.image.filter(|_| binary) {
                        Some(image) => self.packets.extend(binary_event(&text, image.bytes)),
                        None => self.packets.push_back(event(&text).held_in(&self.budget)),
                    }
                    return;
                }
                let packet = Outgoing::Text(receive_message(&chat.partner, &message, reply).into());
                self.packets.push_back(packet.held_in(&self.budget));
            }
            Body::Typing(on) => self.emit(if on { "show_typing" } else { "hide_typing" }, None),
            Body::Read { id } => {
                if let Some(index) = chat.index.index_of(id) {
                    chat.has_read_mark = true;
                    self.emit("mark_as_read", Some(json!({"messageId": index})));
                }
            }
            Body::Signal(Signal { kind, data }) => {
                let data = data.unwrap_or_default();
                match kind {
                    SignalKind::Offer => {
                        self.emit("recieve_video_call", Some(json!({"offer": &*data})));
                    }
                    SignalKind::Answer => {
                        self.emit("accepted_video_call", Some(json!({"answer": &*data})));
                    }
                    SignalKind::Refuse => self.emit("refused_video_calL", None),
                    SignalKind::Hangup => self.emit("hanged_video_call", None),
                    // The hub refuses these, since this dialect lacks the capability.
                    SignalKind::Candidate => {}
                }
            }
        }
    }

    /// Queues an event with an optional argument.
    fn emit(&mut self, name: &str, payload: Option<serde_json::Value>) {
        let array = match payload {
            Some(payload) => json!([name, payload]),
            None => json!([name]),
        };
        self.packets.push_back(event(&array.to_string()));
    }
}

/// Returns a message for the client. All fields must be present: without `reply` the page breaks.
fn receive_message(from: &str, message: &Message, reply: Option<u64>) -> String {
    /// Capacity for all but the contents, and for some escapes.
    const AROUND: usize = 96;
    let Message { text, image, .. } = message;
    let contents = text.as_ref().map_or(0, |text| text.len())
        + image.as_ref().map_or(0, |image| image.bytes.len());
    let mut packet = String::with_capacity(AROUND + from.len() + contents);
    packet.push_str(r#"42["receive_message",{"from":"#);
    write_string(from, &mut packet);
    packet.push_str(r#","body":"#);
    match text {
        Some(text) => write_string(text, &mut packet),
        None => packet.push_str("null"),
    }
    packet.push_str(r#","image":"#);
    match image {
        Some(image) => data_url::encode(image, &mut packet),
        None => packet.push_str("null"),
    }
    packet.push_str(r#","reply":"#);
    match reply {
        Some(reply) => packet.push_str(&reply.to_string()),
        None => packet.push_str("null"),
    }
    packet.push_str("}]");
    packet
}
