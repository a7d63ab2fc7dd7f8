// Whether this browser lets a page read what it has drawn. Browsers that resist fingerprinting hand out noise instead, and a
// picture that is drawn anew would reach the partner as noise.

const SIDE = 16;
const COLOURS = ['#e02020', '#20c040', '#2030d0', '#f0e020'];
/** Compression and colour profiles shift a colour a little; noise does not stop at that. */
const TOLERANCE = 12;

let answer;

/** Resolves to false if what comes out of a canvas is not what was drawn. */
export function canvasIsHonest() {
  answer ??= test().catch(() => false);
  return answer;
}

async function test() {
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
