//! The target `image_header`: the size that an image claims.

use super::{ImageLimits, MIME_TYPES, check, measure::measure, recognize, sniff::sniff};

/// Frames that are counted, but for one more.
const FRAMES: u32 = 3;

/// Checks that no prefix of an image claims more pixels than the whole image.
///
/// Also that frames are counted up to the limit and no further, and that an image is recognized as
/// the type that it passes for.
pub fn image_header(data: &[u8]) {
    for mime in MIME_TYPES {
        let measured = measure(mime, data, FRAMES);
        for cut in [data.len() / 2, data.len().saturating_sub(1)] {
            let part = measure(mime, &data[..cut], FRAMES);
            assert!(part.pixels <= measured.pixels, "{mime} cut at {cut}");
        }
        // A PNG states its frames. Those of all others are counted.
        if mime != "image/png" {
            let all = measure(mime, data, u32::MAX);
            assert_eq!(measured.frames, all.frames.min(FRAMES + 1), "{mime}");
            assert!(measured.pixels <= all.pixels, "{mime}");
        }
    }
    let limits = ImageLimits { pixels: 1_000_000, frames: FRAMES };
    let recognized = recognize(data, limits);
    if let Ok(recognized) = recognized {
        assert_eq!(recognized, sniff(data));
    }
    for mime in MIME_TYPES {
        let is_accepted = check(mime, data, limits).is_ok();
        assert_eq!(
            is_accepted,
            recognized.as_ref().is_ok_and(|found| *found == Some(mime)),
            "{mime}"
        );
    }
}
