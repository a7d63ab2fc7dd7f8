// Pictures on their way out and in.
//
// Nothing of a chosen file is sent: it is drawn, and the drawing is sent. So where and with what a photograph was taken,
// which cameras write into their files, never leaves this browser.

import { fromBase64 } from './base64.js';

/** What is tried, in this order, until a picture is small enough to be sent: the longer side, and the quality. */
const ATTEMPTS = [
  { side: 2048, quality: 0.86 },
  { side: 1600, quality: 0.8 },
  { side: 1200, quality: 0.7 },
  { side: 800, quality: 0.6 },
];

const KINDS = ['image/jpeg', 'image/png', 'image/gif', 'image/webp', 'image/avif'];
const DATA_URL = /^data:(image\/(?:jpeg|png|gif|webp|avif));base64,/;

/** Something about a picture that the person should be told, in words meant for them. */
export class PictureProblem extends Error {}

/** Draws the picture in `file` anew, upright and so small that it has at most `maxBytes`. */
export async function redraw(file, maxBytes) {
  const bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' }).catch(() => {
    throw new PictureProblem('This browser cannot open that as a picture.');
  });
  try {
    for (const { side, quality } of ATTEMPTS) {
      const blob = await encode(draw(bitmap, side), file.type, quality);
      if (blob && blob.size <= maxBytes) {
        return blob;
      }
    }
  } finally {
    bitmap.close();
  }
  throw new PictureProblem('That picture is too large to send.');
}

function draw(bitmap, side) {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Photographs stay JPEG; anything else may be see-through, which JPEG is not. A browser without WebP makes a PNG. */
function encode(canvas, type, quality) {
  const wanted = type === 'image/jpeg' ? 'image/jpeg' : 'image/webp';
  return new Promise((resolve) => canvas.toBlob(resolve, wanted, quality));
}

/** The picture as a data URL, which is what is encrypted. */
export function toDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener('load', () => resolve(reader.result));
    reader.addEventListener('error', () => reject(reader.error));
    reader.readAsDataURL(blob);
  });
}

/** The picture in a data URL of a stranger. Throws if it is of no kind that is shown. */
export function fromDataUrl(url) {
  const [start, type] = DATA_URL.exec(url) ?? [];
  if (!type) {
    throw new PictureProblem('That was a kind of picture that is not shown here.');
  }
  return new Blob([fromBase64(url.slice(start.length))], { type });
}

/** The picture in the bytes of a stranger. Throws if it is of no kind that is shown. */
export function fromBytes(bytes, type) {
  if (!KINDS.includes(type)) {
    throw new PictureProblem('That was a kind of picture that is not shown here.');
  }
  return new Blob([bytes], { type });
}
