//! The unit of relaying: [`Frame`].

use std::{fmt, str::FromStr};

use bytes::Bytes;
use bytestring::ByteString;

/// The largest id a message may have: 2^53 − 1, the last whole number that JavaScript holds
/// exactly.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// One message or signal, relayed from a peer to its partner.
///
/// A frame may carry its own wire form in [`verbatim`](Self::verbatim). To a partner of the same
/// dialect it is then relayed without copying or encoding.
///
/// `Debug` prints kinds, ids and sizes only, so that no contents reach a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The contents.
    pub body: Body,
    /// The frame as it was received.
    pub verbatim: Option<Verbatim>,
}

/// The contents of a [`Frame`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// A text, a picture, or both.
    Message(Message),
    /// The sender has started (true) or stopped typing.
    Typing(bool),
    /// The sender has read the partner's message of this id.
    Read {
        /// The message's id, as its sender chose it.
        id: u64,
    },
    /// A signalling step of a video call. Relayed without being interpreted.
    Signal(Signal),
}

/// A text, a picture, or both.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Chosen by the sender, increasing within a chat. A message without an id gets no receipt.
    pub id: Option<u64>,
    /// The text, or its ciphertext.
    pub text: Option<ByteString>,
    /// The picture. Boxed, because few messages have one and all of them are moved.
    pub image: Option<Box<Image>>,
    /// The id of the message this one answers.
    pub reply: Option<u64>,
}

/// A picture as it was received. Never decoded.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// The media type, such as `image/jpeg`. `application/octet-stream` for a ciphertext.
    pub mime: ByteString,
    /// True if `bytes` are a ciphertext that only the partner can decrypt.
    pub encrypted: bool,
    /// The file's bytes.
    pub bytes: Bytes,
}

/// A WebRTC signalling step.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signal {
    /// The step.
    pub kind: SignalKind,
    /// Its data, such as a session description.
    pub data: Option<ByteString>,
}

/// The steps of setting up and ending a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignalKind {
    /// A call is offered.
    Offer,
    /// The offer is taken.
    Answer,
    /// An ICE candidate of the sender (trickle ICE).
    Candidate,
    /// The offer is declined.
    Refuse,
    /// The call is over.
    Hangup,
}

/// A frame's own wire form, forwarded unchanged to a partner of the same dialect.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verbatim {
    /// The dialect. A partner of another one gets the frame encoded anew.
    pub dialect: Dialect,
    /// The text frame.
    pub text: ByteString,
    /// True if the bytes of the picture follow in a binary frame.
    pub binary: bool,
}

/// The name of a dialect: 1 to 16 bytes, compared for equality only.
///
/// ```
/// use purrr_core::model::Dialect;
/// const NATIVE: Dialect = Dialect::new("native");
/// assert_eq!("native".parse(), Ok(NATIVE));
/// assert_eq!(NATIVE.as_str(), "native");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect(
    /// Ends with zeros.
    [u8; Self::MAX_LEN],
);

impl Frame {
    /// Creates a frame without a wire form.
    #[must_use]
    pub const fn new(body: Body) -> Self {
        Self { body, verbatim: None }
    }

    /// Sets the wire form.
    #[must_use]
    pub fn with_verbatim(self, verbatim: Option<Verbatim>) -> Self {
        Self { verbatim, ..self }
    }

    /// Creates a text message without an id.
    ///
    /// ```
    /// let frame = purrr_core::Frame::text("hello");
    /// assert_eq!(frame.as_text(), Some("hello"));
    /// ```
    pub fn text(text: impl Into<ByteString>) -> Self {
        Self::new(Body::Message(Message { text: Some(text.into()), ..Message::default() }))
    }

    /// Sets the id of a message, so that its sender gets a receipt. Does nothing to other frames.
    ///
    /// ```
    /// let frame = purrr_core::Frame::text("hello").with_id(1);
    /// assert!(frame.wants_receipt());
    /// ```
    #[must_use]
    pub fn with_id(mut self, id: u64) -> Self {
        if let Body::Message(message) = &mut self.body {
            message.id = Some(id);
        }
        self
    }

    /// Returns the text, if this is a message that has one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.body {
            Body::Message(message) => message.text.as_deref(),
            _ => None,
        }
    }

    /// Returns true if the sender expects a delivery receipt.
    #[must_use]
    pub const fn wants_receipt(&self) -> bool {
        matches!(self.body, Body::Message(Message { id: Some(_), .. }))
    }

    /// Returns the bytes that this frame counts for in a queue's byte limit: its contents, once.
    #[must_use]
    pub fn weight(&self) -> usize {
        let Some(wire) = &self.verbatim else { return self.body.weight() };
        let image = self.body.image().filter(|_| wire.binary);
        let verbatim = wire.text.len() + image.map_or(0, |image| image.bytes.len());
        // The parsed contents are usually slices of the wire form, so the larger of the two is what
        // is held.
        verbatim.max(self.body.weight())
    }
}

impl Body {
    /// Returns the picture, if this is a message that has one.
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

impl Image {
    /// Creates a picture that is no ciphertext.
    pub fn new(mime: impl Into<ByteString>, bytes: impl Into<Bytes>) -> Self {
        Self { mime: mime.into(), encrypted: false, bytes: bytes.into() }
    }

    /// Marks the bytes as a ciphertext, or not.
    #[must_use]
    pub fn encrypted(self, encrypted: bool) -> Self {
        Self { encrypted, ..self }
    }
}

impl Signal {
    /// Creates a step with its data.
    #[must_use]
    pub const fn new(kind: SignalKind, data: Option<ByteString>) -> Self {
        Self { kind, data }
    }
}

impl Verbatim {
    /// Creates a wire form. The bytes of the picture follow in a binary frame if `binary` is true.
    #[must_use]
    pub const fn new(dialect: Dialect, text: ByteString, binary: bool) -> Self {
        Self { dialect, text, binary }
    }
}

impl Dialect {
    /// The maximum length of a name, in bytes.
    pub const MAX_LEN: usize = 16;

    /// Creates the dialect of this name.
    ///
    /// # Panics
    ///
    /// Panics if the name is empty, too long, or contains a NUL. In a constant it does not compile
    /// then.
    #[must_use]
    pub const fn new(name: &str) -> Self {
        match Self::named(name) {
            Some(dialect) => dialect,
            None => panic!("the name of a dialect has 1 to 16 bytes and no NUL"),
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(Self::MAX_LEN);
        // Always UTF-8, since it is built from a text without NUL.
        std::str::from_utf8(&self.0[..length]).unwrap_or_default()
    }

    const fn named(name: &str) -> Option<Self> {
        let name = name.as_bytes();
        if name.is_empty() || name.len() > Self::MAX_LEN {
            return None;
        }
        let (mut bytes, mut index) = ([0; Self::MAX_LEN], 0);
        while index < name.len() {
            if name[index] == 0 {
                return None;
            }
            bytes[index] = name[index];
            index += 1;
        }
        Some(Self(bytes))
    }
}

impl FromStr for Dialect {
    type Err = ParseDialectError;

    fn from_str(name: &str) -> Result<Self, ParseDialectError> {
        Self::named(name).ok_or(ParseDialectError)
    }
}

/// An error for a text that cannot name a [`Dialect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a dialect has 1 to 16 bytes and no NUL")]
#[non_exhaustive]
pub struct ParseDialectError;

impl SignalKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Offer, Self::Answer, Self::Candidate, Self::Refuse, Self::Hangup];

    /// Returns the kind as on the wire.
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
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
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

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
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
    fn debug_prints_no_contents() {
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
            verbatim: Some(Verbatim {
                dialect: Dialect::new("native"),
                text: "PLANTED".into(),
                binary: false,
            }),
        };
        let printed = format!("{frame:?}");
        assert!(!printed.contains("PLANTED"), "{printed}");
        assert!(printed.contains("text_bytes: Some(7)"), "{printed}");
        let signal = Signal { kind: SignalKind::Offer, data: Some("PLANTED".into()) };
        assert!(!format!("{signal:?}").contains("PLANTED"));
    }

    #[test]
    fn dialect_names_are_bounded() {
        for name in ["a", "purrr.chat", "0123456789abcdef", "ü"] {
            assert_eq!(Dialect::new(name).as_str(), name);
        }
        for name in ["", "0123456789abcdefg", "a\0b"] {
            assert_eq!(name.parse::<Dialect>(), Err(ParseDialectError), "{name}");
        }
        assert_eq!(size_of::<Dialect>(), size_of::<&str>());
    }

    #[test]
    fn weight_counts_contents_once() {
        let mut frame = Frame::text("12345");
        assert_eq!(frame.weight(), 5);
        frame.verbatim = Some(Verbatim {
            dialect: Dialect::new("native"),
            text: r#"{"text":"12345"}"#.into(),
            binary: false,
        });
        assert_eq!(frame.weight(), 16);
    }
}
