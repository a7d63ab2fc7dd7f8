//! Checks of images that are not encrypted: media type, dimensions and frames.
//!
//! An SVG or an HTML page that calls itself an image can run scripts where it is opened. So the
//! bytes decide and not the name. Nothing is decoded: only headers are read.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod measure;
mod sniff;

use purrr_core::{Code, Problem};

use self::{
    measure::{Measure, measure},
    sniff::sniff,
};
use crate::config::Config;

/// Maximum size that an image's headers may claim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageLimits {
    pixels: u64,
    frames: u32,
}

/// The media types that are relayed.
const MIME_TYPES: [&str; 5] = ["image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"];

impl ImageLimits {
    pub(crate) const fn from_config(config: &Config) -> Self {
        Self { pixels: config.image_pixels, frames: config.image_frames }
    }

    fn check(self, mime: &str, bytes: &[u8]) -> Result<(), Problem> {
        let Measure { pixels, frames } = measure(mime, bytes, self.frames);
        if pixels > self.pixels {
            return Err(too_large(self.pixels, "pixels"));
        }
        if frames > self.frames {
            return Err(too_large(self.frames.into(), "frames"));
        }
        Ok(())
    }
}

/// Returns the error for an image above a limit.
pub(super) fn too_large(limit: u64, unit: &str) -> Problem {
    Problem::new(Code::TooLarge, format!("image too large; maximum {limit} {unit}"))
}

/// Checks that a media type is relayed.
pub(crate) fn check_mime(mime: &str) -> Result<(), Problem> {
    if MIME_TYPES.contains(&mime) {
        return Ok(());
    }
    let message = "unsupported image type; use JPEG, PNG, GIF, WebP or AVIF";
    Err(Problem::new(Code::UnsupportedType, message))
}

/// Checks that an image is of its media type and within the limits.
pub(crate) fn check(mime: &str, bytes: &[u8], limits: ImageLimits) -> Result<(), Problem> {
    check_mime(mime)?;
    if sniff(bytes) == Some(mime) {
        return limits.check(mime, bytes);
    }
    Err(Problem::new(Code::UnsupportedType, "image data does not match its MIME type"))
}

/// Returns the media type of an image without a name, if its bytes tell it.
///
/// # Errors
///
/// Returns an error if the image exceeds the limits.
pub(crate) fn recognize(
    bytes: &[u8],
    limits: ImageLimits,
) -> Result<Option<&'static str>, Problem> {
    let mime = sniff(bytes);
    if let Some(mime) = mime {
        limits.check(mime, bytes)?;
    }
    Ok(mime)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ImageLimits = ImageLimits { pixels: 100, frames: 10 };

    #[test]
    fn image_type_is_decided_by_first_bytes() {
        let images: [(&[u8], &str); 7] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
            (b"GIF87a", "image/gif"),
            (b"GIF89a", "image/gif"),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
            (b"\0\0\0\x20ftypavif\0\0\0\0", "image/avif"),
            (b"\0\0\0\x2cftypavis\0\0\0\0", "image/avif"),
        ];
        for (bytes, kind) in images {
            assert_eq!(sniff(bytes), Some(kind));
            for name in MIME_TYPES {
                assert_eq!(
                    check(name, bytes, LIMITS).is_ok(),
                    name == kind,
                    "{kind} called {name}"
                );
            }
        }
        for other in [
            &b""[..],
            b"\x89PNG\n\x1a\n",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"<html>",
            b"%PDF-1.7",
            b"BM\x36\0\0\0",
            b"PK\x03\x04",
            b"RIFF\x24\0\0\0WAVEfmt ",
            b"\0\0\0\x18ftypmp42\0\0\0\0",
            b" GIF89a",
        ] {
            assert_eq!(sniff(other), None);
            for name in MIME_TYPES {
                assert_eq!(check(name, other, LIMITS).unwrap_err().code, Code::UnsupportedType);
            }
        }
        for name in ["image/svg+xml", "IMAGE/PNG", "image/png; x=y", "text/html", ""] {
            assert_eq!(check_mime(name).unwrap_err().code, Code::UnsupportedType, "{name}");
        }
    }
}
