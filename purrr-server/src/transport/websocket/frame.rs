//! The framing of RFC 6455 as a server sees it: heads of frames, masks, closes. Pure functions over bytes.

use bytes::BufMut;

use super::CloseCode;

/// What a frame says of itself before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    pub(super) last: bool,
    pub(super) mask: [u8; 4],
    /// Bytes of payload.
    pub(super) length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The longest payload of a ping, a pong or a close.
const LONGEST_CONTROL: usize = 125;

impl Head {
    /// Reads the head that `bytes` begin with and returns it with its own length, or `None` if it is not whole.
    ///
    /// # Errors
    ///
    /// The code to close with, for a frame that a client may not send or one of more than `most` bytes.
    pub(super) fn read(bytes: &[u8], most: usize) -> Result<Option<(Self, usize)>, CloseCode> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let opcode = match first & !LAST {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            // Among them those with reserved bits, which belong to extensions, and none was agreed to.
            _ => return Err(CloseCode::Protocol),
        };
        let last = first & LAST != 0;
        let short = usize::from(second & !MASKED);
        if second & MASKED == 0 || opcode.is_control() && (!last || short > LONGEST_CONTROL) {
            return Err(CloseCode::Protocol);
        }
        let wide = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((length, rest)) = rest.split_at_checked(wide) else { return Ok(None) };
        let length = match wide {
            0 => short as u64,
            _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= most);
        let length = length.ok_or(CloseCode::Size)?;
        let Some(mask) = rest.first_chunk() else { return Ok(None) };
        Ok(Some((Self { opcode, last, mask: *mask, length }, 2 + wide + mask.len())))
    }
}

impl Opcode {
    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Writes the head of a frame, which a server sends without a mask.
pub(super) fn write_head(opcode: Opcode, last: bool, length: usize, out: &mut Vec<u8>) {
    let first = if last { LAST } else { 0 } | opcode as u8;
    match length {
        0..=125 => out.extend_from_slice(&[first, length as u8]),
        126..=0xffff => {
            out.extend_from_slice(&[first, 126]);
            out.put_u16(length as u16);
        }
        _ => {
            out.extend_from_slice(&[first, 127]);
            out.put_u64(length as u64);
        }
    }
}

/// Takes the mask off, or puts it on.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    // As wide as the registers that every machine has by now; the mask fits in whole.
    let wide: [u8; 16] = std::array::from_fn(|at| mask[at % 4]);
    let (chunks, rest) = payload.as_chunks_mut::<16>();
    for chunk in chunks {
        for (byte, mask) in chunk.iter_mut().zip(wide) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in rest.iter_mut().zip(wide) {
        *byte ^= mask;
    }
}

/// Checks the payload of a close and returns the code to answer with: the one that came, or that nothing is wrong.
///
/// # Errors
///
/// The code to close with instead.
pub(super) fn check_close(payload: &[u8]) -> Result<Option<u16>, CloseCode> {
    if payload.is_empty() {
        return Ok(None);
    }
    let (code, reason) = payload.split_first_chunk().ok_or(CloseCode::Protocol)?;
    let code = u16::from_be_bytes(*code);
    // Those a peer may send, by section 7.4 and the registry that it founded.
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

    fn read(bytes: &[u8]) -> Result<Option<(Head, usize)>, CloseCode> {
        Head::read(bytes, 100_000)
    }

    #[test]
    fn heads_of_every_length_are_read_when_they_are_whole() {
        for length in [0, 125, 126, 65_535, 65_536, 100_000] {
            let mut bytes = Vec::new();
            write_head(Opcode::Binary, true, length, &mut bytes);
            bytes[1] |= MASKED;
            bytes.put_slice(b"mask");
            let head = Head { opcode: Opcode::Binary, last: true, mask: *b"mask", length };
            assert_eq!(read(&bytes), Ok(Some((head, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Ok(None), "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_a_client_may_not_send_is_known_by_its_head() {
        for (bytes, code) in [
            (&[0x81, 0x00][..], CloseCode::Protocol),
            (&[0xc1, 0x80], CloseCode::Protocol),
            (&[0x83, 0x80], CloseCode::Protocol),
            (&[0x09, 0x80], CloseCode::Protocol),
            (&[0x89, 0xfe], CloseCode::Protocol),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0x86, 0xa1], CloseCode::Size),
            (&[0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0], CloseCode::Size),
        ] {
            assert_eq!(read(bytes), Err(code), "{bytes:x?}");
        }
    }

    #[test]
    fn a_mask_is_taken_off_whatever_the_length() {
        for length in 0..40 {
            let plain: Vec<u8> = (0..length).collect();
            let mut masked: Vec<u8> =
                plain.iter().zip(b"mask".iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            unmask(&mut masked, *b"mask");
            assert_eq!(masked, plain);
        }
    }

    #[test]
    fn a_close_is_answered_with_its_own_code_if_that_may_be_sent() {
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
