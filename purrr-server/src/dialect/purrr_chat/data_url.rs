//! Pictures as this dialect carries them: a data URL, a ciphertext, or an attachment.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytestring::ByteString;
use purrr_core::{Code, Problem, codec::json::write_string, model::Image};

use crate::{
    dialect::image::{Largest, check, check_name},
    limits::memory::MemoryBudget,
};

/// The media type of a picture that only the two can open.
pub(super) const SEALED: &str = "application/octet-stream";

/// A picture as this dialect sends it: a data URL, or a ciphertext that is nobody's business.
pub(super) fn read(
    image: ByteString,
    largest: Largest,
    budget: &MemoryBudget,
) -> Result<Image, Problem> {
    let Some(url) = image.strip_prefix("data:") else {
        let mime = ByteString::from_static(SEALED);
        return Ok(Image { mime, encrypted: true, bytes: image.into_bytes() });
    };
    let (mime, base64) = url.split_once(";base64,").unwrap_or((url, ""));
    check_name(mime)?;
    let bytes = BASE64_STANDARD.decode(base64).map_err(|_| {
        Problem::new(Code::BadMessage, "the data URL of a picture must be strict base64")
    })?;
    check(mime, &bytes, largest)?;
    Ok(Image { mime: mime.into(), encrypted: false, bytes: budget.hold(bytes) })
}

/// The same picture in this dialect, as a string of JSON.
pub(super) fn write(image: &Image, out: &mut String) {
    let Image { mime, encrypted, bytes } = image;
    if *encrypted && let Ok(sealed) = std::str::from_utf8(bytes) {
        return write_string(sealed, out);
    }
    // A ciphertext that is no text could only come from a client that broke its own dialect; its bytes still arrive.
    let mut url = format!("data:{mime};base64,");
    BASE64_STANDARD.encode_string(bytes, &mut url);
    write_string(&url, out);
}
