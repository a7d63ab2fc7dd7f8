//! Names of peers, persons and chats: [`PeerId`], [`PersonId`], [`ChatId`] and [`ResumeToken`].

use std::{fmt, str::FromStr};

/// Declares an opaque id that is drawn at random.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($bits:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($bits);

        impl $name {
            /// Draws an id from a cryptographic generator, seeded by the operating system.
            #[must_use]
            pub fn random() -> Self {
                Self(rand::random())
            }

            /// Creates the id with these bits, for backends and tests.
            #[must_use]
            pub const fn from_bits(bits: $bits) -> Self {
                Self(bits)
            }

            /// Returns the bits of this id.
            #[must_use]
            pub const fn to_bits(self) -> $bits {
                self.0
            }
        }
    };
}

/// Gives a 128-bit id its text form: 32 hexadecimal digits, the same in both directions.
macro_rules! hex_text {
    ($name:ident, $error:ident, $message:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                // `from_str_radix` would accept a leading sign.
                if text.len() != 32 || text.starts_with('+') {
                    return Err($error);
                }
                u128::from_str_radix(text, 16).map(Self).map_err(|_| $error)
            }
        }

        /// An error for a text that is not 32 hexadecimal digits.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        #[error($message)]
        #[non_exhaustive]
        pub struct $error;
    };
}

id! {
    /// Names a peer for as long as it is here.
    PeerId(u64)
}

id! {
    /// Names a person across connections, for as long as they can be known again.
    ///
    /// An embedder that knows its users gives each of them an id of its own.
    PersonId(u64)
}

id! {
    /// Names a client's address without telling it: a hash with a key that only the server knows.
    OriginKey(u64)
}

id! {
    /// Names a chat: 128 bits that cannot be guessed.
    ChatId(u128)
}

id! {
    /// Proves in a later connection who a person is: 128 bits that cannot be guessed. Good for one
    /// use.
    ResumeToken(u128)
}

hex_text!(ChatId, ParseChatIdError, "a chat id is 32 hexadecimal digits");
hex_text!(ResumeToken, ParseResumeTokenError, "a resume token is 32 hexadecimal digits");

impl ChatId {
    /// Names no chat: the value that an unknown chat is read as.
    pub const NONE: Self = Self(0);

    /// Appends the text form, which takes a quarter of the instructions of `Display`.
    pub(crate) fn write_hex(self, out: &mut String) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = self.0.to_be_bytes().map(|byte| [byte >> 4, byte & 15]);
        out.extend(digits.as_flattened().iter().map(|digit| char::from(DIGITS[*digit as usize])));
    }
}

impl OriginKey {
    /// Names no address: the value for a client whose waiting places do not count.
    pub const NONE: Self = Self(0);
}

impl ResumeToken {
    /// Belongs to no session: the value that an unreadable token is read as.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Prints a quarter of the id: a log must not tell which person came back.
impl fmt::Debug for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}…", self.0 >> 48)
    }
}

impl Default for OriginKey {
    fn default() -> Self {
        Self::NONE
    }
}

/// Prints nothing of the hash: a log must not tell which clients share an address.
impl fmt::Debug for OriginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginKey(…)")
    }
}

/// Prints half of the id: enough to follow a chat through a log, too little to claim a frame for
/// it.
impl fmt::Debug for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}…", self.0 >> 64)
    }
}

/// Prints nothing of the token: a reader of logs must not be able to resume another person's
/// session.
impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_id_text_round_trips() {
        let chat = ChatId::random();
        assert_eq!(chat.to_string().parse(), Ok(chat));
        for wrong in
            ["", "0", "+0000000000000000000000000000001", "zz000000000000000000000000000000"]
        {
            assert_eq!(wrong.parse::<ChatId>(), Err(ParseChatIdError), "{wrong}");
        }
    }
}
