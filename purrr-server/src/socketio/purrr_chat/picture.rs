//! Pictures as this dialect carries them: a data URL, a ciphertext, or an attachment.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytestring::ByteString;
use purrr_core::{Code, Problem, frame::Image};

use crate::native::PICTURES;

/// The media type of a picture that only the two can open.
pub(super) const SEALED: &str = "application/octet-stream";

/// A picture as this dialect sends it: a data URL, or a ciphertext that is nobody's business.
pub(super) fn read(image: ByteString) -> Result<Image, Problem> {
    let Some(url) = image.strip_prefix("data:") else {
        let mime = ByteString::from_static(SEALED);
        return Ok(Image { mime, encrypted: true, bytes: image.into_bytes() });
    };
    let (mime, base64) = url.split_once(";base64,").ok_or_else(unsupported)?;
    let mime = PICTURES.into_iter().find(|known| *known == mime).ok_or_else(unsupported)?;
    let bytes = BASE64_STANDARD.decode(base64).map_err(|_| {
        Problem::new(Code::BadMessage, "the data URL of a picture must be strict base64")
    })?;
    Ok(Image { mime: ByteString::from_static(mime), encrypted: false, bytes: bytes.into() })
}

/// The same picture in this dialect.
pub(super) fn write(image: Image) -> Cow<'static, str> {
    let Image { mime, encrypted, bytes } = image;
    if encrypted && let Ok(sealed) = std::str::from_utf8(&bytes) {
        return Cow::Owned(sealed.to_owned());
    }
    // A ciphertext that is no text could only come from a client that broke its own dialect; its bytes still arrive.
    let mut url = format!("data:{};base64,", &*mime);
    BASE64_STANDARD.encode_string(&bytes, &mut url);
    Cow::Owned(url)
}

/// The kind of picture, by the bytes it begins with.
pub(super) fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f' | b's', ..] => {
            Some("image/avif")
        }
        _ => None,
    }
}

fn unsupported() -> Problem {
    Problem::new(Code::UnsupportedType, "pictures are JPEG, PNG, GIF, WebP or AVIF")
}
