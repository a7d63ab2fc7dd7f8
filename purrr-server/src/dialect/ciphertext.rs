//! The form of an encrypted image: [`check`].

use purrr_core::{Code, Problem};
use serde::Deserialize;

/// Bytes at the end of the usual form among which its `iv` is looked for.
const TAIL: usize = 128;

/// Checks that an image is encrypted: the JSON `{"ciphertext": base64, "iv": base64}`.
///
/// Otherwise an image that is said to be encrypted could be a URL, an SVG or an HTML page. What is
/// encrypted is not known to the server.
pub(super) fn check(image: &[u8]) -> Result<(), Problem> {
    if is_usual(image).unwrap_or(false) || is_json(image) {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedType,
        "an image is a data URL with an image in base64, or the encrypted \
         {\"ciphertext\": base64, \"iv\": base64}",
    ))
}

/// Returns true for what `JSON.stringify` makes. The fast path: nothing is parsed.
fn is_usual(image: &[u8]) -> Option<bool> {
    const BETWEEN: &[u8] = br#"","iv":""#;
    let rest = image.strip_prefix(br#"{"ciphertext":""#)?.strip_suffix(br#""}"#)?;
    let tail = rest.len().saturating_sub(TAIL);
    let at = tail + rest[tail..].windows(BETWEEN.len()).rposition(|found| found == BETWEEN)?;
    Some(is_base64(&rest[..at]) && is_base64(&rest[at + BETWEEN.len()..]))
}

fn is_json(image: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Ciphertext<'a> {
        ciphertext: &'a str,
        iv: &'a str,
    }
    serde_json::from_slice::<Ciphertext<'_>>(image).is_ok_and(|Ciphertext { ciphertext, iv }| {
        is_base64(ciphertext.as_bytes()) && is_base64(iv.as_bytes())
    })
}

/// Returns true for characters of the standard alphabet, and up to two of padding.
fn is_base64(text: &[u8]) -> bool {
    let unpadded = text.strip_suffix(b"=").unwrap_or(text);
    let unpadded = unpadded.strip_suffix(b"=").unwrap_or(unpadded);
    // Without a branch for each byte, so that the compiler makes vector instructions of it.
    let is_digit = |byte: u8| {
        ((byte | 0x20).wrapping_sub(b'a') < 26)
            | (byte.wrapping_sub(b'0') < 10)
            | (byte == b'+')
            | (byte == b'/')
    };
    unpadded.chunks(1_024).all(|chunk| chunk.iter().fold(true, |all, byte| all & is_digit(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encrypted_image_has_one_form() {
        let long = "Ab+/9".repeat(1_000);
        for (accepted, image) in [
            (true, r#"{"ciphertext":"AAAA","iv":"BBBB"}"#),
            (true, r#"{"ciphertext":"AA==","iv":"BBB="}"#),
            (true, r#"{"ciphertext":"","iv":""}"#),
            (true, r#" { "iv" : "BBBB" , "ciphertext" : "AAAA" } "#),
            (true, &format!(r#"{{"ciphertext":"{long}","iv":"BBBB"}}"#)),
            (true, &format!(r#"{{"iv":"BBBB","ciphertext":"{long}"}}"#)),
            (false, ""),
            (false, "{}"),
            (false, "https://evil.example/x.png"),
            (false, "//evil.example/x.png"),
            (false, "DATA:image/svg+xml,<svg/>"),
            (false, "<html></html>"),
            (false, r#"{"ciphertext":"AAAA"}"#),
            (false, r#"{"ciphertext":"AAAA","iv":5}"#),
            (false, r#"{"ciphertext":"AAAA","iv":"BBBB","more":1}"#),
            (false, r#"{"ciphertext":"AAAA","iv":"BBBB"}<script>"#),
            (false, r#"{"ciphertext":"<script>","iv":"BBBB"}"#),
            (false, r#"{"ciphertext":"AAAA","iv":"<b>"}"#),
            (false, r#"{"ciphertext":"A=AA","iv":"BBBB"}"#),
            (false, r#"{"ciphertext":"A===","iv":"BBBB"}"#),
            (false, r#"{"ciphertext":"AA","iv":"B","iv":"BBBB"}"#),
            (false, &format!(r#"{{"ciphertext":"{long}<b>{long}","iv":"BBBB"}}"#)),
            (false, r#"["{"ciphertext":"AAAA","iv":"BBBB"}"]"#),
        ] {
            assert_eq!(check(image.as_bytes()).is_ok(), accepted, "{image:.60}");
        }
        assert!(check(&[0xff; 100]).is_err());
    }

    #[test]
    fn base64_has_64_digits() {
        assert_eq!((0..=255_u8).filter(|byte| is_base64(&[*byte; 3])).count(), 64);
    }
}
