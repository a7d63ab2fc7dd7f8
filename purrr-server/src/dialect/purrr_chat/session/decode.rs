//! What a client sends, as commands: [`PurrrChat::decode`].

use bytes::Bytes;
use bytestring::ByteString;
use purrr_core::{
    Code, Command, Frame, Hello, Problem,
    model::{Body, ChatId, Image, Message, Signal, SignalKind, Verbatim},
};
use serde::Deserialize;

use super::{
    super::{
        data_url,
        packet::{AckId, Packet, Placeholder, ack, invalid_namespace},
        payload::{
            Index, MessageAlone, SendMessage, Text, TextOr, Upload, UploadAlone, name_of, open,
            parse, parse_alone,
        },
    },
    DIALECT, EventLimits, PurrrChat,
};
use crate::{
    dialect::{
        ciphertext,
        image::{recognize, too_large},
        p256_key::is_p256_key,
    },
    limits::memory::overloaded,
    liveness::Incoming,
    transport::{self, engineio::Outgoing, websocket::CloseCode},
};

/// Events that are for the server and not for the partner.
const SERVER_EVENTS: [&str; 3] = ["init_user", "find_partner", "disconnect_partner"];

/// Bytes of the longest JSON escape of one byte.
const MAX_ESCAPE: usize = 6;

/// The command that an event asks for, if any.
type Decoded = Result<Option<Command>, Problem>;

impl PurrrChat {
    /// Decodes a packet.
    ///
    /// Returns `Err` if it is not Socket.IO, which ends the connection.
    pub(super) fn decode(&mut self, incoming: Incoming<transport::Message>) -> Result<Decoded, ()> {
        let text = match (incoming, self.pending_event.take()) {
            (Incoming::Refused, _) => {
                // Only messages are as large. The client's page shows it although it is refused.
                let is_late = self.is_before_barrier();
                if let Some(chat) = self.chat.as_mut().filter(|_| !is_late) {
                    chat.index.push_refused();
                }
                return Ok(Err(overloaded()));
            }
            (Incoming::Message(transport::Message::Binary(bytes)), Some(pending)) => {
                let (array, ack) = *pending;
                self.acknowledge(ack);
                return self.decode_attached(array, bytes);
            }
            (Incoming::Message(transport::Message::Text(text)), None) => text,
            _ => return Err(()),
        };
        match Packet::parse(&text).ok_or(())? {
            Packet::Event(array, ack) => {
                self.acknowledge(ack);
                self.decode_event(&text, array)
            }
            Packet::BinaryEvent(array, ack) => {
                if array.len() > self.limits.command_bytes as usize {
                    return Err(());
                }
                let array = text.slice_ref(array);
                check_attachment(&array)?;
                self.pending_event = Some(Box::new((array, ack)));
                Ok(Ok(None))
            }
            Packet::ConnectElsewhere(namespace) => {
                self.answer(Outgoing::Text(invalid_namespace(namespace)));
                self.ignore()
            }
            Packet::Connect(_) | Packet::Ack => self.ignore(),
            Packet::Disconnect => {
                self.socket.transport_mut().set_end(&(CloseCode::Normal, ""));
                Err(())
            }
        }
    }

    /// Queues the acknowledgement that an event requests: the server has taken it.
    fn acknowledge(&mut self, id: AckId) {
        if let Some(id) = id {
            self.answer(ack(id));
        }
    }

    /// Decodes an event: what `packet` holds from `array` on.
    fn decode_event(&mut self, packet: &ByteString, array: &str) -> Result<Decoded, ()> {
        if let Some(said) = SendMessage::parse_fast(array) {
            if self.is_before_barrier() {
                return self.ignore_bytes(array.len());
            }
            // Only white space is ignored here.
            let most = MAX_ESCAPE * said.content_bytes() + self.limits.command_bytes as usize;
            if array.len() > most {
                let problem =
                    Problem::new(Code::TooLong, "`send_message` has too much white space");
                return self.ignore_bytes(array.len()).map(|_| Err(problem));
            }
            return Ok(self.send_message(said, packet));
        }
        if let Err(problem) = self.check_length(array) {
            return Ok(Err(problem));
        }
        if array.len() > self.limits.command_bytes as usize
            && let Some(name @ ("send_message" | "image upload")) = name_of(array)
        {
            return self.decode_large(name, packet, array);
        }
        let (name, payload) = open(array)?;
        if !SERVER_EVENTS.contains(&&*name) && self.is_before_barrier() {
            return self.ignore_bytes(array.len());
        }
        Ok(match &*name {
            "init_user" => introduce(payload, self.name.as_deref()).map(Some),
            "find_partner" => Ok(Some(self.find())),
            "disconnect_partner" => Ok(Some(Command::Leave)),
            "send_message" => {
                parse(&name, payload).and_then(|said| self.send_message(said, packet))
            }
            "read_message" => self.read_message(payload),
            "typing_start" => Ok(Some(self.typing(true))),
            "typing_stop" if self.chat.as_ref().is_some_and(|chat| !chat.is_typing) => {
                return self.ignore();
            }
            "typing_stop" => Ok(Some(self.typing(false))),
            "start_video_call" => self.signal(SignalKind::Offer, &name, "offer", payload),
            "accept_video_call" => self.signal(SignalKind::Answer, &name, "answer", payload),
            "refuse_video_call" => Ok(Some(relay(signalled(SignalKind::Refuse, None)))),
            "hang_video_call" => Ok(Some(relay(signalled(SignalKind::Hangup, None)))),
            "chat message" => self.chat_message(payload, packet.slice_ref(array)),
            "image upload" => {
                parse("image upload", payload).and_then(|image: TextOr<'_, Upload<'_>>| {
                    self.image_upload(image.text_or(|it| it.image), packet, array)
                })
            }
            _ => Err(Problem::new(Code::UnknownType, "unknown event")),
        })
    }

    /// Decodes an event that is larger than a command, since it has an image.
    ///
    /// It may have nothing else: parsing megabytes to ignore them holds up all other sessions of the
    /// thread.
    fn decode_large(
        &mut self,
        name: &str,
        packet: &ByteString,
        array: &str,
    ) -> Result<Decoded, ()> {
        if self.is_before_barrier() {
            return self.ignore_bytes(array.len());
        }
        Ok(match name {
            "send_message" => parse_alone(name, array)
                .and_then(|said: MessageAlone<'_>| self.send_message(said.into(), packet)),
            _ => parse_alone(name, array).and_then(|image: TextOr<'_, UploadAlone<'_>>| {
                self.image_upload(image.text_or(|it| it.image), packet, array)
            }),
        })
    }

    /// Ignores a packet that asks for nothing. Too many of them end the connection.
    fn ignore(&mut self) -> Result<Decoded, ()> {
        if self.socket.transport_mut().count_control_packet() { Ok(Ok(None)) } else { Err(()) }
    }

    /// Ignores an event of this length. Too many of them, or too many bytes, end the connection.
    #[cold]
    fn ignore_bytes(&mut self, bytes: usize) -> Result<Decoded, ()> {
        if self.socket.transport_mut().count_ignored(bytes) { Ok(Ok(None)) } else { Err(()) }
    }

    /// Refuses an event that is longer than one of its name can be, before it is parsed.
    ///
    /// A parse of megabytes holds up all other sessions of the thread.
    fn check_length(&mut self, array: &str) -> Result<(), Problem> {
        if array.len() <= self.limits.command_bytes as usize {
            return Ok(());
        }
        let name = name_of(array);
        let most = (self.limits.command_bytes as usize).saturating_add(match name {
            Some("send_message" | "image upload") => return Ok(()),
            Some("chat message") => MAX_ESCAPE * self.limits.message_bytes,
            Some("start_video_call" | "accept_video_call") => 2 * self.limits.signal_bytes as usize,
            _ => 0,
        });
        if array.len() <= most {
            return Ok(());
        }
        if name == Some("chat message")
            && !self.is_before_barrier()
            && let Some(chat) = &mut self.chat
        {
            chat.index.push_refused();
        }
        Err(Problem::new(Code::TooLong, format!("event too long; maximum {most} bytes")))
    }

    /// Decodes an event whose attachment has come. That the two fit was checked before.
    fn decode_attached(&mut self, array: ByteString, bytes: Bytes) -> Result<Decoded, ()> {
        let (name, payload) = open(&array)?;
        let (text, reply, relayed) = match &*name {
            "image upload" => (None, None, true),
            "send_message" => match parse::<SendAttached<'_>>(&name, payload) {
                Ok(SendAttached { message, reply, .. }) => {
                    (message.map(|text| text.in_source(&array, &self.budget)), reply.0, false)
                }
                Err(problem) => return Ok(Err(problem)),
            },
            _ => {
                let message = format!("`{}` takes no binary data", known(&name));
                return Ok(Err(Problem::new(Code::BadMessage, message)));
            }
        };
        if self.is_before_barrier() {
            return self.ignore_bytes(array.len() + bytes.len());
        }
        if self.chat.is_none() {
            return Ok(Err(not_paired()));
        }
        let kind = match recognize(&bytes, self.limits.images) {
            Ok(None) if bytes.len() <= self.limits.image_bytes => {
                ciphertext::check(&bytes).map(|()| None)
            }
            kind => kind,
        };
        let kind = match kind {
            Ok(kind) => kind,
            Err(problem) => return Ok(Err(problem)),
        };
        let mime = ByteString::from_static(kind.unwrap_or(data_url::OPAQUE));
        let image = Image::new(mime, bytes).encrypted(kind.is_none());
        // The frontend takes no attachment in `receive_message`: it gets a data URL.
        let wire = relayed.then_some(Verbatim::new(DIALECT, array, true));
        Ok(self.message(text, Some(image), reply, wire))
    }

    /// Addresses a frame to the partner that the client knows of.
    ///
    /// The hub may have begun another chat meanwhile, of which the client has not been told.
    pub(super) fn addressed(&self, command: Command) -> Command {
        match command {
            Command::Send { frame, .. } => {
                let chat = self.chat.as_ref().map_or(ChatId::NONE, |chat| chat.id);
                Command::Send { chat: Some(chat), frame }
            }
            other => other,
        }
    }

    fn send_message(&mut self, said: SendMessage<'_>, source: &ByteString) -> Decoded {
        let SendMessage { message, image, reply } = said;
        let text = message.map(|message| message.in_source(source, &self.budget));
        if self.chat.is_none() {
            return Err(not_paired());
        }
        let image = image.map(|image| self.decode_image(image.in_source(source, &self.budget)));
        let image = image.transpose()?;
        if text.is_none() && image.is_none() {
            return Err(Problem::new(
                Code::BadMessage,
                "`send_message` needs a `message` or an `image`",
            ));
        }
        self.message(text, image, reply.0, None)
    }

    fn chat_message(&mut self, payload: Option<&str>, source: ByteString) -> Decoded {
        #[derive(Deserialize)]
        struct Replying<'a> {
            #[serde(borrow)]
            message: Text<'a>,
            #[serde(default)]
            reply: Index,
        }
        let (text, reply) = match parse::<TextOr<'_, Replying<'_>>>("chat message", payload)? {
            TextOr::Text(text) => (text, Index(None)),
            TextOr::Object(Replying { message, reply }) => (message, reply),
        };
        let text = ByteString::from(text.0.into_owned());
        let wire = Verbatim::new(DIALECT, source, false);
        self.message(Some(text), None, reply.0, Some(wire))
    }

    fn image_upload(&mut self, image: Text<'_>, packet: &ByteString, array: &str) -> Decoded {
        if self.chat.is_none() {
            return Err(not_paired());
        }
        let wire = Verbatim::new(DIALECT, packet.slice_ref(array), false);
        let image = self.decode_image(image.0.into_owned().into())?;
        self.message(None, Some(image), None, Some(wire))
    }

    fn decode_image(&self, image: ByteString) -> Result<Image, Problem> {
        data_url::decode(image, self.limits.image_bytes, self.limits.images, &self.budget)
    }

    /// Returns a message to the partner.
    ///
    /// Refuses here what the hub would refuse, since the sender's page shows and counts it anyway.
    fn message(
        &mut self,
        text: Option<ByteString>,
        image: Option<Image>,
        reply: Option<u64>,
        verbatim: Option<Verbatim>,
    ) -> Decoded {
        if let Err(problem) = self.check(text.as_ref(), image.as_ref()) {
            if let Some(chat) = &mut self.chat {
                chat.index.push_refused();
            }
            return Err(problem);
        }
        let (mut id, mut reply_id) = (None, None);
        if let Some(chat) = &mut self.chat {
            reply_id = reply.and_then(|index| chat.index.id_at(index));
            id = Some(chat.index.push_own());
        }
        let mut message = Message::default();
        (message.id, message.text, message.reply) = (id, text, reply_id);
        message.image = image.map(Box::new);
        let frame = Frame::new(Body::Message(message)).with_verbatim(verbatim);
        Ok(Some(Command::Send { chat: None, frame }))
    }

    fn check(&self, text: Option<&ByteString>, image: Option<&Image>) -> Result<(), Problem> {
        let EventLimits { message_bytes, image_bytes, .. } = self.limits;
        if text.is_some_and(|text| text.len() > message_bytes) {
            let message = format!("message too long; maximum {message_bytes} bytes");
            return Err(Problem::new(Code::TooLong, message));
        }
        if image.is_some_and(|image| image.bytes.len() > image_bytes) {
            return Err(too_large(image_bytes as u64, "bytes"));
        }
        Ok(())
    }

    fn read_message(&self, payload: Option<&str>) -> Decoded {
        #[derive(Deserialize)]
        struct ReadMessage {
            #[serde(rename = "messageId")]
            message_id: serde_json::Number,
        }
        let ReadMessage { message_id } = parse("read_message", payload)?;
        let Some(chat) = &self.chat else { return Ok(Some(relay(Body::Read { id: 0 }))) };
        let id = message_id.as_u64().and_then(|index| chat.index.id_at(index));
        Ok(id.map(|id| relay(Body::Read { id })))
    }

    fn signal(&self, kind: SignalKind, name: &str, field: &str, payload: Option<&str>) -> Decoded {
        #[derive(Deserialize)]
        struct Described<'a> {
            #[serde(borrow, default)]
            offer: Option<Text<'a>>,
            #[serde(borrow, default)]
            answer: Option<Text<'a>>,
        }
        let Described { offer, answer } = parse(name, payload)?;
        let data = if field == "offer" { offer } else { answer };
        match data {
            Some(Text(data)) => {
                let data = self.budget.hold_decoded(data.into_owned());
                Ok(Some(relay(signalled(kind, Some(data)))))
            }
            None => {
                let message = format!("`{name}` needs the field `{field}`, a string");
                Err(Problem::new(Code::BadMessage, message))
            }
        }
    }

    fn typing(&mut self, on: bool) -> Command {
        if let Some(chat) = &mut self.chat {
            chat.is_typing = on;
        }
        relay(Body::Typing(on))
    }
}

/// Decodes `init_user`. A name that the app gave replaces the one that the client says.
fn introduce(payload: Option<&str>, given: Option<&ByteString>) -> Result<Command, Problem> {
    #[derive(Deserialize)]
    struct InitUser<'a> {
        #[serde(borrow)]
        name: Text<'a>,
        #[serde(borrow, rename = "publicKey", default)]
        public_key: Option<Text<'a>>,
    }
    let InitUser { name, public_key } = parse("init_user", payload)?;
    let mut hello = Hello::named(given.cloned().unwrap_or_else(|| name.0.as_ref().into()));
    if let Some(Text(key)) = public_key {
        hello.encrypts = is_p256_key(&key);
        hello.public_key = Some(key.as_ref().into());
    }
    Ok(Command::Hello { hello, resume: None })
}

const fn signalled(kind: SignalKind, data: Option<ByteString>) -> Body {
    Body::Signal(Signal::new(kind, data))
}

const fn relay(body: Body) -> Command {
    Command::Send { chat: None, frame: Frame::new(body) }
}

fn not_paired() -> Problem {
    Problem::new(Code::NotPaired, "no partner")
}

/// The argument of a `send_message` whose image is an attachment.
#[derive(Deserialize)]
struct SendAttached<'a> {
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
    image: Placeholder,
    #[serde(default)]
    reply: Index,
}

/// Checks that an event has a place for its one attachment.
fn check_attachment(array: &ByteString) -> Result<(), ()> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Attached {
        Plain(Placeholder),
        Wrapped { image: Placeholder },
    }
    let (name, payload) = open(array)?;
    let payload = || payload.ok_or(());
    let placeholder = match &*name {
        "image upload" => match serde_json::from_str(payload()?).map_err(|_| ())? {
            Attached::Plain(placeholder) | Attached::Wrapped { image: placeholder } => placeholder,
        },
        "send_message" => match serde_json::from_str::<SendAttached<'_>>(payload()?) {
            Ok(SendAttached { image, .. }) => image,
            // Refused with an error once the attachment has come.
            Err(_) => return Ok(()),
        },
        // Refused with an error once the attachment has come.
        _ => return Ok(()),
    };
    if placeholder.is_first() { Ok(()) } else { Err(()) }
}

/// Returns the name of an event for an error. Only known names are echoed.
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
