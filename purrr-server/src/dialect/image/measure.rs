//! The size that an image claims, in pixels and frames: [`measure`].
//!
//! A viewer allocates what the headers claim, and some dozen bytes can claim gigabytes. Nothing is
//! decoded here: headers are read, and the lengths of what lies between them are trusted.

/// The size that an image claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Measure {
    /// Width times height.
    pub(super) pixels: u64,
    pub(super) frames: u32,
}

/// Returns the size that an image claims. Frames are counted up to `max_frames` and one more.
///
/// Returns zero where a header is incomplete or makes no sense, since no viewer can show it then.
pub(super) fn measure(mime: &str, bytes: &[u8], max_frames: u32) -> Measure {
    let most = max_frames.saturating_add(1);
    let measured = match mime {
        "image/png" => png(bytes),
        "image/gif" => Some(gif(bytes, most)).filter(|measured| measured.frames > 0),
        "image/jpeg" => jpeg(bytes),
        "image/webp" => webp(bytes, most),
        "image/avif" => Some(avif(bytes)),
        _ => None,
    };
    measured.unwrap_or_default()
}

const fn one(width: u32, height: u32) -> Measure {
    Measure { pixels: width as u64 * height as u64, frames: 1 }
}

/// PNG: the first chunk is the header. An animation has its frame count before the first data.
fn png(bytes: &[u8]) -> Option<Measure> {
    let mut rest = bytes.get(8..)?;
    let mut measured = None;
    loop {
        let length = be32(rest, 0)?;
        let data = rest.get(8..)?;
        match rest.get(4..8)? {
            b"IHDR" if measured.is_none() => measured = Some(one(be32(data, 0)?, be32(data, 4)?)),
            b"acTL" => {
                let measured = measured?;
                return Some(Measure { frames: be32(data, 0).unwrap_or(1), ..measured });
            }
            b"IDAT" => return measured,
            _ => {}
        }
        // Its checksum comes after the data.
        let next = usize::try_from(length).ok().and_then(|length| data.get(length..)?.get(4..));
        let Some(next) = next.filter(|next| next.len() >= 8) else { return measured };
        rest = next;
    }
}

/// GIF: a logical screen, and frames that may be larger than it.
fn gif(bytes: &[u8], most: u32) -> Measure {
    let area =
        |at| -> Option<u64> { Some(u64::from(le16(bytes, at)?) * u64::from(le16(bytes, at + 2)?)) };
    let mut measured = Measure { pixels: area(6).unwrap_or(0), frames: 0 };
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let Some(flags) = bytes.get(10) else { return measured };
    let mut at = 13 + table(*flags);
    while let Some(introducer) = bytes.get(at) {
        match introducer {
            b',' => {
                let (Some(frame), Some(flags)) = (area(at + 5), bytes.get(at + 9)) else { break };
                measured.pixels = measured.pixels.max(frame);
                measured.frames += 1;
                if measured.frames >= most {
                    break;
                }
                at += 11 + table(*flags);
            }
            b'!' => at += 2,
            _ => break,
        }
        // Blocks of data, each after its length, up to an empty one.
        while let Some(length @ 1..) = bytes.get(at) {
            at += 1 + usize::from(*length);
        }
        at += 1;
    }
    measured
}

/// JPEG: segments up to the header of the first frame.
fn jpeg(bytes: &[u8]) -> Option<Measure> {
    let mut at = 2;
    loop {
        // Bytes between segments are skipped, as decoders do.
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xff)?;
        at += bytes[at..].iter().position(|byte| *byte != 0xff)?;
        let marker = bytes[at];
        at += 1;
        match marker {
            0xc4 | 0xc8 | 0xcc => {}
            0xc0..=0xcf => {
                let [length, height, width] = [at, at + 3, at + 5].map(|at| be16(bytes, at));
                let components = u16::from(*bytes.get(at + 7)?);
                let fits = length? == 8 + 3 * components;
                return fits.then_some(one(width?.into(), height?.into()));
            }
            // Markers without a length.
            0x00 | 0x01 | 0xd0..=0xd8 => continue,
            0xd9 => return None,
            _ => {}
        }
        at += usize::from(be16(bytes, at)?);
    }
}

/// WebP: one of three headers. An animation is counted by its chunks.
fn webp(bytes: &[u8], most: u32) -> Option<Measure> {
    let (kind, data) = (bytes.get(12..16)?, bytes.get(20..)?);
    match kind {
        b"VP8 " => {
            let size = |at| Some(u32::from(le16(data, at)? & 0x3fff));
            Some(one(size(6)?, size(8)?))
        }
        b"VP8L" => {
            let bits = u32::from_le_bytes(*data.get(1..)?.first_chunk()?);
            Some(one((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => {
            let size = |at: usize| {
                let [low, middle, high] = *data.get(at..)?.first_chunk()?;
                Some(u32::from_le_bytes([low, middle, high, 0]) + 1)
            };
            let mut measured = one(size(4)?, size(7)?);
            measured.frames = 0;
            let mut rest = bytes.get(12..)?;
            while let (Some(kind), Some(length)) = (rest.get(..4), rest.get(4..8)) {
                measured.frames += u32::from(kind == b"ANMF");
                let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
                let padded = u64::from(length) + u64::from(length & 1) + 8;
                let next = usize::try_from(padded).ok().and_then(|padded| rest.get(padded..));
                let Some(next) = next.filter(|_| measured.frames < most) else { break };
                rest = next;
            }
            Some(measured)
        }
        _ => None,
    }
}

/// AVIF: nested boxes. Sizes are properties, of which there may be several: of the image, of its
/// tiles and of its preview.
fn avif(bytes: &[u8]) -> Measure {
    let largest = boxes(bytes)
        .filter(|(kind, _)| kind == b"meta")
        // Its version and flags come first.
        .flat_map(|(_, meta)| boxes(meta.get(4..).unwrap_or_default()))
        .filter(|(kind, _)| kind == b"iprp")
        .flat_map(|(_, properties)| boxes(properties))
        .filter(|(kind, _)| kind == b"ipco")
        .flat_map(|(_, container)| boxes(container))
        .filter(|(kind, _)| kind == b"ispe")
        .filter_map(|(_, size)| Some(one(be32(size, 4)?, be32(size, 8)?)))
        .max_by_key(|measured| measured.pixels);
    largest.unwrap_or_default()
}

/// Iterates over successive boxes.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let kind = *rest.get(4..)?.first_chunk()?;
        let (begin, length) = match be32(rest, 0)? {
            0 => (8, rest.len()),
            1 => (16, usize::try_from(u64::from_be_bytes(*rest.get(8..)?.first_chunk()?)).ok()?),
            length => (8, usize::try_from(length).ok()?),
        };
        let (this, next) = rest.split_at(length.min(rest.len()));
        rest = next;
        Some((kind, this.get(begin..)?))
    })
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png_of(width: u32, height: u32, chunks: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend(b"\x08\0\0\0\0CRC!");
        chunks.iter().for_each(|chunk| bytes.extend(*chunk));
        bytes
    }

    fn gif_of(frames: usize) -> Vec<u8> {
        let mut bytes = b"GIF89a\x02\0\x03\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
        for _ in 0..frames {
            bytes.extend(b"!\xf9\x04\0\0\0\0\0");
            bytes.extend(b",\0\0\0\0\x02\0\x03\0\0\x02\x02\x44\x01\x01,\0");
        }
        bytes.push(b';');
        bytes
    }

    /// An image of each type and form, and what it claims if up to 100 frames are counted.
    fn samples() -> Vec<(&'static str, Vec<u8>, u64, u32)> {
        let chunk = |kind: &[u8; 4], data: &[u8]| {
            let length = (data.len() as u32).to_le_bytes();
            [&b"RIFF\0\0\0\0WEBP"[..], kind, &length, data].concat()
        };
        let moving = [
            chunk(b"VP8X", b"\x02\0\0\0\x63\0\0\xc7\0\0"),
            [&b"ANMF\x03\0\0\0abc\0"[..], b"ANMF\0\0\0\0", b"ANMF\x02\0\0\0ab"].concat(),
        ];
        let boxed = |kind: &[u8; 4], data: &[u8]| {
            [&(data.len() as u32 + 8).to_be_bytes()[..], kind, data].concat()
        };
        let ispe = |width: u32, height: u32| {
            boxed(b"ispe", &[&[0; 4][..], &width.to_be_bytes(), &height.to_be_bytes()].concat())
        };
        let sizes =
            boxed(b"ipco", &[ispe(10, 10), boxed(b"pixi", b"1234"), ispe(70_000, 2)].concat());
        let meta = [b"\0\0\0\0".to_vec(), boxed(b"hdlr", b""), boxed(b"iprp", &sizes)].concat();
        let avif = [boxed(b"ftyp", b"avif\0\0\0\0"), boxed(b"meta", &meta)].concat();
        vec![
            ("image/png", png_of(60_000, 60_000, &[b"\0\0\0\0IDATCRC!"]), 3_600_000_000, 1),
            ("image/png", png_of(5, 7, &[b"\0\0\0\x08acTL\0\0\x27\x10\0\0\0\0CRC!"]), 35, 10_000),
            ("image/png", png_of(5, 7, &[b"\0\0\0\x01tEXtxCRC!", b"\xff\xff\xff\xffIDAT"]), 35, 1),
            ("image/gif", gif_of(1), 6, 1),
            ("image/gif", gif_of(10_000), 6, 101),
            ("image/gif", b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;".to_vec(), 65_535 * 65_535, 1),
            (
                "image/jpeg",
                b"\xff\xd8\xff\xe1\0\x04\xff\xc0xx\xff\xff\xc4\0\x02\xff\xc2\0\x0b\x08\x01\x02\x03\x04\x01".to_vec(),
                0x0102 * 0x0304,
                1,
            ),
            ("image/jpeg", b"\xff\xd8\xff\xc0\xff\xff\x08\xff\xff\xff\xff\x03".to_vec(), 0, 0),
            ("image/gif", b"GIF89a\xff\xff\xff\xffno frame".to_vec(), 0, 0),
            ("image/webp", chunk(b"VP8 ", b"\0\0\0\x9d\x01\x2a\x10\x40\x20\0"), 16 * 32, 1),
            ("image/webp", chunk(b"VP8L", &[0x2f, 0x03, 0x40, 0x01, 0]), 4 * 6, 1),
            ("image/webp", moving.concat(), 100 * 200, 3),
            ("image/avif", avif, 140_000, 1),
        ]
    }

    #[test]
    fn headers_of_every_type_are_measured() {
        for (kind, bytes, pixels, frames) in samples() {
            let measured = measure(kind, &bytes, 100);
            assert_eq!(measured, Measure { pixels, frames }, "{kind}");
            // A truncated image claims no more, and nothing panics.
            for cut in 0..bytes.len().min(2_000) {
                assert!(measure(kind, &bytes[..cut], 100).pixels <= pixels, "{kind} cut at {cut}");
            }
        }
    }

    /// Widths and heights have 16, 24 or 32 bits; frames are counted up to the limit and one more.
    #[test]
    fn corrupt_images_stay_within_format_bounds() {
        const FRAMES: u32 = 10;
        let mut rng = fastrand::Rng::with_seed(1);
        let mut measured = 0;
        for (kind, bytes, _, _) in samples() {
            let side: u64 = match kind {
                "image/gif" | "image/jpeg" => u16::MAX.into(),
                "image/webp" => 1 << 24,
                _ => u32::MAX.into(),
            };
            for _ in 0..200 {
                let mut corrupt = bytes.clone();
                for _ in 0..rng.usize(1..20) {
                    let at = rng.usize(..corrupt.len());
                    corrupt[at] = rng.u8(..);
                }
                let Measure { pixels, frames } = measure(kind, &corrupt, FRAMES);
                assert!(pixels <= side * side, "{kind}: {pixels} pixels in {corrupt:?}");
                // A PNG says how many frames it has. Those of the others are counted.
                let is_counted = kind != "image/png";
                assert!(!is_counted || frames <= FRAMES + 1, "{kind}: {frames} frames");
                measured += u32::from(pixels > 0);
            }
        }
        assert!(measured > 400, "only {measured} of the corrupt images claim something");
    }

    /// Of a million bytes that are no image nothing is claimed, however many steps they make.
    #[test]
    fn long_garbage_claims_nothing() {
        let repeated = |unit: &[u8]| unit.iter().copied().cycle().take(1_000_000).collect();
        let garbage: [Vec<u8>; 7] = [
            repeated(b"\0"),
            repeated(b"\x01"),
            repeated(b"!"),
            repeated(b"\xff"),
            // Empty chunks, segments and boxes.
            repeated(b"\0\0\0\0tEXtCRC!"),
            repeated(b"\xff\xe1\0\x02"),
            repeated(b"\0\0\0\x08free"),
        ];
        for kind in ["image/png", "image/gif", "image/jpeg", "image/webp", "image/avif"] {
            for bytes in &garbage {
                assert_eq!(
                    measure(kind, bytes, 10),
                    Measure::default(),
                    "{kind}: {:?}",
                    &bytes[..12]
                );
            }
        }
    }
}
