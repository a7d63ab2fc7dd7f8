// How large a picture is once it is decoded, and whether it moves, read from its first bytes. A small file can claim a size
// that takes gigabytes to decode, so nothing is decoded before this was asked.

/** Returns `{width, height, frames}` of a JPEG, PNG, GIF, WebP or AVIF, or null if the bytes are none of these. */
export function imageSize(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    return read(bytes, view);
  } catch (error) {
    if (error instanceof RangeError) {
      return null;
    }
    throw error;
  }
}

function read(bytes, view) {
  const letters = (at, count) => String.fromCharCode(...bytes.subarray(at, at + count));
  if (view.getUint16(0) === 0xffd8) {
    return jpeg(view);
  }
  if (letters(1, 3) === 'PNG') {
    return { width: view.getUint32(16), height: view.getUint32(20), frames: 1 };
  }
  if (letters(0, 4) === 'GIF8') {
    return { width: view.getUint16(6, true), height: view.getUint16(8, true), frames: gifFrames(bytes) };
  }
  if (letters(0, 4) === 'RIFF' && letters(8, 4) === 'WEBP') {
    return webp(view, letters);
  }
  return letters(4, 4) === 'ftyp' ? avif(view, letters) : null;
}

function jpeg(view) {
  for (let at = 2; ; ) {
    if (view.getUint8(at) !== 0xff) {
      return null;
    }
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at += 1;
    } else if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      return { width: view.getUint16(at + 7), height: view.getUint16(at + 5), frames: 1 };
    } else {
      at += 2 + view.getUint16(at + 2);
    }
  }
}

function webp(view, letters) {
  const kind = letters(12, 4);
  if (kind === 'VP8X') {
    const three = (at) => view.getUint8(at) | (view.getUint8(at + 1) << 8) | (view.getUint8(at + 2) << 16);
    const moving = (view.getUint8(20) & 2) !== 0;
    return { width: three(24) + 1, height: three(27) + 1, frames: moving ? webpFrames(view, letters) : 1 };
  }
  if (kind === 'VP8L') {
    const bits = view.getUint32(21, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1, frames: 1 };
  }
  return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff, frames: 1 };
}

function webpFrames(view, letters) {
  let frames = 0;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    frames += letters(at, 4) === 'ANMF' ? 1 : 0;
    at += 8 + size + (size & 1);
  }
  return frames;
}

/** The property `ispe` says it; where it stands depends on the file. */
function avif(view, letters) {
  let [width, height] = [0, 0];
  for (let at = 8; at + 16 <= Math.min(view.byteLength, 65_536); at += 1) {
    if (view.getUint8(at) === 0x69 && letters(at, 4) === 'ispe') {
      // A file of several pictures says the size of each.
      [width, height] = [Math.max(width, view.getUint32(at + 8)), Math.max(height, view.getUint32(at + 12))];
    }
  }
  return width ? { width, height, frames: letters(8, 4) === 'avis' ? 2 : 1 } : null;
}

/** Counts the pictures of a GIF. */
function gifFrames(bytes) {
  let frames = 0;
  for (const { kind } of gifBlocks(bytes)) {
    frames += kind === 'image' ? 1 : 0;
  }
  return frames;
}

/** Goes through a GIF block by block: where each begins and ends, and what it is. */
export function* gifBlocks(bytes) {
  const tableBytes = (flags) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  const past = (at) => {
    while (at < bytes.length && bytes[at] !== 0) {
      at += bytes[at] + 1;
    }
    return at + 1;
  };
  let at = 13 + tableBytes(bytes[10]);
  yield { kind: 'head', start: 0, end: at };
  while (at < bytes.length) {
    const start = at;
    if (bytes[at] === 0x2c) {
      at = past(at + 11 + tableBytes(bytes[at + 9]));
      yield { kind: 'image', start, end: at };
    } else if (bytes[at] === 0x21) {
      const label = bytes[at + 1];
      at = past(at + 2);
      yield { kind: 'extension', label, start, end: at };
    } else {
      // The trailer, or no GIF any more. What follows it is nothing that is shown.
      return;
    }
  }
}
