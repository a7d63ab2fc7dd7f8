//! Images as this dialect carries them in events: data URLs and ciphertexts.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytestring::ByteString;
use purrr_core::{Code, Problem, codec::__private::write_string, model::Image};

use crate::{
    dialect::{
        ciphertext,
        image::{ImageLimits, check, check_mime},
    },
    limits::memory::MemoryBudget,
};

/// The media type of an image that is encrypted.
pub(super) const OPAQUE: &str = "application/octet-stream";

/// Decodes an image: a data URL, which is checked, or a ciphertext.
///
/// An image of more than `image_bytes` is refused later, so the form of a ciphertext is not checked.
pub(super) fn decode(
    image: ByteString,
    image_bytes: usize,
    limits: ImageLimits,
    budget: &MemoryBudget,
) -> Result<Image, Problem> {
    let Some(url) = image.strip_prefix("data:") else {
        if image.len() <= image_bytes {
            ciphertext::check(image.as_bytes())?;
        }
        let mime = ByteString::from_static(OPAQUE);
        return Ok(Image::new(mime, image.into_bytes()).encrypted(true));
    };
    let (mime, base64) = url.split_once(";base64,").unwrap_or((url, ""));
    check_mime(mime)?;
    let bytes = BASE64_STANDARD.decode(base64).map_err(|_| {
        Problem::new(Code::BadMessage, "the data URL of an image must be strict base64")
    })?;
    check(mime, &bytes, limits)?;
    Ok(Image::new(mime, budget.hold(bytes)))
}

/// Encodes an image as a JSON string.
pub(super) fn encode(image: &Image, out: &mut String) {
    let Image { mime, encrypted, bytes, .. } = image;
    // Must be JSON: a partner's page could take any other string for a URL. Clients were checked
    // when they sent it, other peers of the hub were not.
    if *encrypted
        && bytes.starts_with(b"{")
        && let Ok(ciphertext) = std::str::from_utf8(bytes)
    {
        return write_string(ciphertext, out);
    }
    let mime = if *encrypted { OPAQUE } else { mime };
    let mut url = format!("data:{mime};base64,");
    BASE64_STANDARD.encode_string(bytes, &mut url);
    write_string(&url, out);
}
