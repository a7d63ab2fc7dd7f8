//! Tickets and frames as bytes, for backends between processes.
//!
//! # What is promised
//!
//! Nodes of different versions read each other. A value is a list of numbered fields. A number
//! keeps its meaning for ever, and is not used again. A reader skips fields that it does not know,
//! and reads a field that is absent as its default. So a field that a later version adds is carried
//! between nodes that know it, and does no harm to others.
//!
//! A node that decodes and encodes again drops what it does not know. A broker in between must
//! therefore pass the bytes on as they are.
//!
//! ```
//! use purrr_core::{Frame, codec::portable, model::{PeerId, Ticket}};
//!
//! # fn main() -> Result<(), portable::DecodeError> {
//! let ticket = Ticket::new(PeerId::from_bits(1));
//! assert_eq!(portable::decode_ticket(&portable::encode_ticket(&ticket))?, ticket);
//! let frame = Frame::text("hello");
//! assert_eq!(portable::decode_frame(&portable::encode_frame(&frame).into())?, frame);
//! # Ok(())
//! # }
//! ```

mod fields;

use bytes::Bytes;
use bytestring::ByteString;

pub use self::fields::DecodeError;
use self::fields::{Fields, Writer};
use crate::model::{
    attributes::Attribute,
    frame::{Body, Frame, Image, Message, Signal, SignalKind, Verbatim},
    ids::{OriginKey, PeerId, PersonId},
    profile::{Capabilities, Hello, Interest, Search},
    ticket::{Exclusions, Ticket},
};

/// Encodes a ticket.
#[must_use]
pub fn encode_ticket(ticket: &Ticket) -> Vec<u8> {
    let mut out = Writer::default();
    write_ticket(&mut out, ticket);
    out.into_bytes()
}

/// Decodes a ticket. An attribute whose kind is unknown is left out.
///
/// # Errors
///
/// [`DecodeError::Malformed`] if the bytes are no ticket.
pub fn decode_ticket(bytes: &[u8]) -> Result<Ticket, DecodeError> {
    read_ticket(&Bytes::copy_from_slice(bytes))
}

/// Encodes the persons and addresses that a peer must not meet.
#[must_use]
pub fn encode_exclusions(exclusions: &Exclusions) -> Vec<u8> {
    let mut out = Writer::default();
    write_exclusions(&mut out, exclusions);
    out.into_bytes()
}

/// Decodes the persons and addresses that a peer must not meet.
///
/// # Errors
///
/// [`DecodeError::Malformed`] if the bytes are no exclusions.
pub fn decode_exclusions(bytes: &[u8]) -> Result<Exclusions, DecodeError> {
    read_exclusions(&Bytes::copy_from_slice(bytes))
}

/// Encodes a frame, with its wire form.
#[must_use]
pub fn encode_frame(frame: &Frame) -> Vec<u8> {
    let Frame { body, verbatim } = frame;
    let mut out = Writer::default();
    match body {
        Body::Message(message) => out.nested(1, |out| write_message(out, message)),
        Body::Typing(on) => out.flag(2, *on),
        Body::Read { id } => out.number(3, *id),
        Body::Signal(Signal { kind, data }) => out.nested(4, |out| {
            out.bytes(1, kind.as_str().as_bytes());
            out.text(2, data.as_ref());
        }),
    }
    if let Some(Verbatim { dialect, text, binary }) = verbatim {
        out.nested(5, |out| {
            out.bytes(1, dialect.as_str().as_bytes());
            out.text(2, Some(text));
            out.flag(3, *binary);
        });
    }
    out.into_bytes()
}

/// Decodes a frame. Its texts and its picture share the memory of `bytes`.
///
/// # Errors
///
/// - [`DecodeError::UnknownBody`] if a later version knows this kind of frame. The receiver leaves
///   it out.
/// - [`DecodeError::Malformed`] if the bytes are no frame.
pub fn decode_frame(bytes: &Bytes) -> Result<Frame, DecodeError> {
    let (mut body, mut verbatim) = (None, None);
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => body = Some(Body::Message(read_message(&field.bytes)?)),
            2 => body = Some(Body::Typing(field.flag()?)),
            3 => body = Some(Body::Read { id: field.number()? }),
            4 => body = Some(Body::Signal(read_signal(&field.bytes)?)),
            5 => verbatim = read_verbatim(&field.bytes)?,
            _ => {}
        }
    }
    Ok(Frame { body: body.ok_or(DecodeError::UnknownBody)?, verbatim })
}

fn write_ticket(out: &mut Writer, ticket: &Ticket) {
    let Ticket {
        peer,
        person,
        hello: Hello { name, public_key, encrypts },
        origin,
        search: Search { interests, languages },
        capabilities: Capabilities { images, signals, candidates, receipts },
        attributes,
        exclusions,
        waited,
    } = ticket;
    out.id(1, peer.to_bits());
    out.id(2, person.to_bits());
    out.nested(3, |out| {
        out.text(1, name.as_ref());
        out.text(2, public_key.as_ref());
        out.flag(3, *encrypts);
    });
    out.id(4, origin.to_bits());
    out.nested(5, |out| {
        for (number, all) in [(1, interests), (2, languages)] {
            for interest in all {
                out.bytes(number, interest.as_ref().as_bytes());
            }
        }
    });
    out.nested(6, |out| {
        for (number, capable) in (1..).zip([images, signals, candidates, receipts]) {
            out.flag(number, *capable);
        }
    });
    for (name, value) in attributes.iter() {
        out.nested(7, |out| {
            out.bytes(1, name.as_bytes());
            match value {
                Attribute::Flag(value) => out.flag(2, *value),
                Attribute::Integer(value) => out.id(3, value.cast_unsigned()),
                Attribute::Text(value) => out.text(4, Some(value)),
            }
        });
    }
    out.nested(8, |out| write_exclusions(out, exclusions));
    out.duration(9, *waited);
}

fn read_ticket(bytes: &Bytes) -> Result<Ticket, DecodeError> {
    let (mut ticket, mut named) = (Ticket::new(PeerId::from_bits(0)), [false; 2]);
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => (ticket.peer, named[0]) = (PeerId::from_bits(field.id()?), true),
            2 => (ticket.person, named[1]) = (PersonId::from_bits(field.id()?), true),
            3 => ticket.hello = read_hello(&field.bytes)?,
            4 => ticket.origin = OriginKey::from_bits(field.id()?),
            5 => ticket.search = read_search(&field.bytes)?,
            6 => ticket.capabilities = read_capabilities(&field.bytes)?,
            7 => {
                if let Some((name, value)) = read_attribute(&field.bytes)? {
                    ticket.attributes = ticket.attributes.with(name, value);
                }
            }
            8 => ticket.exclusions = read_exclusions(&field.bytes)?,
            9 => ticket.waited = field.duration()?,
            _ => {}
        }
    }
    if named == [true; 2] { Ok(ticket) } else { Err(DecodeError::Malformed) }
}

fn read_hello(bytes: &Bytes) -> Result<Hello, DecodeError> {
    let mut hello = Hello::default();
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => hello.name = Some(field.text()?),
            2 => hello.public_key = Some(field.text()?),
            3 => hello.encrypts = field.flag()?,
            _ => {}
        }
    }
    Ok(hello)
}

fn read_search(bytes: &Bytes) -> Result<Search, DecodeError> {
    let mut search = Search::default();
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => search.interests.push(Interest::from_normal_form(&field.text()?)),
            2 => search.languages.push(Interest::from_normal_form(&field.text()?)),
            _ => {}
        }
    }
    Ok(search)
}

fn read_capabilities(bytes: &Bytes) -> Result<Capabilities, DecodeError> {
    let mut capabilities = Capabilities::default();
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => capabilities.images = field.flag()?,
            2 => capabilities.signals = field.flag()?,
            3 => capabilities.candidates = field.flag()?,
            4 => capabilities.receipts = field.flag()?,
            _ => {}
        }
    }
    Ok(capabilities)
}

fn read_attribute(bytes: &Bytes) -> Result<Option<(ByteString, Attribute)>, DecodeError> {
    let (mut name, mut value) = (None, None);
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => name = Some(field.text()?),
            2 => value = Some(Attribute::Flag(field.flag()?)),
            3 => value = Some(Attribute::Integer(field.id()?.cast_signed())),
            4 => value = Some(Attribute::Text(field.text()?)),
            _ => {}
        }
    }
    Ok(name.zip(value))
}

fn write_exclusions(out: &mut Writer, exclusions: &Exclusions) {
    out.ids(1, exclusions.recent.iter().map(|person| person.to_bits()));
    out.duration(2, exclusions.relax_after);
    out.ids(3, exclusions.blocked().iter().map(|person| person.to_bits()));
    out.ids(4, exclusions.blocked_origins().iter().map(|origin| origin.to_bits()));
}

fn read_exclusions(bytes: &Bytes) -> Result<Exclusions, DecodeError> {
    let mut exclusions = Exclusions::default();
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => exclusions.recent = field.ids()?.map(PersonId::from_bits).collect(),
            2 => exclusions.relax_after = field.duration()?,
            3 => exclusions = exclusions.blocking(field.ids()?.map(PersonId::from_bits)),
            4 => exclusions = exclusions.blocking_origins(field.ids()?.map(OriginKey::from_bits)),
            _ => {}
        }
    }
    Ok(exclusions)
}

fn write_message(out: &mut Writer, message: &Message) {
    let Message { id, text, image, reply } = message;
    if let Some(id) = id {
        out.number(1, *id);
    }
    out.text(2, text.as_ref());
    if let Some(Image { mime, encrypted, bytes }) = image.as_deref() {
        out.nested(3, |out| {
            out.text(1, Some(mime));
            out.flag(2, *encrypted);
            out.bytes(3, bytes);
        });
    }
    if let Some(reply) = reply {
        out.number(4, *reply);
    }
}

fn read_message(bytes: &Bytes) -> Result<Message, DecodeError> {
    let mut message = Message::default();
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => message.id = Some(field.number()?),
            2 => message.text = Some(field.text()?),
            3 => message.image = Some(Box::new(read_image(&field.bytes)?)),
            4 => message.reply = Some(field.number()?),
            _ => {}
        }
    }
    Ok(message)
}

fn read_image(bytes: &Bytes) -> Result<Image, DecodeError> {
    let mut image = Image { mime: ByteString::new(), encrypted: false, bytes: Bytes::new() };
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => image.mime = field.text()?,
            2 => image.encrypted = field.flag()?,
            3 => image.bytes = field.bytes,
            _ => {}
        }
    }
    Ok(image)
}

fn read_signal(bytes: &Bytes) -> Result<Signal, DecodeError> {
    let (mut kind, mut data) = (None, None);
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => kind = SignalKind::named(&field.text()?),
            2 => data = Some(field.text()?),
            _ => {}
        }
    }
    Ok(Signal { kind: kind.ok_or(DecodeError::UnknownBody)?, data })
}

/// Reads a wire form, or `None` if no dialect of this version can have its name.
fn read_verbatim(bytes: &Bytes) -> Result<Option<Verbatim>, DecodeError> {
    let (mut dialect, mut text, mut binary) = (None, None, false);
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => dialect = field.text()?.parse().ok(),
            2 => text = Some(field.text()?),
            3 => binary = field.flag()?,
            _ => {}
        }
    }
    Ok(dialect.zip(text).map(|(dialect, text)| Verbatim { dialect, text, binary }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{attributes::Attributes, frame::Dialect};

    fn ticket() -> Ticket {
        let [ann, bob] = [7, u64::MAX].map(PersonId::from_bits);
        let mut ticket = Ticket::new(PeerId::from_bits(1));
        ticket.person = PersonId::from_bits(2);
        ticket.hello = Hello { public_key: Some("key".into()), ..Hello::named("Ann") };
        ticket.hello.encrypts = true;
        ticket.origin = OriginKey::from_bits(3);
        ticket.search = Search::for_interests(["Cats", ""]).in_languages(["pt-BR"]);
        ticket.capabilities = Capabilities { candidates: false, ..Capabilities::default() };
        ticket.attributes =
            Attributes::default().with("age", -1).with("mentor", true).with("town", "Rome");
        ticket.exclusions = Exclusions::default()
            .recently([bob, ann], Duration::MAX)
            .blocking([ann])
            .blocking_origins([OriginKey::from_bits(9)]);
        ticket.waited = Duration::new(5, 6);
        ticket
    }

    fn frames() -> Vec<Frame> {
        let image = Image {
            mime: "image/png".into(),
            encrypted: true,
            bytes: Bytes::from_static(&[0, 255, 7]),
        };
        let message = Message {
            id: Some(crate::model::frame::MAX_ID),
            text: Some("".into()),
            image: Some(Box::new(image)),
            reply: Some(0),
        };
        let verbatim = Verbatim {
            dialect: "purrr.chat".parse().unwrap(),
            text: "[\"receive\"]".into(),
            binary: true,
        };
        let mut frames = vec![
            Frame { body: Body::Message(message), verbatim: Some(verbatim) },
            Frame::text("hello"),
            Frame::new(Body::Message(Message::default())),
            Frame::new(Body::Typing(true)),
            Frame::new(Body::Typing(false)),
            Frame::new(Body::Read { id: 300 }),
            Frame::new(Body::Signal(Signal { kind: SignalKind::Hangup, data: None })),
        ];
        for kind in SignalKind::ALL {
            frames.push(Frame::new(Body::Signal(Signal { kind, data: Some("sdp".into()) })));
        }
        frames
    }

    #[test]
    fn tickets_and_frames_round_trip() {
        for ticket in [ticket(), Ticket::new(PeerId::from_bits(u64::MAX))] {
            assert_eq!(decode_ticket(&encode_ticket(&ticket)), Ok(ticket.clone()));
            let bytes = encode_exclusions(&ticket.exclusions);
            assert_eq!(decode_exclusions(&bytes), Ok(ticket.exclusions));
        }
        for frame in frames() {
            assert_eq!(decode_frame(&encode_frame(&frame).into()), Ok(frame));
        }
    }

    /// A field that this version does not know, as a later one may write it.
    fn unknown() -> Vec<u8> {
        let mut out = Writer::default();
        out.nested(1_000, |out| out.number(1, 7));
        out.into_bytes()
    }

    #[test]
    fn fields_of_later_version_are_skipped() {
        let later = |bytes: Vec<u8>| -> Bytes { [unknown(), bytes, unknown()].concat().into() };
        assert_eq!(decode_ticket(&later(encode_ticket(&ticket()))), Ok(ticket()));
        for frame in frames() {
            assert_eq!(decode_frame(&later(encode_frame(&frame))), Ok(frame));
        }
        // Within a nested value, too.
        let mut out = Writer::default();
        out.nested(1, |out| {
            out.number(1, 5);
            out.nested(1_000, |_| {});
            out.nested(3, |out| {
                out.bytes(1, b"image/png");
                out.flag(1_000, true);
                out.bytes(3, b"png");
            });
        });
        let frame = decode_frame(&out.into_bytes().into()).unwrap();
        let image = frame.body.image().unwrap();
        assert_eq!((frame.wants_receipt(), &*image.bytes), (true, &b"png"[..]));
    }

    #[test]
    fn absent_fields_of_earlier_version_are_defaults() {
        let mut out = Writer::default();
        out.id(1, 1);
        out.id(2, 1);
        assert_eq!(decode_ticket(&out.into_bytes()), Ok(Ticket::new(PeerId::from_bits(1))));
        assert_eq!(decode_exclusions(&[]), Ok(Exclusions::default()));
    }

    #[test]
    fn unknown_kinds_are_left_out_or_told() {
        assert_eq!(decode_frame(&unknown().into()), Err(DecodeError::UnknownBody));
        let mut out = Writer::default();
        out.nested(4, |out| out.bytes(1, b"teleport"));
        assert_eq!(decode_frame(&out.into_bytes().into()), Err(DecodeError::UnknownBody));
        let mut out = Writer::default();
        out.id(1, 1);
        out.id(2, 2);
        out.nested(7, |out| {
            out.bytes(1, b"shape");
            out.nested(1_000, |_| {});
        });
        assert_eq!(decode_ticket(&out.into_bytes()).unwrap().attributes, Attributes::default());
        let mut out = Writer::default();
        out.flag(2, true);
        out.nested(5, |out| {
            out.bytes(1, b"a dialect with a long name");
            out.bytes(2, b"text");
        });
        let frame = decode_frame(&out.into_bytes().into()).unwrap();
        assert_eq!(frame, Frame::new(Body::Typing(true)));
    }

    /// What the first version wrote must be read for ever.
    #[test]
    fn bytes_of_first_version_are_read() {
        let first = [
            1, 8, 1, 0, 0, 0, 0, 0, 0, 0, 2, 8, 2, 0, 0, 0, 0, 0, 0, 0, 3, 8, 1, 3, b'A', b'n',
            b'n', 3, 1, 0, 9, 2, 5, 6,
        ];
        let mut ticket = Ticket::new(PeerId::from_bits(1));
        (ticket.person, ticket.hello) = (PersonId::from_bits(2), Hello::named("Ann"));
        ticket.waited = Duration::new(5, 6);
        assert_eq!(decode_ticket(&first), Ok(ticket));
        let message = [1, 8, 1, 1, 7, 2, 3, b'h', b'e', b'y', 5, 14, 1, 6];
        let wire = [2, 1, b'x', 3, 1, 1];
        let frame = decode_frame(&[&message[..], b"native", &wire].concat().into());
        let dialect = Dialect::new("native");
        let verbatim = Some(Verbatim { dialect, text: "x".into(), binary: true });
        assert_eq!(frame, Ok(Frame { verbatim, ..Frame::text("hey").with_id(7) }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            decode_ticket(&bytes).ok();
            decode_exclusions(&bytes).ok();
            decode_frame(&bytes.into()).ok();
        }

        #[test]
        fn altered_bytes_are_decoded_or_refused(at in 0..200usize, to in any::<u8>()) {
            let mut bytes = encode_ticket(&ticket());
            let at = at % bytes.len();
            bytes[at] = to;
            decode_ticket(&bytes).ok();
            decode_ticket(&bytes[..at]).ok();
            for frame in frames() {
                let mut bytes = encode_frame(&frame);
                let at = at % bytes.len();
                bytes[at] = to;
                decode_frame(&bytes.into()).ok();
            }
        }
    }
}
