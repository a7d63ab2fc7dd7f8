//! The Purrr.chat dialect: its events as commands, and the hub's events as its own.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;
use futures::{Sink, SinkExt, Stream, StreamExt};
use purrr_core::{
    Code, Command, Event, Frame, Hello, Limits, Problem, Search,
    codec::json::write_string,
    hub::{Gate, Input},
    model::{Body, ChatId, Image, Message, Signal, SignalKind, Verbatim},
    rate::Allowance,
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    data_url,
    message_index::Log,
    packet::{Packet, Placeholder, binary_event, event, greeting, invalid_namespace},
    payload::{Index, SendMessage, Text, open, parse},
};
use crate::{
    dialect::{
        image::{Largest, recognize},
        p256_key::is_p256_key,
    },
    limits::memory::{MemoryBudget, overloaded},
    liveness::Incoming,
    transport::{
        self,
        engineio::{EioSocket, Outgoing},
    },
};

/// Marks frames that came as one of the events which are passed on as they are.
const DIALECT: &str = "purrr.chat";

/// What a partner without a name is called; the frontend takes an empty name for no partner at all.
const NAMELESS: &str = "Stranger";

/// How long a client may take to see that it has another partner.
const FENCED: Duration = Duration::from_secs(2);

/// Events that mean no partner.
const SPOKEN_TO_THE_SERVER: [&str; 3] = ["init_user", "find_partner", "disconnect_partner"];

/// A Socket.IO connection as a stream of commands and a sink of events.
pub(super) struct PurrrChat {
    socket: EioSocket,
    message_bytes: usize,
    image_bytes: usize,
    largest: Largest,
    budget: MemoryBudget,
    /// Commands that are due before anything else is read.
    commands: VecDeque<Command>,
    /// Packets that are due before any other event is written.
    packets: VecDeque<Outgoing>,
    /// Among them is, or has been since the last flush, an answer that no event of the hub will flush.
    answered: bool,
    /// An event whose attachment comes next.
    awaited: Option<ByteString>,
    chat: Option<Chat>,
    /// Whether there was a chat before.
    chatted: bool,
}

/// What is remembered of one chat.
struct Chat {
    id: ChatId,
    partner: ByteString,
    log: Log,
    /// Whether this side was last said to be typing.
    typing: bool,
    /// Whether this side was told that something has been read.
    marked: bool,
    /// What this side has to take before it can mean this chat by what it sends. None if that is so already.
    fence: Option<Fence>,
}

/// A ping sent just before `matched`: what comes before its answer was sent to the last partner.
struct Fence {
    /// Known once it is sent.
    ping: Option<u64>,
    /// A client that does not answer is heard all the same from then on. Known once the ping was taken.
    until: Option<Instant>,
}

/// What an event asks for.
type Asked = Result<Option<Command>, Problem>;

impl PurrrChat {
    pub(super) fn new(
        socket: EioSocket,
        limits: &Limits,
        largest: Largest,
        auto_pair: bool,
    ) -> Self {
        let budget = socket.transport().budget().clone();
        let commands = auto_pair.then(|| Command::Find(Search::default())).into_iter().collect();
        Self {
            socket,
            message_bytes: limits.message_bytes,
            image_bytes: limits.image_bytes,
            largest,
            budget,
            commands,
            packets: VecDeque::new(),
            answered: false,
            awaited: None,
            chat: None,
            chatted: false,
        }
    }

    pub(super) fn gate(&self) -> Gate {
        self.socket.gate().clone()
    }

    pub(super) fn allowance(&self) -> Option<Arc<Allowance>> {
        self.socket.transport().allowance()
    }

    pub(super) fn into_socket(self) -> EioSocket {
        self.socket
    }

    /// Reads a packet. `Err` means that this is not Socket.IO and the connection ends.
    fn read(&mut self, incoming: Incoming<transport::Message>) -> Result<Asked, ()> {
        let text = match (incoming, self.awaited.take()) {
            (Incoming::Refused, _) => {
                // Whatever it was, a page that sends so much shows it.
                let late = self.is_late();
                if let Some(chat) = self.chat.as_mut().filter(|_| !late) {
                    chat.log.refused();
                }
                return Ok(Err(overloaded()));
            }
            (Incoming::Message(transport::Message::Binary(bytes)), Some(array)) => {
                return self.read_attached(array, bytes);
            }
            (Incoming::Message(transport::Message::Text(text)), None) => text,
            _ => return Err(()),
        };
        match Packet::read(&text).ok_or(())? {
            Packet::Event(array) => self.read_event(&text, array),
            Packet::BinaryEvent(array) => {
                let array = text.slice_ref(array);
                check_attachment(&array)?;
                self.awaited = Some(array);
                Ok(Ok(None))
            }
            Packet::ConnectElsewhere(namespace) => {
                self.packets.push_back(Outgoing::Text(invalid_namespace(namespace)));
                self.answered = true;
                Ok(Ok(None))
            }
            Packet::Connect(_) | Packet::Ack => Ok(Ok(None)),
            Packet::Disconnect => Err(()),
        }
    }

    /// Reads an event, which is what `packet` holds from `array` on.
    fn read_event(&mut self, packet: &ByteString, array: &str) -> Result<Asked, ()> {
        if let Some(said) = SendMessage::at_a_glance(array) {
            return Ok(if self.is_late() { Ok(None) } else { self.send_message(said, packet) });
        }
        let (name, payload) = open(array)?;
        if !SPOKEN_TO_THE_SERVER.contains(&&*name) && self.is_late() {
            return Ok(Ok(None));
        }
        Ok(match &*name {
            "init_user" => introduce(payload).map(Some),
            "find_partner" => Ok(Some(Command::Find(Search::default()))),
            "disconnect_partner" => Ok(Some(Command::Leave)),
            "send_message" => {
                parse(&name, payload).and_then(|said| self.send_message(said, packet))
            }
            "read_message" => self.read_message(payload),
            "typing_start" => Ok(Some(self.typing(true))),
            "typing_stop" if self.chat.as_ref().is_some_and(|chat| !chat.typing) => Ok(None),
            "typing_stop" => Ok(Some(self.typing(false))),
            "start_video_call" => self.signal(SignalKind::Offer, &name, "offer", payload),
            "accept_video_call" => self.signal(SignalKind::Answer, &name, "answer", payload),
            "refuse_video_call" => Ok(Some(relay(signalled(SignalKind::Refuse, None)))),
            "hang_video_call" => Ok(Some(relay(signalled(SignalKind::Hangup, None)))),
            "chat message" => self.chat_message(payload, packet.slice_ref(array)),
            "image upload" => self.image_upload(payload, packet.slice_ref(array)),
            _ => Err(Problem::new(Code::UnknownType, "this event is none that a client sends")),
        })
    }

    /// Reads an event whose attachment has come; that the two fit was seen to when the event came.
    fn read_attached(&mut self, array: ByteString, bytes: Bytes) -> Result<Asked, ()> {
        let (name, _) = open(&array)?;
        if name != "image upload" {
            let message = format!("`{}` takes no binary data", known(&name));
            return Ok(Err(Problem::new(Code::BadMessage, message)));
        }
        if self.is_late() {
            return Ok(Ok(None));
        }
        if self.chat.is_none() {
            return Ok(Err(not_paired()));
        }
        // What cannot be told by its first bytes is carried all the same: it may be for the other client only.
        let kind = match recognize(&bytes, self.largest) {
            Ok(kind) => kind,
            Err(problem) => return Ok(Err(problem)),
        };
        let mime = kind.unwrap_or(data_url::SEALED);
        let image = Image { mime: ByteString::from_static(mime), encrypted: false, bytes };
        let wire = Verbatim { dialect: DIALECT, text: array, binary: true };
        Ok(self.said(None, Some(image), None, Some(wire)))
    }

    /// What is relayed is meant for the partner whom the client was told of, and nobody has told it of a chat that the hub
    /// has begun meanwhile.
    fn addressed(&self, command: Command) -> Command {
        match command {
            Command::Send { frame, .. } => {
                let chat = self.chat.as_ref().map_or(ChatId::NONE, |chat| chat.id);
                Command::Send { chat: Some(chat), frame }
            }
            other => other,
        }
    }

    /// Whether what has just come was sent before this side knew that it has another partner.
    fn is_late(&mut self) -> bool {
        let Some(chat) = &mut self.chat else { return false };
        let Some(fence) = &chat.fence else { return false };
        let answered = fence.ping.is_some_and(|ping| self.socket.transport().is_answered(ping));
        if answered || fence.until.is_some_and(|until| until <= Instant::now()) {
            chat.fence = None;
        }
        chat.fence.is_some()
    }

    fn send_message(&mut self, said: SendMessage<'_>, source: &ByteString) -> Asked {
        let SendMessage { message, image, reply } = said;
        let text = message.map(|message| message.in_source(source, &self.budget));
        if self.chat.is_none() {
            return Err(not_paired());
        }
        let read = |image: Text<'_>| {
            data_url::read(image.in_source(source, &self.budget), self.largest, &self.budget)
        };
        let image = image.map(read).transpose()?;
        if text.is_none() && image.is_none() {
            return Err(Problem::new(
                Code::BadMessage,
                "`send_message` needs a `message` or an `image`",
            ));
        }
        self.said(text, image, reply.0, None)
    }

    fn chat_message(&mut self, payload: Option<&str>, source: ByteString) -> Asked {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum ChatMessage {
            Plain(String),
            Replying {
                message: String,
                #[serde(default)]
                reply: Index,
            },
        }
        let (text, reply) = match parse("chat message", payload)? {
            ChatMessage::Plain(text) => (text, Index(None)),
            ChatMessage::Replying { message, reply } => (message, reply),
        };
        let wire = Verbatim { dialect: DIALECT, text: source, binary: false };
        self.said(Some(text.into()), None, reply.0, Some(wire))
    }

    fn image_upload(&mut self, payload: Option<&str>, source: ByteString) -> Asked {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum ImageUpload {
            Plain(String),
            Wrapped { image: String },
        }
        let (ImageUpload::Plain(image) | ImageUpload::Wrapped { image }) =
            parse("image upload", payload)?;
        if self.chat.is_none() {
            return Err(not_paired());
        }
        let wire = Verbatim { dialect: DIALECT, text: source, binary: false };
        let image = data_url::read(image.into(), self.largest, &self.budget)?;
        self.said(None, Some(image), None, Some(wire))
    }

    /// A message to the partner. What the hub would refuse is refused here already, for its sender's page shows and counts
    /// it all the same.
    fn said(
        &mut self,
        text: Option<ByteString>,
        image: Option<Image>,
        reply: Option<u64>,
        verbatim: Option<Verbatim>,
    ) -> Asked {
        if let Err(problem) = self.check(text.as_ref(), image.as_ref()) {
            if let Some(chat) = &mut self.chat {
                chat.log.refused();
            }
            return Err(problem);
        }
        let (mut id, mut reply_id) = (None, None);
        if let Some(chat) = &mut self.chat {
            reply_id = reply.and_then(|index| chat.log.id_at(index));
            id = Some(chat.log.said());
        }
        let message = Message { id, text, image: image.map(Box::new), reply: reply_id };
        let frame = Frame { body: Body::Message(message), verbatim };
        Ok(Some(Command::Send { chat: None, frame }))
    }

    fn check(&self, text: Option<&ByteString>, image: Option<&Image>) -> Result<(), Problem> {
        let Self { message_bytes, image_bytes, .. } = *self;
        if text.is_some_and(|text| text.len() > message_bytes) {
            let message = format!("a text may have {message_bytes} bytes");
            return Err(Problem::new(Code::TooLong, message));
        }
        if image.is_some_and(|image| image.bytes.len() > image_bytes) {
            let message = format!("a picture may have {image_bytes} bytes");
            return Err(Problem::new(Code::TooLarge, message));
        }
        Ok(())
    }

    fn read_message(&self, payload: Option<&str>) -> Asked {
        #[derive(Deserialize)]
        struct ReadMessage {
            #[serde(rename = "messageId")]
            message_id: serde_json::Number,
        }
        let ReadMessage { message_id } = parse("read_message", payload)?;
        let Some(chat) = &self.chat else { return Ok(Some(relay(Body::Read { id: 0 }))) };
        let id = message_id.as_u64().and_then(|index| chat.log.id_at(index));
        Ok(id.map(|id| relay(Body::Read { id })))
    }

    fn signal(&self, kind: SignalKind, name: &str, field: &str, payload: Option<&str>) -> Asked {
        let mut fields: serde_json::Map<String, serde_json::Value> = parse(name, payload)?;
        match fields.remove(field) {
            Some(serde_json::Value::String(data)) => {
                Ok(Some(relay(signalled(kind, Some(self.budget.hold_text(data))))))
            }
            _ => {
                let message = format!("`{name}` needs the field `{field}`, a string");
                Err(Problem::new(Code::BadMessage, message))
            }
        }
    }

    fn typing(&mut self, on: bool) -> Command {
        if let Some(chat) = &mut self.chat {
            chat.typing = on;
        }
        relay(Body::Typing(on))
    }

    /// Writes an event as the packets that carry it.
    fn write(&mut self, news: Event) {
        match news {
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
                let fence = self.chatted.then(|| {
                    self.packets.push_back(Outgoing::PING);
                    Fence { ping: None, until: None }
                });
                self.chatted = true;
                self.emit("matched", Some(json!({"partnerName": &*name, "partnerPk": &*key})));
                let log = Log::default();
                self.chat =
                    Some(Chat { id, partner: name, log, typing: false, marked: false, fence });
            }
            Event::Received(frame) => self.write_frame(frame),
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
            // This dialect has no words for the rest, and its frontend no need of them.
            _ => {}
        }
    }

    /// Says that the chat is over. The page keeps what it shows of a partner for the next one unless it is told.
    fn end_chat(&mut self, chat: &Chat) {
        if chat.marked {
            // No message has this number, so none is said to have been read: what this very page sends of an empty chat.
            self.emit("mark_as_read", Some(json!({"messageId": -1})));
        }
        self.emit("hide_typing", None);
        self.emit("partner_disconnected", None);
    }

    fn write_frame(&mut self, frame: Frame) {
        let Frame { body, verbatim } = frame;
        let Some(chat) = &mut self.chat else { return };
        match body {
            Body::Message(message) => {
                let reply = message.reply.and_then(|id| chat.log.index_of(id));
                chat.log.heard(message.id);
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
                if let Some(index) = chat.log.index_of(id) {
                    chat.marked = true;
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
                    // The hub refuses these: this client said that it does not take them.
                    SignalKind::Candidate => {}
                }
            }
        }
    }

    fn emit(&mut self, name: &str, payload: Option<serde_json::Value>) {
        let array = match payload {
            Some(payload) => json!([name, payload]),
            None => json!([name]),
        };
        self.packets.push_back(event(&array.to_string()));
    }

    fn poll_packets(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_ready_unpin(cx))?;
            let Some(packet) = self.packets.pop_front() else { return Poll::Ready(Ok(())) };
            let fences = packet == Outgoing::PING;
            self.socket.start_send_unpin(packet)?;
            if fences && let Some(fence) = self.chat.as_mut().and_then(|chat| chat.fence.as_mut()) {
                fence.ping = Some(self.socket.transport().last_ping());
            }
        }
    }

    /// Has an answer sent. Ready when there is room for another.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.answered {
            ready!(self.poll_packets(cx))?;
            self.answered = self.socket.poll_flush_unpin(cx)?.is_pending();
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream for PurrrChat {
    type Item = Input;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if !this.socket.gate().is_closed()
            && let Some(command) = this.commands.pop_front()
        {
            return Poll::Ready(Some(Input::Command(command)));
        }
        loop {
            if ready!(this.poll_answer(cx)).is_err() {
                return Poll::Ready(None);
            }
            let Some(incoming) = ready!(this.socket.poll_next_unpin(cx)) else {
                return Poll::Ready(None);
            };
            match incoming {
                Incoming::WriteProgress => return Poll::Ready(Some(Input::WriteProgress)),
                Incoming::Unresponsive => return Poll::Ready(Some(Input::Unresponsive)),
                Incoming::Responsive => return Poll::Ready(Some(Input::Responsive)),
                _ => {}
            }
            match this.read(incoming) {
                Ok(asked) => {
                    if let Some(asked) = asked.transpose() {
                        return Poll::Ready(Some(asked.map(|it| this.addressed(it)).into()));
                    }
                }
                Err(()) => return Poll::Ready(None),
            }
        }
    }
}

impl Sink<Event> for PurrrChat {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_packets(cx)
    }

    fn start_send(self: Pin<&mut Self>, news: Event) -> io::Result<()> {
        self.get_mut().write(news);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_packets(cx))?;
        ready!(this.socket.poll_flush_unpin(cx))?;
        if let Some(fence) = this.chat.as_mut().and_then(|chat| chat.fence.as_mut()) {
            fence.until.get_or_insert_with(|| Instant::now() + FENCED);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// A message on its way out, whose fields are all there even when they are null: without `reply` the page breaks.
fn receive_message(from: &str, message: &Message, reply: Option<u64>) -> String {
    /// Room for all but the contents, and for some escapes.
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
        Some(image) => data_url::write(image, &mut packet),
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

fn introduce(payload: Option<&str>) -> Result<Command, Problem> {
    #[derive(Deserialize)]
    struct InitUser<'a> {
        #[serde(borrow)]
        name: Text<'a>,
        #[serde(borrow, rename = "publicKey", default)]
        public_key: Option<Text<'a>>,
    }
    let InitUser { name, public_key } = parse("init_user", payload)?;
    let mut hello = Hello::named(name.0.as_ref());
    if let Some(Text(key)) = public_key {
        hello.encrypts = is_p256_key(&key);
        hello.public_key = Some(key.as_ref().into());
    }
    Ok(Command::Hello { hello, resume: None })
}

const fn signalled(kind: SignalKind, data: Option<ByteString>) -> Body {
    Body::Signal(Signal { kind, data })
}

const fn relay(body: Body) -> Command {
    Command::Send { chat: None, frame: Frame::new(body) }
}

fn not_paired() -> Problem {
    Problem::new(Code::NotPaired, "there is no partner to send this to")
}

/// Refuses an event that does not say where its one attachment goes.
fn check_attachment(array: &ByteString) -> Result<(), ()> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Attached {
        Plain(Placeholder),
        Wrapped { image: Placeholder },
    }
    let (name, payload) = open(array)?;
    if name != "image upload" {
        // Refused with an answer once the attachment has come.
        return Ok(());
    }
    let payload = payload.ok_or(())?;
    let (Attached::Plain(placeholder) | Attached::Wrapped { image: placeholder }) =
        serde_json::from_str(payload).map_err(|_| ())?;
    if placeholder.is_first() { Ok(()) } else { Err(()) }
}

/// Only names of this dialect are repeated to their sender.
fn known(name: &str) -> &str {
    const NAMES: [&str; 10] = [
        "init_user",
        "find_partner",
        "send_message",
        "read_message",
        "typing_start",
        "typing_stop",
        "start_video_call",
        "accept_video_call",
        "disconnect_partner",
        "chat message",
    ];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("this event")
}
