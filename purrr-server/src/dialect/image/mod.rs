//! The kinds of picture that are carried where everybody on the way could look at them, told by how they begin.
//!
//! A drawing or a page with scripts that calls itself a picture is dangerous to whoever opens it, so the bytes decide and
//! not the name. Nothing is decoded: how a picture begins, and how large it says that it is, is all that is looked at.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod measure;

use measure::{Measure, measure};
use purrr_core::{Code, Problem};

use crate::config::Config;

/// How large a picture may say that it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Largest {
    pixels: u64,
    frames: u32,
}

impl Largest {
    pub(crate) const fn of(config: &Config) -> Self {
        Self { pixels: config.image_pixels, frames: config.image_frames }
    }

    fn check(self, kind: &str, bytes: &[u8]) -> Result<(), Problem> {
        let Measure { pixels, frames } = measure(kind, bytes, self.frames);
        let too_large = |most: u64, what: &str| {
            Err(Problem::new(Code::TooLarge, format!("a picture may have {most} {what}")))
        };
        if pixels > self.pixels {
            return too_large(self.pixels, "pixels");
        }
        if frames > self.frames {
            return too_large(self.frames.into(), "frames");
        }
        Ok(())
    }
}

const KINDS: [&str; 5] = ["image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"];

/// Whether pictures of this media type are carried.
pub(crate) fn check_name(mime: &str) -> Result<(), Problem> {
    if KINDS.contains(&mime) {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedType, "pictures are JPEG, PNG, GIF, WebP or AVIF"))
}

/// Whether these bytes are what they are called, and not larger than that when they are shown.
pub(crate) fn check(mime: &str, bytes: &[u8], largest: Largest) -> Result<(), Problem> {
    check_name(mime)?;
    if kind_of(bytes) == Some(mime) {
        return largest.check(mime, bytes);
    }
    Err(Problem::new(Code::UnsupportedType, "the picture's bytes are of another kind than it says"))
}

/// The kind of picture that bytes are which say of themselves nothing else, if it is not too large.
pub(crate) fn recognize(bytes: &[u8], largest: Largest) -> Result<Option<&'static str>, Problem> {
    let kind = kind_of(bytes);
    if let Some(kind) = kind {
        largest.check(kind, bytes)?;
    }
    Ok(kind)
}

/// The kind of picture, by the bytes it begins with.
fn kind_of(bytes: &[u8]) -> Option<&'static str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: Largest = Largest { pixels: 100, frames: 10 };

    #[test]
    fn pictures_are_known_by_how_they_begin_and_by_nothing_else() {
        let pictures: [(&[u8], &str); 7] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
            (b"GIF87a", "image/gif"),
            (b"GIF89a", "image/gif"),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
            (b"\0\0\0\x20ftypavif\0\0\0\0", "image/avif"),
            (b"\0\0\0\x2cftypavis\0\0\0\0", "image/avif"),
        ];
        for (bytes, kind) in pictures {
            assert_eq!(kind_of(bytes), Some(kind));
            for name in KINDS {
                assert_eq!(
                    check(name, bytes, LARGEST).is_ok(),
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
            assert_eq!(kind_of(other), None);
            for name in KINDS {
                assert_eq!(check(name, other, LARGEST).unwrap_err().code, Code::UnsupportedType);
            }
        }
        for name in ["image/svg+xml", "IMAGE/PNG", "image/png; x=y", "text/html", ""] {
            assert_eq!(check_name(name).unwrap_err().code, Code::UnsupportedType, "{name}");
        }
    }
}
