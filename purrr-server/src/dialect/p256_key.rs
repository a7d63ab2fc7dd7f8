//! Public keys on the curve P-256: [`is_p256_key`].

use base64::{Engine, prelude::BASE64_STANDARD};
use p256::PublicKey;

/// Returns true for an uncompressed point on P-256 (65 bytes) in padded standard base64.
///
/// That is what a browser exports as `raw`.
pub(crate) fn is_p256_key(text: &str) -> bool {
    BASE64_STANDARD
        .decode(text)
        .is_ok_and(|bytes| bytes.len() == 65 && PublicKey::from_sec1_bytes(&bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator of the curve, from SEC 2 version 2.0, section 2.4.2.
    const GENERATOR: &str =
        "BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";

    #[test]
    fn points_off_the_curve_are_no_keys() {
        assert!(is_p256_key(GENERATOR));
        let unpadded = GENERATOR.trim_end_matches('=');
        let url = GENERATOR.replace('+', "-");
        let off_the_curve = GENERATOR.replace("UfU=", "UfQ=");
        let spaced = format!("{GENERATOR} ");
        for wrong in ["", "key", unpadded, &url, &off_the_curve, &spaced] {
            assert!(!is_p256_key(wrong), "{wrong}");
        }
    }
}
