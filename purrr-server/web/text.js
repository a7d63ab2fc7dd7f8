// What strangers write, made safe to look at: names, walls of text, stacked marks, links and emoji.

/** More marks than this on one letter are no writing of any language. */
const MARKS = /(\p{M}{4})\p{M}+/gu;
/** Characters that turn the direction of what stands around them. */
const DIRECTION_OVERRIDES = /[\u202a-\u202e\u2066-\u2069]/;
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\p{C}\p{Z}\u2800]/gu;
const CONTROLS = /[\p{Cc}\u200e\u200f\u061c\s]+/gu;
const LINK = /\bhttps?:\/\/[^\s<>"'`{}|\\^]+|\bwww\.[^\s<>"'`{}|\\^]+/giu;
const LINK_END = /[.,:;!?…。、)\]}'"»”’]+$/u;
const EMOJI = emojiPattern();
const MOST_EMOJI = 3;

/** Longer than this, in characters or lines, a text is folded. */
const FOLD_CHARACTERS = 1_000;
const FOLD_LINES = 15;

/** Returns a stranger's name, or an empty string if it is blank or turns the direction of writing. */
export function cleanName(name) {
  if (typeof name !== 'string' || DIRECTION_OVERRIDES.test(name) || name.replace(INVISIBLE, '') === '') {
    return '';
  }
  return name.replace(CONTROLS, ' ').replace(MARKS, '$1').trim();
}

/** Returns a text without the marks that would run over its neighbours. */
export function calm(text) {
  return text.replace(MARKS, '$1');
}

/** Returns the beginning of a text that is too long to show at once, or null if it is not. */
export function fold(text) {
  let end = -1;
  for (let lines = 0; lines < FOLD_LINES; lines += 1) {
    end = text.indexOf('\n', end + 1);
    if (end < 0) {
      break;
    }
  }
  const cut = Math.min(end < 0 ? Infinity : end, text.length > FOLD_CHARACTERS ? FOLD_CHARACTERS : Infinity);
  // Never through the middle of a surrogate pair.
  return cut === Infinity ? null : text.slice(0, cut).replace(/[\ud800-\udbff]$/, '');
}

/** Returns a text in pieces: strings, and `URL` objects with the `text` they stand for. */
export function linkify(text) {
  const pieces = [];
  let at = 0;
  for (const match of text.matchAll(LINK)) {
    const found = match[0].replace(LINK_END, '');
    const url = parse(found);
    if (url) {
      pieces.push(text.slice(at, match.index), { url, text: found });
      at = match.index + found.length;
    }
  }
  pieces.push(text.slice(at));
  return pieces.filter((piece) => piece !== '');
}

function parse(text) {
  try {
    const url = new URL(/^www\./i.test(text) ? `https://${text}` : text);
    return ['http:', 'https:'].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

/** Returns how many emoji a text is made of, or 0 if there is anything else in it, or too much. */
export function emojiCount(text) {
  const found = text.length <= 80 ? (text.match(EMOJI) ?? []) : [];
  const others = found.reduce((rest, emoji) => rest.replace(emoji, ''), text).trim();
  return found.length <= MOST_EMOJI && others === '' ? found.length : 0;
}

/** An older browser would not even read a pattern with the flag `v`. */
function emojiPattern() {
  try {
    return new RegExp('\\p{RGI_Emoji}', 'gv');
  } catch {
    return /\p{Extended_Pictographic}(?:\ufe0f|\p{Emoji_Modifier}|\u200d\p{Extended_Pictographic})*/gu;
  }
}
