//! Numbered fields: [`Writer`] and [`Fields`].
//!
//! A field is its number, its length and its bytes. Numbers and lengths are in LEB128.

use std::time::Duration;

use bytes::{Buf, Bytes};
use bytestring::ByteString;

/// Why bytes could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are cut off, or are not what they are decoded as.
    #[error("malformed bytes")]
    Malformed,
    /// A later version wrote a frame whose kind this version does not know.
    #[error("unknown kind of frame")]
    UnknownBody,
}

/// Writes fields one after another.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

/// Reads fields until the end or the first error.
pub(super) struct Fields(Bytes);

/// One field.
pub(super) struct Field {
    pub(super) number: u64,
    pub(super) bytes: Bytes,
}

impl Writer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn bytes(&mut self, number: u64, bytes: &[u8]) {
        write_number(&mut self.0, number);
        write_number(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn nested(&mut self, number: u64, write: impl FnOnce(&mut Self)) {
        let mut nested = Self::default();
        write(&mut nested);
        self.bytes(number, &nested.0);
    }

    pub(super) fn text(&mut self, number: u64, text: Option<&ByteString>) {
        if let Some(text) = text {
            self.bytes(number, text.as_bytes());
        }
    }

    pub(super) fn flag(&mut self, number: u64, flag: bool) {
        self.bytes(number, &[u8::from(flag)]);
    }

    pub(super) fn number(&mut self, number: u64, value: u64) {
        let mut bytes = Vec::with_capacity(10);
        write_number(&mut bytes, value);
        self.bytes(number, &bytes);
    }

    pub(super) fn id(&mut self, number: u64, bits: u64) {
        self.bytes(number, &bits.to_le_bytes());
    }

    /// Writes nothing if there are none.
    pub(super) fn ids(&mut self, number: u64, all: impl Iterator<Item = u64>) {
        let bytes: Vec<u8> = all.flat_map(u64::to_le_bytes).collect();
        if !bytes.is_empty() {
            self.bytes(number, &bytes);
        }
    }

    pub(super) fn duration(&mut self, number: u64, duration: Duration) {
        let mut bytes = Vec::with_capacity(15);
        write_number(&mut bytes, duration.as_secs());
        write_number(&mut bytes, duration.subsec_nanos().into());
        self.bytes(number, &bytes);
    }
}

impl Fields {
    pub(super) fn of(bytes: &Bytes) -> Self {
        Self(bytes.clone())
    }
}

impl Iterator for Fields {
    type Item = Result<Field, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = read_field(&mut self.0);
        if field.is_err() {
            self.0.clear();
        }
        Some(field)
    }
}

impl Field {
    pub(super) fn text(self) -> Result<ByteString, DecodeError> {
        ByteString::try_from(self.bytes).map_err(|_| DecodeError::Malformed)
    }

    pub(super) fn flag(&self) -> Result<bool, DecodeError> {
        match *self.bytes {
            [byte] => Ok(byte != 0),
            _ => Err(DecodeError::Malformed),
        }
    }

    pub(super) fn number(mut self) -> Result<u64, DecodeError> {
        let value = read_number(&mut self.bytes)?;
        if self.bytes.is_empty() { Ok(value) } else { Err(DecodeError::Malformed) }
    }

    pub(super) fn id(&self) -> Result<u64, DecodeError> {
        let bits = (*self.bytes).try_into().map_err(|_| DecodeError::Malformed)?;
        Ok(u64::from_le_bytes(bits))
    }

    pub(super) fn ids(mut self) -> Result<impl Iterator<Item = u64>, DecodeError> {
        if !self.bytes.len().is_multiple_of(size_of::<u64>()) {
            return Err(DecodeError::Malformed);
        }
        Ok(std::iter::from_fn(move || self.bytes.try_get_u64_le().ok()))
    }

    pub(super) fn duration(mut self) -> Result<Duration, DecodeError> {
        let seconds = read_number(&mut self.bytes)?;
        match u32::try_from(read_number(&mut self.bytes)?) {
            Ok(nanos) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
            _ => Err(DecodeError::Malformed),
        }
    }
}

fn read_field(bytes: &mut Bytes) -> Result<Field, DecodeError> {
    let (number, length) = (read_number(bytes)?, read_number(bytes)?);
    match usize::try_from(length) {
        Ok(length) if length <= bytes.len() => Ok(Field { number, bytes: bytes.split_to(length) }),
        _ => Err(DecodeError::Malformed),
    }
}

fn write_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_number(bytes: &mut Bytes) -> Result<u64, DecodeError> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = bytes.try_get_u8().map_err(|_| DecodeError::Malformed)?;
        let bits = u64::from(byte & 0x7f);
        // The last byte has one bit of the value.
        if shift == 63 && bits > 1 {
            return Err(DecodeError::Malformed);
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(DecodeError::Malformed)
}
