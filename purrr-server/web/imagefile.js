// The file of a picture, read byte by byte: how large it is once decoded, whether it moves, and its metadata.

const GRAPHIC_CONTROL = 0xf9;
const APPLICATION = 0xff;
/** The one application's block that says how often a GIF repeats. */
const LOOPS = ['NETSCAPE2.0', 'ANIMEXTS1.0'];
const WEBP_CHUNKS = ['VP8X', 'ANIM', 'ANMF', 'VP8 ', 'VP8L', 'ALPH', 'ICCP'];
/** The flags of a WebP that announce EXIF and XMP. */
const WEBP_METADATA = 0x0c;

/**
 * Returns `{width, height, frames}` of a JPEG, PNG, GIF, WebP or AVIF, or null if the bytes are none of these.
 *
 * A small file can claim a size that takes gigabytes to decode, so nothing is decoded before this was asked.
 */
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

/**
 * Returns a GIF or WebP as a blob without comments, places, times and programs. Drawing one anew, as it is done with pictures
 * that stand still, would leave the first frame.
 */
export function strip(bytes, type) {
  return new Blob(type === 'image/gif' ? strippedGif(bytes) : strippedWebp(bytes), { type });
}

function strippedGif(bytes) {
  const kept = [];
  for (const { kind, label, start, end } of gifBlocks(bytes)) {
    const loops = label === APPLICATION && LOOPS.includes(String.fromCharCode(...bytes.subarray(start + 3, start + 14)));
    if (kind !== 'extension' || label === GRAPHIC_CONTROL || loops) {
      kept.push(bytes.subarray(start, end));
    }
  }
  return [...kept, new Uint8Array([0x3b])];
}

function strippedWebp(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kept = [];
  let total = 4;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    const end = Math.min(bytes.length, at + 8 + size + (size & 1));
    const name = String.fromCharCode(...bytes.subarray(at, at + 4));
    if (WEBP_CHUNKS.includes(name)) {
      const chunk = bytes.slice(at, end);
      if (name === 'VP8X') {
        chunk[8] &= ~WEBP_METADATA;
      }
      kept.push(chunk);
      total += chunk.length;
    }
    at = end;
  }
  const head = new Uint8Array(12);
  head.set(new TextEncoder().encode('RIFF'));
  new DataView(head.buffer).setUint32(4, total, true);
  head.set(new TextEncoder().encode('WEBP'), 8);
  return [head, ...kept];
}

/** Goes through a GIF block by block: where each begins and ends, and what it is. */
function* gifBlocks(bytes) {
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
