//! The target `image_header`: what a picture says of its size.

use super::{KINDS, Largest, check, kind_of, measure::measure, recognize};

/// As many frames as are counted, and one more.
const FRAMES: u32 = 3;

/// Checks that no prefix of a picture claims more pixels than the whole, that frames are counted as far as asked and no
/// further, and that a picture is recognized as the kind that it may be called.
pub fn image_header(data: &[u8]) {
    for kind in KINDS {
        let measured = measure(kind, data, FRAMES);
        for cut in [data.len() / 2, data.len().saturating_sub(1)] {
            let part = measure(kind, &data[..cut], FRAMES);
            assert!(part.pixels <= measured.pixels, "{kind} cut at {cut}");
        }
        // A PNG says how many frames it has; those of all others are counted.
        if kind != "image/png" {
            let all = measure(kind, data, u32::MAX);
            assert_eq!(measured.frames, all.frames.min(FRAMES + 1), "{kind}");
            assert!(measured.pixels <= all.pixels, "{kind}");
        }
    }
    let largest = Largest { pixels: 1_000_000, frames: FRAMES };
    let recognized = recognize(data, largest);
    if let Ok(recognized) = recognized {
        assert_eq!(recognized, kind_of(data));
    }
    for kind in KINDS {
        let is_carried = check(kind, data, largest).is_ok();
        assert_eq!(
            is_carried,
            recognized.as_ref().is_ok_and(|found| *found == Some(kind)),
            "{kind}"
        );
    }
}
