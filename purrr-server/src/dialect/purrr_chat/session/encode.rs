//! Events of the hub, as packets for the client: [`PurrrChat::encode`].

use bytestring::ByteString;
use purrr_core::{
    Code, Command, Event, Frame,
    codec::__private::write_string,
    model::{Body, ChatId, Message, ResumeToken, Resumed, Signal, SignalKind, Verbatim},
};
use serde_json::json;

use super::{
    super::{
        chat::{Chat, named},
        counting::Counting,
        data_url,
        lost_chats::LostChat,
        message_index::MessageIndex,
        offset::Offset,
        packet::{binary_event, event, greeting},
        ping_barrier::PingBarrier,
        recovery::{Recovery, Resuming, find},
    },
    DIALECT, PurrrChat,
};
use crate::{dialect::p256_key::is_p256_key, transport::engineio::Outgoing};

impl PurrrChat {
    /// Queues the packets of an event.
    pub(super) fn encode(&mut self, event: Event) {
        if let Some(recovery) = &mut self.recovery
            && recovery.hides(&event)
        {
            if let Event::Left { .. } = event {
                self.chat = None;
            }
            return;
        }
        let Some(recovery) = self.recovery.as_deref_mut() else { return self.write(event) };
        let first = self.packets.len();
        let counts = matches!(event, Event::Received(_) | Event::Left { .. });
        match recovery {
            Recovery::Resuming(_) => return self.resume(event),
            Recovery::Counting(counting) => match &event {
                Event::Welcome { resume, .. } => counting.next = Some(*resume),
                Event::Matched { chat, .. } => counting.handle_matched(*chat),
                _ => {}
            },
            _ => {}
        }
        let is_message =
            matches!(&event, Event::Received(frame) if matches!(frame.body, Body::Message(_)));
        self.write(event);
        self.stamp(first, counts);
        if is_message && let Some(Recovery::Counting(counting)) = self.recovery.as_deref_mut() {
            counting.note_message();
        }
    }

    /// Writes the client's position into packets, if it counts.
    fn stamp(&mut self, first: usize, counts: bool) {
        if let Some(Recovery::Counting(counting)) = self.recovery.as_deref_mut() {
            counting.stamp(&mut self.packets, first, counts, &self.budget);
        }
    }

    /// Handles the answer to the claim of a client that connects.
    fn resume(&mut self, event: Event) {
        let Some(Recovery::Resuming(resuming)) = self.recovery.as_deref_mut() else { return };
        if let Event::Welcome { resume, .. } = event {
            resuming.next = Some(resume);
            return;
        }
        let Resuming { pid, offset, finds, .. } = *resuming;
        match event {
            Event::Resumed(resumed) if resumed.missing == 0 => {
                let position = Offset { chat: resumed.chat, ..offset };
                let kept = self.greet(pid, position);
                self.resume_chat(*resumed, kept, offset.received);
            }
            Event::Resumed(resumed) => {
                self.greet_anew();
                let Resumed { chat, name, public_key, .. } = *resumed;
                self.encode(Event::Matched { chat, name, public_key, shared: Vec::new() });
            }
            Event::Matched { .. } | Event::Waiting(_) => {
                self.greet(pid, Offset::NONE);
                if offset.chat != ChatId::NONE {
                    // The client may not have read the end of that chat.
                    let first = self.packets.len();
                    self.emit_bare(r#"42["hide_typing"]"#);
                    self.emit_bare(r#"42["partner_disconnected"]"#);
                    self.stamp(first, false);
                }
                self.encode(event);
            }
            Event::Left { .. } | Event::Idle | Event::Error(_) => {
                self.greet_anew();
                if finds {
                    self.commands.push_back(find());
                }
            }
            // Told before the claim is answered.
            _ => self.write(event),
        }
    }

    /// Connects a client that is still known by `pid`, with what it has. Returns what was kept of
    /// its chat.
    fn greet(&mut self, pid: ResumeToken, position: Offset) -> Option<LostChat> {
        let Some(Recovery::Resuming(resuming)) = self.recovery.as_deref() else { return None };
        let (next, claimed, lost) = (resuming.next, resuming.claimed(), resuming.lost.clone());
        let kept = lost.remove(claimed);
        // The client learns of the next token by the next event, unless that is how it is known.
        let token = next.filter(|next| *next != pid);
        let mut counting = Counting::new(Offset { token, ..position }, lost);
        counting.next = next;
        self.recovery = Some(Box::new(Recovery::Counting(counting)));
        self.packets.push_back(greeting(pid));
        kept
    }

    /// Connects a client whose session is not whole or gone, as a new one.
    fn greet_anew(&mut self) {
        if let Some(Recovery::Resuming(resuming)) = self.recovery.as_deref()
            && let Some(next) = resuming.next
        {
            self.greet(next, Offset::NONE);
        }
    }

    /// Goes on in a chat of which the client has so many frames.
    fn resume_chat(&mut self, resumed: Resumed, kept: Option<LostChat>, received: u64) {
        let Resumed { chat: id, name, public_key, .. } = resumed;
        self.socket.set_active(true);
        self.had_chat = true;
        self.chat = Some(match kept {
            Some(LostChat { mut chat, messages }) if chat.id == id => {
                // They are sent again, and take their places then.
                let lacked = messages.iter().filter(|number| **number > received).count();
                chat.index.remove_last_of_partner(lacked);
                (chat.barrier, chat.is_typing) = (None, false);
                chat
            }
            _ => {
                let index = MessageIndex::of_unknown_chat();
                Box::new(Chat::new(id, name.clone(), public_key.clone(), index))
            }
        });
        // Brings the next token, also if the client has missed nothing.
        let first = self.packets.len();
        self.emit_bare(r#"42["hide_typing"]"#);
        self.meet_again(name, public_key);
        self.stamp(first, false);
    }

    /// Queues the packets of an event, without what a client that counts gets besides.
    fn write(&mut self, event: Event) {
        match event {
            Event::Welcome { resume, .. } => self.packets.push_back(greeting(resume)),
            Event::Waiting(_) => {
                self.socket.set_active(true);
                self.emit_bare(r#"42["waiting"]"#);
            }
            Event::Matched { chat: id, name, public_key, .. } => {
                self.socket.set_active(true);
                self.begin_chat(id, name, public_key);
                if let Some(Recovery::Claiming) = self.recovery.as_deref() {
                    self.delay_matched();
                }
            }
            Event::Away if self.chat.is_some() => self.emit_bare(r#"42["hide_typing"]"#),
            Event::Back { name, public_key } => self.meet_again(name, public_key),
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
                self.emit("error", &told);
            }
            // The frontend knows no such event and ignores it. It answers a poll that is under way.
            Event::Draining { retry_after_ms } => {
                self.emit("draining", &json!({"retryAfterMs": retry_after_ms}));
            }
            // The dialect has no packets for other events, and its frontend needs none.
            _ => {}
        }
    }

    /// Begins a chat, of which the client is told by `matched`, the last packet.
    fn begin_chat(&mut self, id: ChatId, name: Option<ByteString>, key: Option<ByteString>) {
        let partner = named(name);
        let partner_key = key.unwrap_or_default();
        let barrier = self.had_chat.then(|| {
            self.packets.push_back(Outgoing::PING);
            PingBarrier::default()
        });
        self.had_chat = true;
        self.packets.push_back(Outgoing::Text(matched(&partner, &partner_key).into()));
        let index = MessageIndex::default();
        let chat = Chat { barrier, ..Chat::new(id, Some(partner), Some(partner_key), index) };
        self.chat = Some(Box::new(chat));
    }

    /// Tells the client of a partner that is there again.
    ///
    /// With another key or name it is shown as a new partner: the page knows no other way. What the
    /// client has sent for the last key is dropped, as it is for a last partner.
    fn meet_again(&mut self, name: Option<ByteString>, key: Option<ByteString>) {
        let Some(chat) = &self.chat else { return };
        let (known, id) = (&chat.partner_key, chat.id);
        let key = key.unwrap_or_default();
        if *known == key && chat.partner == named(name.clone()) {
            return;
        }
        if let Some(recovery) = self.recovery.as_deref_mut()
            && let Recovery::Rejoined(_) = recovery
        {
            // Both have come back, and the client was told nothing yet.
            self.had_chat = false;
            self.begin_chat(id, name, Some(key));
            return self.delay_matched();
        }
        if is_p256_key(known) && !is_p256_key(&key) {
            // The page hangs at a key that it cannot use.
            return self.commands.push_back(Command::Leave);
        }
        if chat.has_read_mark {
            self.unmark();
        }
        self.emit_bare(r#"42["hide_typing"]"#);
        self.begin_chat(id, name, Some(key));
    }

    /// Takes `matched` back, until the frames for the last key are dropped.
    fn delay_matched(&mut self) {
        if let Some(recovery) = self.recovery.as_deref_mut()
            && let Some(matched) = self.packets.pop_back()
        {
            *recovery = Recovery::Rejoined(matched);
        }
    }

    /// Sends `matched` to a client that is in its chat again.
    pub(super) fn rejoin(&mut self) {
        let Some(recovery) = &mut self.recovery else { return };
        if let Recovery::Rejoined(matched) = &**recovery {
            self.packets.push_back(matched.clone());
            **recovery = Recovery::Answered;
        }
    }

    /// Takes the read mark back that the page shows. No message has this index, so none is marked.
    /// The page sends the same for no message.
    fn unmark(&mut self) {
        self.emit("mark_as_read", &json!({"messageId": -1}));
    }

    /// Queues the end of a chat. The page would keep showing what it is not told to reset.
    fn end_chat(&mut self, chat: &Chat) {
        if chat.has_read_mark {
            self.unmark();
        }
        self.emit_bare(r#"42["hide_typing"]"#);
        self.emit_bare(r#"42["partner_disconnected"]"#);
    }

    fn encode_frame(&mut self, frame: Frame) {
        let Frame { body, verbatim, .. } = frame;
        let Some(chat) = &mut self.chat else { return };
        match body {
            Body::Message(message) => {
                let reply = message.reply.and_then(|id| chat.index.index_of(id));
                chat.index.push_partner(message.id);
                if let Some(Verbatim { dialect: DIALECT, text, binary, .. }) = verbatim {
                    match message.image.filter(|_| binary) {
                        Some(image) => self.packets.extend(binary_event(&text, image.bytes)),
                        None => self.packets.push_back(event(&text).held_in(&self.budget)),
                    }
                    return;
                }
                let packet = Outgoing::Text(receive_message(&chat.partner, &message, reply).into());
                self.packets.push_back(packet.held_in(&self.budget));
            }
            Body::Typing(true) => self.emit_bare(r#"42["show_typing"]"#),
            Body::Typing(false) => self.emit_bare(r#"42["hide_typing"]"#),
            Body::Read { id } => {
                if let Some(index) = chat.index.index_of(id) {
                    chat.has_read_mark = true;
                    self.emit("mark_as_read", &json!({"messageId": index}));
                }
            }
            Body::Signal(Signal { kind, data, .. }) => {
                let data = data.unwrap_or_default();
                match kind {
                    SignalKind::Offer => {
                        self.emit("recieve_video_call", &json!({"offer": &*data}));
                    }
                    SignalKind::Answer => {
                        self.emit("accepted_video_call", &json!({"answer": &*data}));
                    }
                    SignalKind::Refuse => self.emit_bare(r#"42["refused_video_calL"]"#),
                    SignalKind::Hangup => self.emit_bare(r#"42["hanged_video_call"]"#),
                    // The hub refuses these, since this dialect lacks the capability.
                    SignalKind::Candidate => {}
                    // This dialect has no event for other steps.
                    _ => {}
                }
            }
            // Nor for other contents.
            _ => {}
        }
    }

    /// Queues an event with an argument.
    fn emit(&mut self, name: &str, payload: &serde_json::Value) {
        let packet = event(&json!([name, payload]).to_string());
        self.packets.push_back(packet.held_in(&self.budget));
    }

    /// Queues the packet of an event without an argument.
    fn emit_bare(&mut self, packet: &'static str) {
        self.packets.push_back(Outgoing::Text(ByteString::from_static(packet)));
    }
}

/// Returns the packet of a match. Written directly, since every search ends with it.
fn matched(name: &str, key: &str) -> String {
    /// Capacity for all but the contents, and for some escapes.
    const AROUND: usize = 64;
    let mut packet = String::with_capacity(AROUND + name.len() + key.len());
    packet.push_str(r#"42["matched",{"partnerName":"#);
    write_string(name, &mut packet);
    packet.push_str(r#","partnerPk":"#);
    write_string(key, &mut packet);
    packet.push_str("}]");
    packet
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
