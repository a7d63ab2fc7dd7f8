//! Close codes: [`CloseCode`], and [`check_close`] for those that clients send.

/// Why the server closes a connection, as RFC 6455 numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseCode {
    Normal = 1000,
    Away = 1001,
    Protocol = 1002,
    Invalid = 1007,
    Policy = 1008,
    Size = 1009,
    /// A code of the private range, after HTTP's 409.
    Replaced = 4409,
    /// A code of the private range, after HTTP's 429.
    TooFast = 4429,
}

impl CloseCode {
    /// Returns what a client did whose frames require this code.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Protocol => "protocol error",
            Self::Invalid => "not UTF-8",
            Self::Policy => "too slow",
            Self::Size => "too large",
            Self::Normal | Self::Away | Self::Replaced | Self::TooFast => "",
        }
    }
}

/// Checks the payload of a close frame and returns the code to answer with, if it has one.
///
/// # Errors
///
/// Returns the code to close with instead.
pub(super) fn check_close(payload: &[u8]) -> Result<Option<u16>, CloseCode> {
    if payload.is_empty() {
        return Ok(None);
    }
    let (code, reason) = payload.split_first_chunk().ok_or(CloseCode::Protocol)?;
    let code = u16::from_be_bytes(*code);
    // The codes that a peer may send, by section 7.4 and the registry that it founded.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(CloseCode::Protocol);
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(CloseCode::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_is_answered_with_its_own_code() {
        for (payload, answer) in [
            (&b""[..], Ok(None)),
            (b"\x03\xe8bye", Ok(Some(1000))),
            (b"\x0f\xa0", Ok(Some(4000))),
            (b"\x03", Err(CloseCode::Protocol)),
            (b"\x03\xed", Err(CloseCode::Protocol)),
            (b"\x13\x88", Err(CloseCode::Protocol)),
            (b"\x03\xe8\xff", Err(CloseCode::Invalid)),
        ] {
            assert_eq!(check_close(payload), answer, "{payload:x?}");
        }
    }
}
