//! The native dialect: JSON text frames over a WebSocket. An image is a head and a binary frame.

use std::{
    borrow::Cow,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use bytestring::ByteString;
use futures::{Sink, Stream};
use purrr_core::{
    Code, Command, Event, Frame, Hub, Limits, Problem, Profile,
    codec::{self, ImageHead, Parsed},
    hub::{Gate, Input},
    model::{self, Body, Closing, OriginKey, Verbatim},
};
use serde::Deserialize;

use super::{
    ciphertext,
    close_code::close_code,
    image::{self, ImageLimits},
    p256_key::is_p256_key,
    welcome::add_page_fields,
};
use crate::{
    config::Config,
    identify::{Anonymous, Identifier, Known},
    limits::{
        connections::{ConnectionLimiter, ConnectionPermit},
        memory::{MemoryBudget, SMALL_MESSAGE, overloaded},
        open::{Dialect, OpenConnection, OpenConnections},
    },
    liveness::Incoming,
    transport::{
        message::Message,
        websocket::{self, LiveSocket, MessageSocket, SocketError},
    },
};

/// The subprotocol that a client may offer.
const PROTOCOL: &str = "purrr.v1";

/// Marks frames that may be relayed in the form in which they came.
const DIALECT: model::Dialect = model::Dialect::new("native");

/// The heartbeat that a client's program answers, and the answer.
static PING: ByteString = ByteString::from_static(r#"{"type":"ping"}"#);
const PONG: &str = r#"{"type":"pong"}"#;

/// The longest refused text that is parsed for its type.
const LONGEST_REFUSED: usize = 16 * 1024;

/// A longer text is no heartbeat.
const LONGEST_HEARTBEAT: usize = 64;

/// What the route `/ws` needs.
#[derive(Clone, Debug)]
pub(crate) struct Native {
    hub: Hub,
    identifier: Identifier,
    opening: Arc<Opening>,
    connections: OpenConnections,
    limiter: Arc<ConnectionLimiter>,
}

/// What a session is opened with. The sessions without a name share one.
#[derive(Clone, Debug)]
struct Opening {
    config: Arc<Config>,
    text_limits: TextLimits,
    /// The name that the app gave, whatever name the client says.
    name: Option<ByteString>,
}

impl Native {
    pub(crate) fn new(
        hub: Hub,
        identifier: Identifier,
        config: Arc<Config>,
        connections: OpenConnections,
        limiter: Arc<ConnectionLimiter>,
    ) -> Self {
        let text_limits = TextLimits::new(hub.limits(), &config);
        let opening = Arc::new(Opening { config, text_limits, name: None });
        Self { hub, identifier, opening, connections, limiter }
    }
}

/// Answers a request to `/ws`.
pub(crate) async fn handle(State(native): State<Native>, mut request: Request) -> Response {
    let Native { hub, identifier, opening, connections, limiter } = native;
    let permit = match limiter.admit(&request) {
        Ok(permit) => permit,
        Err(rejection) => return rejection.into_response(),
    };
    let profile = match identifier.identify(&mut request).await {
        Ok(profile) => profile,
        Err(refusal) => return refusal,
    };
    let (max_payload, reservation) = (opening.config.max_payload, permit.budget().reservation());
    let protocol = Some(PROTOCOL);
    let control_frames = limiter.control_frames(&permit);
    let counted = move || (connections.open(Dialect::Native), permit);
    match profile {
        None => websocket::upgrade(request, protocol, max_payload, reservation, move |socket| {
            let socket = MessageSocket::new(socket, control_frames);
            run(hub, opening, counted(), Anonymous, socket)
        }),
        Some(profile) => {
            websocket::upgrade(request, protocol, max_payload, reservation, move |socket| {
                let socket = MessageSocket::new(socket, control_frames);
                run(hub, opening, counted(), profile, socket)
            })
        }
    }
}

/// Runs one client's session on an upgraded socket. The permit is held until it ends.
///
/// The socket is wrapped before the future begins. Otherwise the future would hold it twice.
fn run<K: Known>(
    hub: Hub,
    opening: Arc<Opening>,
    (counted, permit): (OpenConnection, ConnectionPermit),
    known: K,
    socket: MessageSocket,
) -> impl Future<Output = ()> + use<K> {
    let opening = match known.name() {
        None => opening,
        name => Arc::new(Opening { name, ..(*opening).clone() }),
    };
    let mut native = NativeSocket::new(socket, opening);
    async move {
        let gate = native.socket.gate().clone();
        // The profile is built in place: in a variable, the future would hold it to the end.
        let ended = hub.serve(&mut native, profile(known.into_profile(), &permit, gate)).await;
        let reason = close_code(ended, "not JSON");
        // Boxed: it is larger than all the rest, and every session would hold it from its start.
        Box::pin(native.socket.into_transport().close(reason)).await;
        // Moved into a variable of its own, the future would hold it twice.
        drop(counted);
    }
}

/// Adds what the server knows of a client to what the app knows.
fn profile(mut profile: Profile, permit: &ConnectionPermit, gate: Gate) -> Profile {
    profile.gate = Some(gate);
    profile.allowance = profile.allowance.or_else(|| permit.allowance());
    profile.budget = profile.budget.or_else(|| Some(permit.budget().queue()));
    if profile.origin == OriginKey::NONE {
        profile.origin = permit.origin();
    }
    profile
}

/// A WebSocket as a stream of commands and a sink of events.
struct NativeSocket {
    socket: LiveSocket,
    /// What the next binary frame is. None if there should be none.
    expected: Option<Expected>,
    /// The remaining frames of an event that takes several, the last one first.
    rest: Vec<Message>,
    opening: Arc<Opening>,
    /// Cleared when the first `welcome` is sent, which tells the page its settings.
    page_fields_due: bool,
    /// Set when the client has sent a `ping`, until its `pong` is sent.
    pong_due: bool,
    /// Set once the session was told of the client's close.
    is_closing_told: bool,
}

/// A heartbeat of a client's program, which its WebSocket library does not answer by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeartbeatFrame {
    Ping,
    Pong,
}

impl HeartbeatFrame {
    /// Returns the heartbeat that has come, if it is one.
    fn of(incoming: &Incoming<Message>) -> Option<Self> {
        let Incoming::Message(Message::Text(text)) = incoming else { return None };
        Self::parse(text)
    }

    /// Returns the heartbeat that a text frame is, if it is one.
    fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Typed<'a> {
            #[serde(borrow)]
            r#type: Cow<'a, str>,
        }
        // Every message passes here, so the common ones must cost next to nothing. A second `type`
        // would be refused below, so the first one decides.
        let plausible = text.len() <= LONGEST_HEARTBEAT
            && match text.strip_prefix(r#"{"type":""#) {
                Some(rest) => rest.starts_with("ping\"") || rest.starts_with("pong\""),
                None => text.contains("\"ping\"") || text.contains("\"pong\""),
            };
        let typed: Typed<'_> = plausible.then(|| serde_json::from_str(text).ok()).flatten()?;
        match typed.r#type.as_ref() {
            "ping" => Some(Self::Ping),
            "pong" => Some(Self::Pong),
            _ => None,
        }
    }
}

/// How long a text frame may be, in bytes.
#[derive(Clone, Copy, Debug)]
struct TextLimits {
    /// A command that is no message or call signal.
    command: usize,
    /// Any command. Text may be written with JSON escapes of six bytes.
    any: usize,
}

impl TextLimits {
    fn new(limits: &Limits, config: &Config) -> Self {
        let command_bytes = config.command_bytes;
        let text =
            limits.message_bytes.saturating_mul(6).max(limits.signal_bytes.saturating_mul(2));
        Self { command: command_bytes, any: command_bytes.saturating_add(text) }
    }

    /// Refuses a text that is too long for its type, before it is parsed.
    ///
    /// A parse of megabytes holds up all other sessions of the thread.
    fn check(self, text: &str) -> Result<(), Problem> {
        if text.len() <= self.command {
            return Ok(());
        }
        let is_long_type = match text.strip_prefix(r#"{"type":""#) {
            Some(rest) => {
                ["message\"", "image\"", "signal\""].iter().any(|it| rest.starts_with(it))
            }
            // It is parsed to find its type, and checked again then.
            None => true,
        };
        let most = if is_long_type { self.any } else { self.command };
        if text.len() <= most { Ok(()) } else { Err(too_long(most)) }
    }

    /// Refuses a command that is too long for its type.
    fn check_parsed(self, command: &Command, text: &str) -> Result<(), Problem> {
        let is_long_type = matches!(
            command,
            Command::Send { frame: Frame { body: Body::Message(_) | Body::Signal(_), .. }, .. }
        );
        if is_long_type || text.len() <= self.command {
            return Ok(());
        }
        Err(too_long(self.command))
    }
}

/// What the next binary frame is.
enum Expected {
    /// The bytes of the image with this head and its text.
    Image(Box<(ImageHead, ByteString)>),
    /// The bytes of an image whose head was refused, which are discarded.
    Discarded,
}

impl NativeSocket {
    fn new(socket: MessageSocket, opening: Arc<Opening>) -> Self {
        let socket = LiveSocket::new(socket, &opening.config);
        let (expected, rest) = (None, Vec::new());
        Self {
            socket,
            expected,
            rest,
            opening,
            page_fields_due: true,
            pong_due: false,
            is_closing_told: false,
        }
    }

    /// Handles a heartbeat of the client's program.
    ///
    /// A client that sends one is probed in the same way from then on: a browser answers WebSocket
    /// pings also while the page's script is frozen.
    fn handle_heartbeat(&mut self, heartbeat: HeartbeatFrame) {
        self.socket.transport_mut().probe_with(&PING);
        self.pong_due |= heartbeat == HeartbeatFrame::Ping;
    }

    /// Sends the `pong` that is due, if there is room for it. A further `ping` is answered with it.
    #[inline(never)]
    fn poll_pong(&mut self, cx: &mut Context<'_>) -> Result<(), SocketError> {
        if Pin::new(&mut self.socket).poll_ready(cx)?.is_ready() {
            self.pong_due = false;
            Pin::new(&mut self.socket).start_send(Message::Text(ByteString::from_static(PONG)))?;
            let _ = Pin::new(&mut self.socket).poll_flush(cx)?;
        }
        Ok(())
    }

    /// Returns how the client ends the connection, once and if it said so.
    fn take_closing(&mut self) -> Option<Closing> {
        let is_told = mem::replace(&mut self.is_closing_told, true);
        let closing = self.socket.transport().closing();
        (!is_told && closing != Closing::Lost).then_some(closing)
    }

    /// Polls the socket, after sending a `pong` that is due.
    #[inline]
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming<Message>>> {
        if self.pong_due && self.poll_pong(cx).is_err() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.socket).poll_next(cx)
    }

    /// Decodes what came, and polls for more until it makes up an input.
    // Out of line, since a poll that finds nothing would pay for its locals.
    #[inline(never)]
    fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        mut next: Option<Incoming<Message>>,
    ) -> Poll<Option<Input>> {
        while let Some(incoming) = next {
            if let Some(heartbeat) = HeartbeatFrame::of(&incoming) {
                if !self.socket.transport_mut().count_control_frame() {
                    return Poll::Ready(None);
                }
                self.handle_heartbeat(heartbeat);
            } else if let Some(input) = self.decode(incoming) {
                return Poll::Ready(Some(input));
            }
            next = ready!(self.poll_incoming(cx));
        }
        Poll::Ready(self.take_closing().map(Input::Closing))
    }

    /// Decodes what came. Returns `None` if it was the head of an image.
    fn decode(&mut self, incoming: Incoming<Message>) -> Option<Input> {
        match incoming {
            Incoming::Message(Message::Text(text)) => self.decode_text(text),
            Incoming::Message(Message::Binary(bytes)) => self.decode_binary(bytes),
            Incoming::Refused => self.refuse(),
            Incoming::WriteProgress => Some(Input::WriteProgress),
            Incoming::Unresponsive => Some(Input::Unresponsive),
            Incoming::Responsive => Some(Input::Responsive),
        }
    }

    /// Decodes a text frame. Returns `None` if it was the head of an image.
    fn decode_text(&mut self, text: ByteString) -> Option<Input> {
        if let Some(Expected::Image(image)) = self.expected.take() {
            let problem = Problem::new(
                Code::BadMessage,
                "an `image` must be followed by its bytes in one binary frame; send both again",
            );
            let id = Some(image.0.id);
            // The text is dropped as well, since it cannot be told which of the two was meant.
            return Some(Input::InvalidFrame(problem.about(id)));
        }
        let limits = self.opening.text_limits;
        if let Err(problem) = limits.check(&text) {
            if text.starts_with(r#"{"type":"image""#) {
                self.expected = Some(Expected::Discarded);
            }
            return Some(refused(problem, &text));
        }
        let parsed = codec::parse(&text);
        if text.len() > limits.command
            && let Ok(Parsed::Command(command)) = &parsed
            && let Err(problem) = limits.check_parsed(command, &text)
        {
            return Some(refused(problem, &text));
        }
        match parsed {
            // An arm of its own, since a frame is large and each move of it costs.
            Ok(Parsed::Command(Command::Send { chat, mut frame })) => {
                if text.len() > SMALL_MESSAGE {
                    hold_copy(&mut frame.body, &text, self.budget());
                }
                frame.verbatim = Some(Verbatim::new(DIALECT, text, false));
                Some(Input::Command(Command::Send { chat, frame }))
            }
            Ok(Parsed::Command(command)) => Some(self.check_hello(command).into()),
            Ok(Parsed::Image(head)) => match check_head(&head) {
                Ok(()) => {
                    self.expected = Some(Expected::Image(Box::new((head, text))));
                    None
                }
                Err(problem) => {
                    self.expected = Some(Expected::Discarded);
                    Some(Input::InvalidFrame(problem))
                }
            },
            Err(problem) => Some(refused(problem, &text)),
        }
    }

    const fn budget(&self) -> &MemoryBudget {
        self.socket.transport().budget()
    }

    /// Checks what `purrr-core` cannot: the public key, and the name that the app gave.
    fn check_hello(&self, mut command: Command) -> Result<Command, Problem> {
        let hello = match &mut command {
            Command::Hello { hello, .. } => Some(hello),
            Command::Recover(recover) if self.opening.name.is_some() => {
                Some(recover.hello.get_or_insert_default())
            }
            Command::Recover(recover) => recover.hello.as_mut(),
            _ => None,
        };
        if let Some(hello) = hello {
            if let Some(key) = &hello.public_key {
                if !is_p256_key(key) {
                    return Err(Problem::new(
                        Code::BadMessage,
                        "`publicKey` must be an uncompressed P-256 point (65 bytes) in base64",
                    ));
                }
                hello.encrypts = true;
            }
            if self.opening.name.is_some() {
                hello.name.clone_from(&self.opening.name);
            }
        }
        Ok(command)
    }

    fn decode_binary(&mut self, bytes: Bytes) -> Option<Input> {
        match self.expected.take() {
            None => Some(Input::Invalid(Problem::new(
                Code::BadMessage,
                "a binary frame comes only after the `image` that announces it",
            ))),
            Some(Expected::Discarded) => None,
            Some(Expected::Image(image)) => {
                let (head, text) = *image;
                let limits = ImageLimits::from_config(&self.opening.config);
                Some(match complete_image(head, text, bytes, limits) {
                    Ok(command) => Input::Command(command),
                    Err(problem) => Input::InvalidFrame(problem),
                })
            }
        }
    }

    /// Handles a message that the memory budget had no room for: text, or the bytes of an image.
    fn refuse(&mut self) -> Option<Input> {
        let id = match self.expected.take() {
            Some(Expected::Image(image)) => Some(image.0.id),
            Some(Expected::Discarded) => return None,
            None => None,
        };
        // Only a long message is refused, and those are frames of a chat.
        Some(Input::InvalidFrame(overloaded().about(id)))
    }

    /// Sends the remaining frames of an event. Ready when there is room for another event.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        loop {
            ready!(Pin::new(&mut self.socket).poll_ready(cx))?;
            let Some(message) = self.rest.pop() else { return Poll::Ready(Ok(())) };
            Pin::new(&mut self.socket).start_send(message)?;
        }
    }
}

fn too_long(most: usize) -> Problem {
    Problem::new(Code::TooLong, format!("command too long; maximum {most} bytes"))
}

/// Returns a refused text as input: a frame of the chat, which the client counts, or another
/// command.
#[cold]
fn refused(problem: Problem, text: &str) -> Input {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
    }
    const FRAMES: [&str; 5] = ["message", "image", "typing", "read", "signal"];
    // Megabytes are not parsed for it: what is that long has its type first.
    let is_frame = match serde_json::from_str::<Typed<'_>>(text) {
        _ if text.len() > LONGEST_REFUSED => true,
        Ok(typed) => FRAMES.contains(&typed.r#type.as_ref()),
        Err(_) => false,
    };
    if is_frame { Input::InvalidFrame(problem) } else { Input::Invalid(problem) }
}

/// Checks what can be known of an image before its bytes come.
fn check_head(head: &ImageHead) -> Result<(), Problem> {
    if head.encrypted {
        return Ok(());
    }
    image::check_mime(&head.mime).map_err(|problem| problem.about(Some(head.id)))
}

/// Joins an image's head and bytes, and checks them: an image, or a ciphertext.
fn complete_image(
    head: ImageHead,
    text: ByteString,
    bytes: Bytes,
    limits: ImageLimits,
) -> Result<Command, Problem> {
    let (id, encrypted, mime) = (head.id, head.encrypted, head.mime.clone());
    let mut command = head.complete(bytes)?;
    if let Command::Send { frame, .. } = &mut command {
        if let Some(image) = frame.body.image() {
            let checked = match encrypted {
                true => ciphertext::check(&image.bytes),
                false => image::check(&mime, &image.bytes, limits),
            };
            checked.map_err(|problem| problem.about(Some(id)))?;
        }
        frame.verbatim = Some(Verbatim::new(DIALECT, text, true));
    }
    Ok(command)
}

impl Stream for NativeSocket {
    type Item = Input;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let incoming = ready!(this.poll_incoming(cx));
        this.poll_input(cx, incoming)
    }
}

impl Sink<Event> for NativeSocket {
    type Error = SocketError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.get_mut().poll_rest(cx)
    }

    fn start_send(self: Pin<&mut Self>, event: Event) -> Result<(), SocketError> {
        let this = self.get_mut();
        match event {
            Event::Received(Frame {
                body,
                verbatim: Some(Verbatim { dialect: DIALECT, text, binary, .. }),
                ..
            }) => {
                if let Some(image) = body.image().filter(|_| binary) {
                    this.rest.push(Message::Binary(image.bytes.clone()));
                }
                return Pin::new(&mut this.socket).start_send(Message::Text(text));
            }
            Event::Waiting(_) | Event::Matched { .. } | Event::Resumed(_) => {
                this.socket.set_active(true);
            }
            Event::Idle | Event::Left { .. } => this.socket.set_active(false),
            _ => {}
        }
        if let Event::Welcome { .. } = event
            && mem::take(&mut this.page_fields_due)
        {
            let config = &this.opening.config;
            let welcome = add_page_fields(&json(&event), config, SystemTime::now());
            return Pin::new(&mut this.socket).start_send(Message::Text(welcome.into()));
        }
        let mut frames = encode(event).into_iter();
        if let Some(first) = frames.next() {
            let first = held(first, this.budget());
            Pin::new(&mut this.socket).start_send(first)?;
        }
        let budget = this.socket.transport().budget();
        this.rest.extend(frames.map(|frame| held(frame, budget)));
        this.rest.reverse();
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        let this = self.get_mut();
        if !this.rest.is_empty() {
            ready!(this.poll_rest(cx))?;
        }
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    /// Flushes only: which close code to send is known when the session has ended.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.poll_flush(cx)
    }
}

/// Reserves for the text of a frame that is a copy, since it had escapes where it came from.
#[cold]
fn hold_copy(body: &mut Body, source: &ByteString, budget: &MemoryBudget) {
    let text = match body {
        Body::Message(message) => &mut message.text,
        Body::Signal(signal) => &mut signal.data,
        _ => return,
    };
    if let Some(text) = text
        && !source.as_bytes().as_ptr_range().contains(&text.as_ptr())
    {
        *text = budget.hold_text(mem::take(text));
    }
}

/// Reserves for the text of a message that was not sent in this form. The bytes of an image are
/// those that came.
fn held(message: Message, budget: &MemoryBudget) -> Message {
    match message {
        Message::Text(text) => Message::Text(budget.hold_text(text)),
        binary @ Message::Binary(_) => binary,
    }
}

/// Encodes an event that has no wire form yet.
///
/// An image takes two frames, and an image with a text three.
pub(crate) fn encode(event: Event) -> impl IntoIterator<Item = Message> {
    let Event::Received(frame) = event else {
        return [Some(Message::Text(json(&event))), None, None].into_iter().flatten();
    };
    let mut body = frame.body;
    let (text, head) = match &mut body {
        Body::Message(said) if said.text.is_some() && said.image.is_some() => {
            let image = said.image.take();
            let text = said.clone();
            (said.text, said.image) = (None, image);
            (text, said)
        }
        _ => {
            let binary = body.image().map(|image| image.bytes.clone());
            let head = Message::Text(json(&Event::Received(Frame::new(body))));
            return [Some(head), binary.map(Message::Binary), None].into_iter().flatten();
        }
    };
    let bytes = head.image.as_ref().map_or_else(Bytes::new, |image| image.bytes.clone());
    let [text, head] = [text, std::mem::take(head)]
        .map(|said| Message::Text(json(&Event::Received(Frame::new(Body::Message(said))))));
    [Some(text), Some(head), Some(Message::Binary(bytes))].into_iter().flatten()
}

fn json(event: &Event) -> ByteString {
    codec::__private::to_json(event).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identify::Identified;

    fn size_of_future<P1, P2, P3, P4, P5, F>(_: impl FnOnce(P1, P2, P3, P4, P5) -> F) -> usize {
        size_of::<F>()
    }

    /// Task allocations come in steps of 128 bytes, so that a byte more can cost an idle
    /// connection 128.
    #[test]
    fn idle_connection_memory_is_bounded() {
        let size = size_of_future(run::<Anonymous>);
        assert!(size <= 1_680, "{size} bytes");
        // A profile of the app costs a pointer.
        assert!(size_of_future(run::<Identified>) <= 1_696);
    }
}
