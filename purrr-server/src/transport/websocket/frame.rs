//! The framing of RFC 6455 as a server sees it: headers and masks. Pure functions over bytes.
//!
//! Opcodes and the formatter of headers are tungstenite's. Its parser is not used: it accepts
//! frames that a client may not send, and copies the header out of a cursor.

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::close_code::CloseCode;

/// The header of a frame that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: OpCode,
    /// Set on the last frame of a message.
    pub(super) is_final: bool,
    pub(super) mask: [u8; 4],
    /// Bytes of payload.
    pub(super) length: usize,
}

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Maximum payload of a ping, a pong or a close.
const MAX_CONTROL_PAYLOAD: usize = 125;

impl Header {
    /// Parses the header at the start of `bytes` and returns it with its own length.
    ///
    /// Returns `None` if the header is not complete.
    ///
    /// # Errors
    ///
    /// Returns the code to close with, for a frame that a client may not send or whose payload is
    /// larger than `max_payload`.
    pub(super) fn parse(
        bytes: &[u8],
        max_payload: usize,
    ) -> Result<Option<(Self, usize)>, CloseCode> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let opcode = match first & !FINAL {
            0 => OpCode::Data(Data::Continue),
            1 => OpCode::Data(Data::Text),
            2 => OpCode::Data(Data::Binary),
            8 => OpCode::Control(Control::Close),
            9 => OpCode::Control(Control::Ping),
            10 => OpCode::Control(Control::Pong),
            // Also frames with reserved bits, which belong to extensions. None is negotiated.
            _ => return Err(CloseCode::Protocol),
        };
        let is_final = first & FINAL != 0;
        let short = usize::from(second & !MASKED);
        let bad_control = is_control(opcode) && (!is_final || short > MAX_CONTROL_PAYLOAD);
        if second & MASKED == 0 || bad_control {
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
        let length = usize::try_from(length).ok().filter(|length| *length <= max_payload);
        let length = length.ok_or(CloseCode::Size)?;
        let Some(mask) = rest.first_chunk() else { return Ok(None) };
        Ok(Some((Self { opcode, is_final, mask: *mask, length }, 2 + wide + mask.len())))
    }

    /// Returns true for a ping, a pong or a close.
    pub(super) const fn is_control(&self) -> bool {
        is_control(self.opcode)
    }
}

const fn is_control(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Control(_))
}

/// Writes the header of a frame, which a server sends without a mask.
pub(super) fn write_header(opcode: OpCode, is_final: bool, length: usize, out: &mut Vec<u8>) {
    let header = FrameHeader { is_final, opcode, ..FrameHeader::default() };
    header.format(length as u64, out).expect("writing to a vector does not fail");
}

/// Applies the mask to a payload, or removes it.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    // As wide as the registers of current machines. The mask fits in whole.
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

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, CloseCode> {
        Header::parse(bytes, 100_000)
    }

    #[test]
    fn headers_of_every_length_are_parsed_once_complete() {
        for length in [0, 125, 126, 65_535, 65_536, 100_000] {
            let opcode = OpCode::Data(Data::Binary);
            let mut bytes = Vec::new();
            write_header(opcode, true, length, &mut bytes);
            bytes[1] |= MASKED;
            bytes.put_slice(b"mask");
            let header = Header { opcode, is_final: true, mask: *b"mask", length };
            assert_eq!(parse(&bytes), Ok(Some((header, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn forbidden_headers_are_refused() {
        for (bytes, code) in [
            (&[0x81, 0x00][..], CloseCode::Protocol),
            (&[0xc1, 0x80], CloseCode::Protocol),
            (&[0x83, 0x80], CloseCode::Protocol),
            (&[0x09, 0x80], CloseCode::Protocol),
            (&[0x89, 0xfe], CloseCode::Protocol),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0x86, 0xa1], CloseCode::Size),
            (&[0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0], CloseCode::Size),
        ] {
            assert_eq!(parse(bytes), Err(code), "{bytes:x?}");
        }
    }

    #[test]
    fn unmask_handles_every_length() {
        for length in 0..40 {
            let plain: Vec<u8> = (0..length).collect();
            let mut masked: Vec<u8> =
                plain.iter().zip(b"mask".iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            unmask(&mut masked, *b"mask");
            assert_eq!(masked, plain);
        }
    }
}
