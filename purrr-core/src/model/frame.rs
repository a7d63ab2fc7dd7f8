//! What two people send each other: [`Frame`].

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

/// The largest id a message may have: 2^53 − 1, the last whole number that JavaScript holds exactly.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// One thing carried from a peer to its partner.
///
/// A frame that came in a dialect the partner speaks too may carry its own wire form along in
/// [`verbatim`](Self::verbatim), so that relaying it copies and encodes nothing.
///
/// `Debug` prints kinds, ids and sizes only: what people write to each other never reaches a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What is said.
    pub body: Body,
    /// The frame as it came over the wire.
    pub verbatim: Option<Verbatim>,
}

/// What a [`Frame`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Something to read or to look at.
    Message(Message),
    /// The sender has begun, or stopped, to type.
    Typing(bool),
    /// The sender has seen the partner's message of this id.
    Read {
        /// The message's id, as its sender chose it.
        id: u64,
    },
    /// A step in setting up a video call. Opaque to us.
    Signal(Signal),
}

/// A text, a picture, or both.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Chosen by the sender and increasing within a chat. Without one there is no receipt for it.
    pub id: Option<u64>,
    /// The text, or its ciphertext.
    pub text: Option<ByteString>,
    /// The picture; apart, for few messages have one, and all of them are handed about.
    pub image: Option<Box<Image>>,
    /// The id of the message this one answers.
    pub reply: Option<u64>,
}

/// A picture as its sender sent it. Nobody on the way decodes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Its media type, such as `image/jpeg`; `application/octet-stream` when only the two know.
    pub mime: ByteString,
    /// Whether `bytes` are a ciphertext that only the partner can open.
    pub encrypted: bool,
    /// The picture itself.
    pub bytes: Bytes,
}

/// A WebRTC signalling step.
#[derive(Clone, PartialEq, Eq)]
pub struct Signal {
    /// Which step.
    pub kind: SignalKind,
    /// What goes with it, such as a session description.
    pub data: Option<ByteString>,
}

/// The steps of setting up and ending a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignalKind {
    /// A call is offered.
    Offer,
    /// The offer is taken.
    Answer,
    /// One more way to reach the sender (trickle ICE).
    Candidate,
    /// The offer is declined.
    Refuse,
    /// The call is over.
    Hangup,
}

/// A frame's own wire form, forwarded unchanged to a partner who speaks the same dialect.
#[derive(Clone, PartialEq, Eq)]
pub struct Verbatim {
    /// Which dialect this is; compared for equality only.
    pub dialect: &'static str,
    /// The text frame.
    pub text: ByteString,
    /// Whether the bytes of the picture follow in a binary frame.
    pub binary: bool,
}

impl Frame {
    /// A frame with no wire form of its own.
    #[must_use]
    pub const fn new(body: Body) -> Self {
        Self { body, verbatim: None }
    }

    /// A text message without an id.
    ///
    /// ```
    /// let frame = purrr_core::Frame::text("hello");
    /// assert_eq!(frame.as_text(), Some("hello"));
    /// ```
    pub fn text(text: impl Into<ByteString>) -> Self {
        Self::new(Body::Message(Message { text: Some(text.into()), ..Message::default() }))
    }

    /// The text, if this is a message that has one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.body {
            Body::Message(message) => message.text.as_deref(),
            _ => None,
        }
    }

    /// Whether its sender is owed the news that it has arrived.
    #[must_use]
    pub const fn wants_receipt(&self) -> bool {
        matches!(self.body, Body::Message(Message { id: Some(_), .. }))
    }

    /// What this frame counts for in the byte limit of a queue: its contents, once.
    #[must_use]
    pub fn weight(&self) -> usize {
        let Some(wire) = &self.verbatim else { return self.body.weight() };
        let image = self.body.image().filter(|_| wire.binary);
        let verbatim = wire.text.len() + image.map_or(0, |image| image.bytes.len());
        // The parsed contents are usually slices of the wire form, so the larger of the two is what is held.
        verbatim.max(self.body.weight())
    }
}

impl Body {
    /// The picture, if this is a message that has one.
    #[must_use]
    pub fn image(&self) -> Option<&Image> {
        match self {
            Self::Message(message) => message.image.as_deref(),
            _ => None,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Message(message) => {
                message.text.as_ref().map_or(0, |text| text.len())
                    + message.image.as_ref().map_or(0, |image| image.bytes.len())
            }
            Self::Signal(signal) => signal.data.as_ref().map_or(0, |text| text.len()),
            Self::Typing(_) | Self::Read { .. } => 0,
        }
    }
}

impl SignalKind {
    /// The kind as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Candidate => "candidate",
            Self::Refuse => "refuse",
            Self::Hangup => "hangup",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Offer, Self::Answer, Self::Candidate, Self::Refuse, Self::Hangup]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("text_bytes", &self.text.as_ref().map(|text| text.len()))
            .field("image", &self.image)
            .field("reply", &self.reply)
            .finish()
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("encrypted", &self.encrypted)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal")
            .field("kind", &self.kind)
            .field("data_bytes", &self.data.as_ref().map(|text| text.len()))
            .finish()
    }
}

impl fmt::Debug for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verbatim")
            .field("dialect", &self.dialect)
            .field("text_bytes", &self.text.len())
            .field("binary", &self.binary)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_sizes_and_never_contents() {
        let frame = Frame {
            body: Body::Message(Message {
                id: Some(7),
                text: Some("PLANTED".into()),
                image: Some(Box::new(Image {
                    mime: "image/PLANTED".into(),
                    encrypted: false,
                    bytes: Bytes::from_static(b"PLANTED"),
                })),
                reply: None,
            }),
            verbatim: Some(Verbatim { dialect: "native", text: "PLANTED".into(), binary: false }),
        };
        let printed = format!("{frame:?}");
        assert!(!printed.contains("PLANTED"), "{printed}");
        assert!(printed.contains("text_bytes: Some(7)"), "{printed}");
        let signal = Signal { kind: SignalKind::Offer, data: Some("PLANTED".into()) };
        assert!(!format!("{signal:?}").contains("PLANTED"));
    }

    #[test]
    fn weight_counts_contents_once() {
        let mut frame = Frame::text("12345");
        assert_eq!(frame.weight(), 5);
        frame.verbatim =
            Some(Verbatim { dialect: "native", text: r#"{"text":"12345"}"#.into(), binary: false });
        assert_eq!(frame.weight(), 16);
    }
}
