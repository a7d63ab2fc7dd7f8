//! Images as this dialect carries them in events: data URLs and ciphertexts.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytestring::ByteString;
use purrr_core::{Code, Problem, codec::__private::write_string, model::Image};

use crate::{
    dialect::image::{ImageLimits, check, check_mime},
    limits::memory::MemoryBudget,
};

/// The media type of an image that is encrypted, or whose bytes do not tell it.
pub(super) const OPAQUE: &str = "application/octet-stream";

/// Decodes an image: a data URL, or otherwise a ciphertext, which is not looked at.
pub(super) fn decode(
    image: ByteString,
    limits: ImageLimits,
    budget: &MemoryBudget,
) -> Result<Image, Problem> {
    let Some(url) = image.strip_prefix("data:") else {
        let mime = ByteString::from_static(OPAQUE);
        return Ok(Image { mime, encrypted: true, bytes: image.into_bytes() });
    };
    let (mime, base64) = url.split_once(";base64,").unwrap_or((url, ""));
    check_mime(mime)?;
    let bytes = BASE64_STANDARD.decode(base64).map_err(|_| {
        Problem::new(Code::BadMessage, "the data URL of an image must be strict base64")
    })?;
    check(mime, &bytes, limits)?;
    Ok(Image { mime: mime.into(), encrypted: false, bytes: budget.hold(bytes) })
}

/// Encodes an image as a JSON string.
pub(super) fn encode(image: &Image, out: &mut String) {
    let Image { mime, encrypted, bytes } = image;
    if *encrypted && let Ok(ciphertext) = std::str::from_utf8(bytes) {
        return write_string(ciphertext, out);
    }
    // A ciphertext is text unless its sender broke its own dialect. It still arrives then.
    let mut url = format!("data:{mime};base64,");
    BASE64_STANDARD.encode_string(bytes, &mut url);
    write_string(&url, out);
}
