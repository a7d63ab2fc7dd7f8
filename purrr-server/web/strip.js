// Moving pictures without what their files say beside the picture: comments, places, times, programs. Drawing one anew, as it
// is done with those that stand still, would leave the first frame.

import { gifBlocks } from './imagesize.js';

const GRAPHIC_CONTROL = 0xf9;
const APPLICATION = 0xff;
/** The one application's block that says how often a GIF repeats. */
const LOOPS = ['NETSCAPE2.0', 'ANIMEXTS1.0'];
const WEBP_CHUNKS = ['VP8X', 'ANIM', 'ANMF', 'VP8 ', 'VP8L', 'ALPH', 'ICCP'];
/** The flags of a WebP that announce EXIF and XMP. */
const WEBP_METADATA = 0x0c;

/** Returns a GIF or WebP as a blob without metadata. */
export function strip(bytes, type) {
  return new Blob(type === 'image/gif' ? gif(bytes) : webp(bytes), { type });
}

function gif(bytes) {
  const kept = [];
  for (const { kind, label, start, end } of gifBlocks(bytes)) {
    const loops = label === APPLICATION && LOOPS.includes(String.fromCharCode(...bytes.subarray(start + 3, start + 14)));
    if (kind !== 'extension' || label === GRAPHIC_CONTROL || loops) {
      kept.push(bytes.subarray(start, end));
    }
  }
  return [...kept, new Uint8Array([0x3b])];
}

function webp(bytes) {
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
