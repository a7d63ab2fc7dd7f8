//! What a client has of its chat, as it says itself: [`Offset`].

use std::{fmt, str::FromStr};

use purrr_core::model::{ChatId, ResumeToken};

/// The position of a client that speaks connection state recovery: `<chat>.<events>`, and
/// `.<token>` once the session was recovered.
///
/// The client keeps the one of the last event and sends it back with its claim. A token is good for
/// one use while `pid` stays the same, so the next token goes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    /// The current or the last chat. [`ChatId::NONE`] if there was none.
    pub(super) chat: ChatId,
    /// The number of frames of that chat that the client has. Its end counts as one.
    pub(super) received: u64,
    pub(super) token: Option<ResumeToken>,
}

impl Offset {
    /// The position of a client that was sent no event.
    pub(super) const NONE: Self = Self { chat: ChatId::NONE, received: 0, token: None };
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.chat, self.received)?;
        match self.token {
            Some(token) => write!(f, ".{token}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Offset {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let chat = parts.next().and_then(|chat| chat.parse().ok()).ok_or(())?;
        let received = parts.next().and_then(|received| received.parse().ok()).ok_or(())?;
        let token = parts.next().map(|token| token.parse().map_err(|_| ())).transpose()?;
        if parts.next().is_some() {
            return Err(());
        }
        Ok(Self { chat, received, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_parsed_and_written() {
        let chat = ChatId::from_bits(7);
        let token = "00112233445566778899aabbccddeeff".parse().ok();
        for offset in [
            Offset::NONE,
            Offset { chat, received: 12, token: None },
            Offset { chat, received: 0, token },
        ] {
            assert_eq!(offset.to_string().parse(), Ok(offset));
        }
        for wrong in [
            "",
            "hello",
            "7.1",
            "00112233445566778899aabbccddeeff",
            "00112233445566778899aabbccddeeff.-1",
        ] {
            assert_eq!(wrong.parse::<Offset>(), Err(()), "{wrong}");
        }
    }
}
