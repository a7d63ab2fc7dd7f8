// Pictures on their way out and in.
//
// Nothing of a chosen file is sent: it is drawn, and the drawing is sent. So where and with what a photograph was taken,
// which cameras write into their files, never leaves this browser. One that moves is sent without its metadata instead.

import { fromBase64 } from './crypto.js';
import { number } from './i18n.js';
import { imageSize, strip } from './imagefile.js';

/** As small as this, in bytes, a picture of the full size is sent, even where more would fit. */
const ENOUGH = 600_000;
/** What is tried, in this order, until a picture is small enough: the longer side, the quality, and what is enough. */
const ATTEMPTS = [
  { side: 2048, quality: 0.86, enough: ENOUGH },
  { side: 2048, quality: 0.72, enough: ENOUGH },
  { side: 2048, quality: 0.55, enough: ENOUGH },
  { side: 2048, quality: 0.4, enough: Infinity },
  { side: 1200, quality: 0.6, enough: Infinity },
  { side: 800, quality: 0.5, enough: Infinity },
];
/** A picture of more pixels takes a phone more memory than it has: 200 MB. */
const MOST_PIXELS = 50_000_000;
/** A picture of no more pixels is small enough as a PNG. */
const SMALL_PIXELS = 250_000;
const MOVING = ['image/gif', 'image/webp'];

const KINDS = ['image/jpeg', 'image/png', 'image/gif', 'image/webp', 'image/avif'];
const DATA_URL = /^data:(image\/(?:jpeg|png|gif|webp|avif));base64,/;

/** Set once this browser has made no WebP. */
let withoutWebp = false;

/** Something about a picture that the person should be told: the key of a string, and its values. */
export class PictureProblem extends Error {
  constructor(key, values) {
    super(key);
    this.key = key;
    this.values = values;
  }
}

/** Returns the picture in `file` without metadata, upright and so small that it has at most `maxBytes`. */
export async function prepare(file, maxBytes) {
  if (MOVING.includes(file.type)) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (imageSize(bytes)?.frames > 1) {
      return prepareMoving(bytes, file.type, maxBytes);
    }
  }
  return redraw(file, maxBytes);
}

function prepareMoving(bytes, type, maxBytes) {
  const blob = strip(bytes, type);
  if (blob.size > maxBytes) {
    throw new PictureProblem('picture-too-large');
  }
  return blob;
}

async function redraw(file, maxBytes) {
  const source = await decode(file);
  if (!(await canvasIsHonest())) {
    source.close?.();
    throw new PictureProblem('picture-canvas-blocked');
  }
  try {
    for (const { side, quality, enough } of ATTEMPTS) {
      const blob = await encode(draw(source, side), file.type, quality);
      if (blob?.size <= Math.min(maxBytes, enough)) {
        return blob;
      }
    }
  } finally {
    source.close?.();
  }
  throw new PictureProblem('picture-too-large');
}

/** Opens a picture, upright. Browsers that cannot turn a bitmap turn an image element. */
async function decode(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' }).catch(() => null);
  if (bitmap) {
    return bitmap;
  }
  const image = new Image();
  const source = URL.createObjectURL(file);
  image.src = source;
  try {
    await image.decode();
    return image;
  } catch {
    throw new PictureProblem('picture-unreadable');
  } finally {
    URL.revokeObjectURL(source);
  }
}

function draw(source, side) {
  const [width, height] = [source.naturalWidth ?? source.width, source.naturalHeight ?? source.height];
  const scale = Math.min(1, side / Math.max(width, height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Photographs stay JPEG; anything else may be see-through, which JPEG is not. */
async function encode(canvas, type, quality) {
  if (type !== 'image/jpeg' && !(withoutWebp && canvas.width * canvas.height > SMALL_PIXELS)) {
    const blob = await toBlob(canvas, 'image/webp', quality);
    if (blob?.type === 'image/webp' || blob?.size <= ENOUGH) {
      return blob;
    }
    // A browser without WebP makes a PNG of it, which is far too large for a photograph.
    withoutWebp = true;
  }
  const context = canvas.getContext('2d');
  context.globalCompositeOperation = 'destination-over';
  context.fillStyle = '#fff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  return toBlob(canvas, 'image/jpeg', quality);
}

function toBlob(canvas, type, quality) {
  return new Promise((resolve) => canvas.toBlob(resolve, type, quality));
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
    throw new PictureProblem('picture-kind-not-shown');
  }
  return checked(fromBase64(url.slice(start.length)), type);
}

/** The picture in the bytes of a stranger. Throws if it is of no kind that is shown. */
export function fromBytes(bytes, type) {
  if (!KINDS.includes(type)) {
    throw new PictureProblem('picture-kind-not-shown');
  }
  return checked(bytes, type);
}

/** Refuses what would fill the memory of this browser as soon as it is looked at. */
function checked(bytes, type) {
  const size = imageSize(bytes);
  if (!size) {
    throw new PictureProblem('picture-broken');
  }
  if (size.width * size.height > MOST_PIXELS) {
    throw new PictureProblem('picture-too-many-pixels', { width: number(size.width), height: number(size.height) });
  }
  return new Blob([bytes], { type });
}

// Whether this browser lets a page read what it has drawn. Browsers that resist fingerprinting hand out noise instead, and a
// picture that is drawn anew would reach the partner as noise.

const SIDE = 16;
const COLOURS = ['#e02020', '#20c040', '#2030d0', '#f0e020'];
/** Compression and colour profiles shift a colour a little; noise does not stop at that. */
const TOLERANCE = 12;

let answer;

/** Resolves to false if what comes out of a canvas is not what was drawn. */
function canvasIsHonest() {
  answer ??= testCanvas().catch(() => false);
  return answer;
}

async function testCanvas() {
  const canvas = paint();
  const wanted = COLOURS.map(channels);
  if (!matches(canvas, wanted)) {
    return false;
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
  const bitmap = await createImageBitmap(blob);
  const copy = Object.assign(document.createElement('canvas'), { width: SIDE, height: SIDE });
  copy.getContext('2d', { willReadFrequently: true }).drawImage(bitmap, 0, 0);
  bitmap.close();
  return matches(copy, wanted);
}

function paint() {
  const canvas = Object.assign(document.createElement('canvas'), { width: SIDE, height: SIDE });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  COLOURS.forEach((colour, index) => {
    context.fillStyle = colour;
    context.fillRect((index % 2) * (SIDE / 2), Math.floor(index / 2) * (SIDE / 2), SIDE / 2, SIDE / 2);
  });
  return canvas;
}

function matches(canvas, wanted) {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  return wanted.every((colour, index) => {
    const [x, y] = [(index % 2) * (SIDE / 2), Math.floor(index / 2) * (SIDE / 2)];
    const { data } = context.getImageData(x + 1, y + 1, SIDE / 2 - 2, SIDE / 2 - 2);
    return data.every((value, at) => Math.abs(value - [...colour, 255][at % 4]) <= TOLERANCE);
  });
}

function channels(colour) {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}
