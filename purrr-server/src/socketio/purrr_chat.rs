//! The Purrr.chat dialect: its events as commands, and the hub's events as its own.

mod log;

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use bytestring::ByteString;
use futures::{Sink, SinkExt, Stream, StreamExt};
use log::Log;
use purrr_core::{
    Code, Command, Event, Frame, Hello, Input, Limits, Problem, Search,
    frame::{Body, Image, Message, Signal, SignalKind, Verbatim},
};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{json, value::RawValue};

use super::{Packet, Placeholder, binary_event, event, invalid_namespace};
use crate::{
    engineio::{EioSocket, Incoming, Outgoing},
    key::is_p256_key,
    native::PICTURES,
};

/// Marks frames that came as one of the events which are passed on as they are.
const DIALECT: &str = "purrr.chat";

/// The media type of a picture that only the two can open.
const SEALED: &str = "application/octet-stream";

/// What a partner without a name is called; the frontend takes an empty name for no partner at all.
const NAMELESS: &str = "Stranger";

/// A Socket.IO connection as a stream of commands and a sink of events.
pub(super) struct PurrrChat {
    socket: EioSocket,
    limits: Limits,
    /// Commands that are due before anything else is read.
    commands: VecDeque<Command>,
    /// Packets that are due before any other event is written.
    packets: VecDeque<Outgoing>,
    /// An event whose attachment comes next.
    awaited: Option<ByteString>,
    chat: Option<Chat>,
}

/// What is remembered of one chat.
#[derive(Default)]
struct Chat {
    partner: ByteString,
    log: Log,
    /// Whether this side was last said to be typing.
    typing: bool,
}

/// What an event asks for.
type Asked = Result<Option<Command>, Problem>;

impl PurrrChat {
    pub(super) fn new(socket: EioSocket, limits: Limits, auto_pair: bool) -> Self {
        let commands = auto_pair.then(|| Command::Find(Search::default())).into_iter().collect();
        Self { socket, limits, commands, packets: VecDeque::new(), awaited: None, chat: None }
    }

    pub(super) fn into_socket(self) -> EioSocket {
        self.socket
    }

    /// Reads a packet. `Err` means that this is not Socket.IO and the connection ends.
    fn read(&mut self, incoming: Incoming) -> Result<Asked, ()> {
        let text = match (incoming, self.awaited.take()) {
            (Incoming::Binary(bytes), Some(array)) => return self.read_attached(array, bytes),
            (Incoming::Text(text), None) => text,
            _ => return Err(()),
        };
        match Packet::read(&text).ok_or(())? {
            Packet::Event(array) => self.read_event(&text.slice_ref(array)),
            Packet::BinaryEvent(array) => {
                let array = text.slice_ref(array);
                check_attachment(&array)?;
                self.awaited = Some(array);
                Ok(Ok(None))
            }
            Packet::ConnectElsewhere(namespace) => {
                self.packets.push_back(Outgoing::Text(invalid_namespace(namespace)));
                Ok(Ok(None))
            }
            Packet::Connect(_) | Packet::Ack => Ok(Ok(None)),
            Packet::Disconnect => Err(()),
        }
    }

    fn read_event(&mut self, array: &ByteString) -> Result<Asked, ()> {
        let (name, payload) = open(array)?;
        Ok(match &*name {
            "init_user" => introduce(payload).map(Some),
            "find_partner" => Ok(Some(Command::Find(Search::default()))),
            "disconnect_partner" => Ok(Some(Command::Leave)),
            "send_message" => self.send_message(payload, array),
            "read_message" => self.read_message(payload),
            "typing_start" => Ok(Some(self.typing(true))),
            "typing_stop" if self.chat.as_ref().is_some_and(|chat| !chat.typing) => Ok(None),
            "typing_stop" => Ok(Some(self.typing(false))),
            "start_video_call" => signal(SignalKind::Offer, "start_video_call", "offer", payload),
            "accept_video_call" => {
                signal(SignalKind::Answer, "accept_video_call", "answer", payload)
            }
            "refuse_video_call" => Ok(Some(relay(signalled(SignalKind::Refuse, None)))),
            "hang_video_call" => Ok(Some(relay(signalled(SignalKind::Hangup, None)))),
            "chat message" => self.chat_message(payload, array),
            "image upload" => self.image_upload(payload, array),
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
        if self.chat.is_none() {
            return Ok(Err(not_paired()));
        }
        // What cannot be told by its first bytes is carried all the same: it may be for the other client only.
        let mime = kind_of(&bytes).unwrap_or(SEALED);
        let image =
            Image { mime: ByteString::from_static(mime), encrypted: false, bytes: bytes.clone() };
        let wire = Verbatim { dialect: DIALECT, text: array, binary: Some(bytes) };
        Ok(self.said(None, Some(image), None, Some(wire)))
    }

    fn send_message(&mut self, payload: Option<&str>, source: &ByteString) -> Asked {
        #[derive(Deserialize)]
        struct SendMessage<'a> {
            #[serde(borrow, default)]
            message: Option<Text<'a>>,
            #[serde(borrow, default)]
            image: Option<Text<'a>>,
            #[serde(default)]
            reply: Index,
        }
        let SendMessage { message, image, reply } = parse("send_message", payload)?;
        let text = message.map(|message| message.in_source(source));
        if self.chat.is_none() {
            return Err(not_paired());
        }
        let image = image.map(|image| picture(image.in_source(source))).transpose()?;
        if text.is_none() && image.is_none() {
            return Err(Problem::new(
                Code::BadMessage,
                "`send_message` needs a `message` or an `image`",
            ));
        }
        self.said(text, image, reply.0, None)
    }

    fn chat_message(&mut self, payload: Option<&str>, source: &ByteString) -> Asked {
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
        let wire = Verbatim { dialect: DIALECT, text: source.clone(), binary: None };
        self.said(Some(text.into()), None, reply.0, Some(wire))
    }

    fn image_upload(&mut self, payload: Option<&str>, source: &ByteString) -> Asked {
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
        let wire = Verbatim { dialect: DIALECT, text: source.clone(), binary: None };
        self.said(None, Some(picture(image.into())?), None, Some(wire))
    }

    /// A message to the partner. What the hub would refuse is refused here already, so that only messages which the
    /// partner gets are counted.
    fn said(
        &mut self,
        text: Option<ByteString>,
        image: Option<Image>,
        reply: Option<u64>,
        verbatim: Option<Verbatim>,
    ) -> Asked {
        let Limits { message_bytes, image_bytes, .. } = self.limits;
        if text.as_ref().is_some_and(|text| text.len() > message_bytes) {
            let message = format!("a text may have {message_bytes} bytes");
            return Err(Problem::new(Code::TooLong, message));
        }
        if image.as_ref().is_some_and(|image| image.bytes.len() > image_bytes) {
            let message = format!("a picture may have {image_bytes} bytes");
            return Err(Problem::new(Code::TooLarge, message));
        }
        let (mut id, mut reply_id) = (None, None);
        if let Some(chat) = &mut self.chat {
            reply_id = reply.and_then(|index| chat.log.id_at(index));
            id = Some(chat.log.said());
        }
        let message = Message { id, text, image, reply: reply_id };
        let frame = Frame { body: Body::Message(message), verbatim };
        Ok(Some(Command::Send { chat: None, frame }))
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

    fn typing(&mut self, on: bool) -> Command {
        if let Some(chat) = &mut self.chat {
            chat.typing = on;
        }
        relay(Body::Typing(on))
    }

    /// Writes an event as the packets that carry it.
    fn write(&mut self, news: Event) {
        match news {
            Event::Waiting { .. } => self.emit("waiting", None),
            Event::Matched { name, public_key, .. } => {
                let name = name.filter(|name| !name.is_empty());
                let name = name.unwrap_or_else(|| ByteString::from_static(NAMELESS));
                let key = public_key.unwrap_or_default();
                self.emit("matched", Some(json!({"partnerName": &*name, "partnerPk": &*key})));
                self.chat = Some(Chat { partner: name, ..Chat::default() });
            }
            Event::Received(frame) => self.write_frame(frame),
            Event::Idle | Event::Left { .. } if self.chat.is_some() => {
                self.chat = None;
                // The page keeps "typing" from one chat to the next unless it is told.
                self.emit("hide_typing", None);
                self.emit("partner_disconnected", None);
            }
            Event::Error(problem) => {
                let message = match problem.code {
                    Code::NotPaired => "No partner found.".into(),
                    _ => problem.message,
                };
                self.emit("error", Some(json!({"message": message})));
            }
            // This dialect has no words for the rest, and its frontend no need of them.
            _ => {}
        }
    }

    fn write_frame(&mut self, frame: Frame) {
        let Frame { body, verbatim } = frame;
        let Some(chat) = &mut self.chat else { return };
        match body {
            Body::Message(message) => {
                let reply = message.reply.and_then(|id| chat.log.index_of(id));
                chat.log.heard(message.id);
                if let Some(Verbatim { dialect: DIALECT, text, binary }) = verbatim {
                    match binary {
                        Some(bytes) => self.packets.extend(binary_event(&text, bytes)),
                        None => self.packets.push_back(event(&text)),
                    }
                    return;
                }
                let received = ReceiveMessage {
                    from: &chat.partner,
                    body: message.text.as_deref(),
                    image: message.image.map(data_url),
                    reply,
                };
                let array = serde_json::to_string(&("receive_message", received))
                    .expect("a message has only strings for keys");
                self.packets.push_back(event(&array));
            }
            Body::Typing(on) => self.emit(if on { "show_typing" } else { "hide_typing" }, None),
            Body::Read { id } => {
                if let Some(index) = chat.log.index_of(id) {
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
            self.socket.start_send_unpin(packet)?;
        }
    }
}

impl Stream for PurrrChat {
    type Item = Input;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(command) = this.commands.pop_front() {
            return Poll::Ready(Some(Input::Command(command)));
        }
        loop {
            let Poll::Ready(incoming) = this.socket.poll_next_unpin(cx) else {
                // What was answered here and not by the hub goes out without waiting for it.
                let due = !this.packets.is_empty();
                if due && matches!(Pin::new(&mut *this).poll_flush(cx), Poll::Ready(Err(_))) {
                    return Poll::Ready(None);
                }
                return Poll::Pending;
            };
            let Some(incoming) = incoming else { return Poll::Ready(None) };
            if incoming == Incoming::Progress {
                return Poll::Ready(Some(Input::Progress));
            }
            match this.read(incoming) {
                Ok(asked) => {
                    if let Some(asked) = asked.transpose() {
                        return Poll::Ready(Some(asked.into()));
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
        this.socket.poll_flush_unpin(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[derive(Serialize)]
struct ReceiveMessage<'a> {
    from: &'a str,
    body: Option<&'a str>,
    image: Option<Cow<'static, str>>,
    /// Must be there even when it is null: without it the page breaks.
    reply: Option<u64>,
}

/// A string, borrowed from the packet where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    fn in_source(&self, source: &ByteString) -> ByteString {
        match &self.0 {
            Cow::Borrowed(text) => source.slice_ref(text),
            Cow::Owned(text) => text.as_str().into(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> de::Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// An index among the messages of the chat. Any number that cannot be one is none.
#[derive(Default)]
struct Index(Option<u64>);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Option::<serde_json::Number>::deserialize(deserializer)?;
        Ok(Self(number.and_then(|number| number.as_u64())))
    }
}

/// Takes an event's array apart: its name, and its first argument if it has one.
fn open(array: &ByteString) -> Result<(Cow<'_, str>, Option<&str>), ()> {
    struct Opened<'a>(Cow<'a, str>, Option<&'a str>);

    impl<'de> Deserialize<'de> for Opened<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct OpenedVisitor;

            impl<'de> de::Visitor<'de> for OpenedVisitor {
                type Value = Opened<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an event's name and its argument")
                }

                fn visit_seq<A: de::SeqAccess<'de>>(
                    self,
                    mut seq: A,
                ) -> Result<Self::Value, A::Error> {
                    let Text(name) =
                        seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                    let payload = seq.next_element::<&RawValue>()?.map(RawValue::get);
                    while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                    Ok(Opened(name, payload))
                }
            }

            deserializer.deserialize_seq(OpenedVisitor)
        }
    }

    let Opened(name, payload) = serde_json::from_str(array).map_err(|_| ())?;
    Ok((name, payload))
}

/// Reads an event's argument.
fn parse<'a, T: Deserialize<'a>>(name: &str, payload: Option<&'a str>) -> Result<T, Problem> {
    let bad = |what: &str| Problem::new(Code::BadMessage, format!("`{name}` {what}"));
    let payload = payload.ok_or_else(|| bad("needs an argument"))?;
    serde_json::from_str(payload)
        .map_err(|_| bad("has an argument with a field that is missing or of a wrong type"))
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
    Ok(Command::Hello(hello))
}

fn signal(kind: SignalKind, name: &str, field: &str, payload: Option<&str>) -> Asked {
    let mut fields: serde_json::Map<String, serde_json::Value> = parse(name, payload)?;
    match fields.remove(field) {
        Some(serde_json::Value::String(data)) => {
            Ok(Some(relay(signalled(kind, Some(data.into())))))
        }
        _ => {
            let message = format!("`{name}` needs the field `{field}`, a string");
            Err(Problem::new(Code::BadMessage, message))
        }
    }
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

fn unsupported() -> Problem {
    Problem::new(Code::UnsupportedType, "pictures are JPEG, PNG, GIF, WebP or AVIF")
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

/// A picture as this dialect sends it: a data URL, or a ciphertext that is nobody's business.
fn picture(image: ByteString) -> Result<Image, Problem> {
    let Some(url) = image.strip_prefix("data:") else {
        let mime = ByteString::from_static(SEALED);
        return Ok(Image { mime, encrypted: true, bytes: image.into_bytes() });
    };
    let (mime, base64) = url.split_once(";base64,").ok_or_else(unsupported)?;
    let mime = PICTURES.into_iter().find(|known| *known == mime).ok_or_else(unsupported)?;
    let bytes = BASE64_STANDARD.decode(base64).map_err(|_| {
        Problem::new(Code::BadMessage, "the data URL of a picture must be strict base64")
    })?;
    Ok(Image { mime: ByteString::from_static(mime), encrypted: false, bytes: bytes.into() })
}

fn data_url(image: Image) -> Cow<'static, str> {
    let Image { mime, encrypted, bytes } = image;
    if encrypted && let Ok(sealed) = std::str::from_utf8(&bytes) {
        return Cow::Owned(sealed.to_owned());
    }
    // A ciphertext that is no text could only come from a client that broke its own dialect; its bytes still arrive.
    let mut url = format!("data:{};base64,", &*mime);
    BASE64_STANDARD.encode_string(&bytes, &mut url);
    Cow::Owned(url)
}

/// The kind of picture, by the bytes it begins with.
fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f' | b's', ..] => {
            Some("image/avif")
        }
        _ => None,
    }
}
