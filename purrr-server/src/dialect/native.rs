//! The native dialect: JSON text frames over a WebSocket, each picture a head and one binary frame.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use bytestring::ByteString;
use futures::{Sink, Stream};
use purrr_core::{
    Code, Command, Event, Frame, Hub, Problem, Profile,
    codec::{self, ImageHead, Parsed},
    hub::{Gate, Input},
    model::{Body, Message as Said, Verbatim},
};

use super::{
    close_code,
    image::{self as picture, Largest},
    p256_key::is_p256_key,
};
use crate::{
    config::Config,
    limits::{connections::ConnectionPermit, memory::overloaded, open::OpenConnection},
    liveness::Incoming,
    transport::{
        message::Message,
        websocket::{LiveSocket, MessageSocket, Socket, SocketError},
    },
};

/// The subprotocol a client may offer.
pub(crate) const PROTOCOL: &str = "purrr.v1";

/// Marks frames whose wire form may be forwarded as it came.
const DIALECT: &str = "native";

/// Runs one visitor's session on an upgraded socket. The visitor is permit until it is over.
///
/// The socket is wrapped before the future begins, which so has room for it once.
pub(crate) fn run(
    hub: Hub,
    config: &Config,
    (counted, permit): (OpenConnection, ConnectionPermit),
    socket: Socket,
) -> impl Future<Output = ()> + use<> {
    let mut native = NativeSocket::new(socket, config);
    async move {
        let _counted = counted;
        let gate = native.socket.gate().clone();
        // Made where it is taken, or the future would have room for it to the end.
        let ended = hub.serve(&mut native, profile(&permit, gate)).await;
        let goodbye = close_code(ended, "not JSON");
        // In a box, for it needs more room than all the rest, and every session would have that from its beginning.
        Box::pin(native.socket.into_transport().close(goodbye)).await;
    }
}

/// What is known of a visitor when it comes.
fn profile(permit: &ConnectionPermit, gate: Gate) -> Profile {
    let mut profile = Profile::default();
    (profile.allowance, profile.gate) = (permit.allowance(), Some(gate));
    profile
}

/// A WebSocket as a stream of commands and a sink of events.
struct NativeSocket {
    socket: LiveSocket,
    /// The head of a picture whose bytes come next, or the news that they are to be thrown away.
    awaited: Option<Awaited>,
    largest: Largest,
    /// The rest of an event that takes several frames.
    rest: VecDeque<Message>,
}

enum Awaited {
    Picture(Box<(ImageHead, ByteString)>),
    Refused,
}

impl NativeSocket {
    fn new(socket: Socket, config: &Config) -> Self {
        let socket = LiveSocket::new(MessageSocket::new(socket, config), config);
        let largest = Largest::of(config);
        Self { socket, awaited: None, largest, rest: VecDeque::new() }
    }

    /// Decodes a incoming. Returns `None` if it was the head of an image.
    fn read(&mut self, incoming: Incoming<Message>) -> Option<Input> {
        match incoming {
            Incoming::Message(Message::Text(text)) => self.read_text(text),
            Incoming::Message(Message::Binary(bytes)) => self.read_binary(bytes),
            Incoming::Refused => self.refuse(),
            Incoming::WriteProgress => Some(Input::WriteProgress),
            Incoming::Unresponsive => Some(Input::Unresponsive),
            Incoming::Responsive => Some(Input::Responsive),
        }
    }

    /// Reads a text frame. `None` if it was the head of a picture.
    fn read_text(&mut self, text: ByteString) -> Option<Input> {
        if let Some(Awaited::Picture(picture)) = self.awaited.take() {
            let problem = Problem::new(
                Code::BadMessage,
                "an `image` must be followed by its bytes in one binary frame; send both again",
            );
            let id = Some(picture.0.id);
            // The text itself is dropped with it: which of the two was meant cannot be told.
            return Some(Input::Invalid(problem.about(id)));
        }
        match codec::parse(&text) {
            // By itself, for a frame is large to hand about.
            Ok(Parsed::Command(Command::Send { chat, mut frame })) => {
                frame.verbatim = Some(Verbatim { dialect: DIALECT, text, binary: false });
                Some(Input::Command(Command::Send { chat, frame }))
            }
            Ok(Parsed::Command(command)) => Some(complete(command).into()),
            Ok(Parsed::Image(head)) => match check_head(&head) {
                Ok(()) => {
                    self.awaited = Some(Awaited::Picture(Box::new((head, text))));
                    None
                }
                Err(problem) => {
                    self.awaited = Some(Awaited::Refused);
                    Some(Input::Invalid(problem))
                }
            },
            Err(problem) => Some(Input::Invalid(problem)),
        }
    }

    fn read_binary(&mut self, bytes: Bytes) -> Option<Input> {
        match self.awaited.take() {
            None => Some(Input::Invalid(Problem::new(
                Code::BadMessage,
                "a binary frame comes only after the `image` that announces it",
            ))),
            Some(Awaited::Refused) => None,
            Some(Awaited::Picture(picture)) => {
                let (head, text) = *picture;
                Some(complete_picture(head, text, bytes, self.largest).into())
            }
        }
    }

    /// There was no room for a message: a text, or the bytes of a picture.
    fn refuse(&mut self) -> Option<Input> {
        let id = match self.awaited.take() {
            Some(Awaited::Picture(picture)) => Some(picture.0.id),
            Some(Awaited::Refused) => return None,
            None => None,
        };
        Some(Input::Invalid(overloaded().about(id)))
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        loop {
            ready!(Pin::new(&mut self.socket).poll_ready(cx))?;
            let Some(message) = self.rest.pop_front() else { return Poll::Ready(Ok(())) };
            Pin::new(&mut self.socket).start_send(message)?;
        }
    }
}

/// What `purrr-core` cannot check: the key.
fn complete(mut command: Command) -> Result<Command, Problem> {
    if let Command::Hello { hello, .. } = &mut command
        && let Some(key) = &hello.public_key
    {
        if !is_p256_key(key) {
            return Err(Problem::new(
                Code::BadMessage,
                "`publicKey` must be an uncompressed P-256 point (65 bytes) in base64",
            ));
        }
        hello.encrypts = true;
    }
    Ok(command)
}

/// What can be known of a picture before its bytes come.
fn check_head(head: &ImageHead) -> Result<(), Problem> {
    if head.encrypted {
        return Ok(());
    }
    picture::check_name(&head.mime).map_err(|problem| problem.about(Some(head.id)))
}

/// Puts a picture together if it is what its head says. Of a ciphertext only the two can know.
fn complete_picture(
    head: ImageHead,
    text: ByteString,
    bytes: Bytes,
    largest: Largest,
) -> Result<Command, Problem> {
    let (id, encrypted, mime) = (head.id, head.encrypted, head.mime.clone());
    let mut command = head.complete(bytes)?;
    if let Command::Send { frame, .. } = &mut command {
        if let Some(image) = frame.body.image().filter(|_| !encrypted) {
            let checked = picture::check(&mime, &image.bytes, largest);
            checked.map_err(|problem| problem.about(Some(id)))?;
        }
        frame.verbatim = Some(Verbatim { dialect: DIALECT, text, binary: true });
    }
    Ok(command)
}

impl Stream for NativeSocket {
    type Item = Input;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let Some(incoming) = ready!(Pin::new(&mut this.socket).poll_next(cx)) else {
                return Poll::Ready(None);
            };
            if let Some(input) = this.read(incoming) {
                return Poll::Ready(Some(input));
            }
        }
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
                verbatim: Some(Verbatim { dialect: DIALECT, text, binary }),
            }) => {
                if let Some(image) = body.image().filter(|_| binary) {
                    this.rest.push_back(Message::Binary(image.bytes.clone()));
                }
                return Pin::new(&mut this.socket).start_send(Message::Text(text));
            }
            Event::Waiting(_) | Event::Matched { .. } => this.socket.set_active(true),
            Event::Idle | Event::Left { .. } => this.socket.set_active(false),
            _ => {}
        }
        let mut frames = encode(event).into_iter();
        if let Some(first) = frames.next() {
            Pin::new(&mut this.socket).start_send(first)?;
        }
        this.rest.extend(frames);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        let this = self.get_mut();
        ready!(this.poll_rest(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    /// Says nothing: which close code to send is known only when the session has ended.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.poll_flush(cx)
    }
}

/// An event as the frames that carry it, none of which came as it is: a picture takes two, and one with a text three.
pub(crate) fn encode(event: Event) -> impl IntoIterator<Item = Message> {
    let Event::Received(frame) = event else {
        return [Some(Message::Text(json(&event))), None, None].into_iter().flatten();
    };
    let Frame { body, .. } = frame;
    let Body::Message(Said { id, text: Some(said), image: Some(image), reply }) = body else {
        let binary = body.image().map(|image| image.bytes.clone());
        let head = Message::Text(json(&Event::Received(Frame::new(body))));
        return [Some(head), binary.map(Message::Binary), None].into_iter().flatten();
    };
    let bytes = image.bytes.clone();
    let [words, head] = [
        Said { id, text: Some(said), image: None, reply },
        Said { id, text: None, image: Some(image), reply },
    ]
    .map(|said| Message::Text(json(&Event::Received(Frame::new(Body::Message(said))))));
    [Some(words), Some(head), Some(Message::Binary(bytes))].into_iter().flatten()
}

fn json(event: &Event) -> ByteString {
    serde_json::to_string(event).expect("an event has only strings for keys").into()
}
