// Pictures made byte by byte.

const BITSTREAM = ['ALPH', 'VP8 ', 'VP8L'];

/** A GIF of so many pictures of 2 by 2 pixels, with a comment. */
export function animatedGif(frames, comment) {
  const head = Buffer.from('GIF89a\x02\x00\x02\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff', 'latin1');
  const loop = Buffer.from('\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00', 'latin1');
  const remark = Buffer.concat([Buffer.from([0x21, 0xfe, comment.length]), Buffer.from(comment), Buffer.from([0])]);
  const picture = Buffer.from(
    '\x21\xf9\x04\x00\x0a\x00\x00\x00\x2c\x00\x00\x00\x00\x02\x00\x02\x00\x00\x02\x03\x44\x02\x05\x00',
    'latin1',
  );
  return Buffer.concat([head, loop, remark, ...Array(frames).fill(picture), Buffer.from([0x3b])]);
}

/** A WebP that shows this one so many times, with EXIF. */
export function animatedWebp(still, frames, exif) {
  const image = still.subarray(12);
  const three = (value) => [value & 255, (value >> 8) & 255, value >> 16];
  const [width, height] = [16, 16];
  const extended = chunk('VP8X', Buffer.from([0x1a, 0, 0, 0, ...three(width - 1), ...three(height - 1)]));
  const animation = chunk('ANIM', Buffer.alloc(6));
  const bitstream = Buffer.concat([...chunksOf(image)].filter(({ name }) => BITSTREAM.includes(name)).map(({ bytes }) => bytes));
  const frame = chunk(
    'ANMF',
    Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, ...three(width - 1), ...three(height - 1), ...three(100), 0]), bitstream]),
  );
  const chunks = Buffer.concat([extended, animation, ...Array(frames).fill(frame), chunk('EXIF', Buffer.from(exif))]);
  const riff = Buffer.from('RIFF\0\0\0\0WEBP', 'latin1');
  riff.writeUInt32LE(chunks.length + 4, 4);
  return Buffer.concat([riff, chunks]);
}

/** The beginning of a PNG that claims to be so large. */
export function pngHeader(width, height) {
  const bytes = Buffer.from('\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\0\x08\x06\0\0\0\0\0\0\0', 'latin1');
  bytes.writeUInt32BE(width, 16);
  bytes.writeUInt32BE(height, 20);
  return bytes;
}

function* chunksOf(bytes) {
  for (let at = 0; at + 8 <= bytes.length; ) {
    const size = bytes.readUInt32LE(at + 4);
    const end = at + 8 + size + (size % 2);
    yield { name: bytes.toString('latin1', at, at + 4), bytes: bytes.subarray(at, end) };
    at = end;
  }
}

function chunk(name, data) {
  const head = Buffer.from(`${name}\0\0\0\0`, 'latin1');
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, data, Buffer.alloc(data.length % 2)]);
}
