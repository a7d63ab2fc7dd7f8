// End-to-end encryption, with the scheme of the Purrr.chat frontend so that the two understand each other: ECDH on P-256
// makes a key for AES-GCM, and what travels is the string {"ciphertext": base64, "iv": base64}.

const CURVE = { name: 'ECDH', namedCurve: 'P-256' };
const IV_BYTES = 12;

/** Browsers give pages that were not loaded over https (or from this very machine) no cryptography. */
export const canEncrypt = Boolean(globalThis.crypto?.subtle);

/** One person for one chat. A new one each time, so that no visitor is recognised by the key. */
export class Identity {
  #keys;

  static async create() {
    const keys = await crypto.subtle.generateKey(CURVE, false, ['deriveKey']);
    const raw = await crypto.subtle.exportKey('raw', keys.publicKey);
    return new Identity(keys, new Uint8Array(raw));
  }

  constructor(keys, raw) {
    this.#keys = keys;
    this.raw = raw;
  }

  /** The public key as it is sent: the raw point in base64. */
  get publicKey() {
    return toBase64(this.raw);
  }

  /** What only this person and the owner of `publicKey` share. Rejects if that is no key. */
  async meet(publicKey) {
    const raw = fromBase64(publicKey);
    const theirs = await crypto.subtle.importKey('raw', raw, CURVE, false, []);
    const key = await crypto.subtle.deriveKey(
      { name: 'ECDH', public: theirs },
      this.#keys.privateKey,
      { name: 'AES-GCM', length: 256 },
      false,
      ['encrypt', 'decrypt'],
    );
    return new Secret(key, await safetyCode(this.raw, raw));
  }
}

class Secret {
  #key;

  constructor(key, safetyCode) {
    this.#key = key;
    this.safetyCode = safetyCode;
  }

  /** Returns the text as only the partner can read it. */
  async seal(text) {
    const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES));
    const ciphertext = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, this.#key, new TextEncoder().encode(text));
    return JSON.stringify({ ciphertext: toBase64(new Uint8Array(ciphertext)), iv: toBase64(iv) });
  }

  /** Returns what the partner sealed. Rejects if another party did, or if it was changed on the way. */
  async open(sealed) {
    const { ciphertext, iv } = JSON.parse(sealed);
    const algorithm = { name: 'AES-GCM', iv: fromBase64(iv) };
    const text = await crypto.subtle.decrypt(algorithm, this.#key, fromBase64(ciphertext));
    return new TextDecoder('utf-8', { fatal: true }).decode(text);
  }
}

/** Whether this has the form of a sealed text. */
export function looksSealed(text) {
  try {
    const { ciphertext, iv } = JSON.parse(text);
    return typeof ciphertext === 'string' && typeof iv === 'string';
  } catch {
    return false;
  }
}

/** How many bytes `seal` makes of a text of so many: the ciphertext has 16 bytes more, and base64 makes 4 of each 3. */
export function sealedBytes(plain) {
  const wrapping = '{"ciphertext":"","iv":"0123456789abcdef"}'.length;
  return Math.ceil((plain + 16) / 3) * 4 + wrapping;
}

/** Returns four groups of five digits. They are the same on both sides, unless a third party is in between. */
async function safetyCode(one, other) {
  const keys = [one, other].sort((a, b) => {
    const at = a.findIndex((byte, index) => byte !== b[index]);
    return at < 0 ? 0 : a[at] - b[at];
  });
  const both = new Uint8Array([...keys[0], ...keys[1]]);
  const digest = new DataView(await crypto.subtle.digest('SHA-256', both));
  const groups = [0, 8, 16, 24].map((at) => digest.getBigUint64(at) % 100_000n);
  return groups.map((group) => String(group).padStart(5, '0')).join(' ');
}

// A longer list of arguments overflows the stack of some browsers.
const PIECE = 0x8000;

export function toBase64(bytes) {
  let binary = '';
  for (let start = 0; start < bytes.length; start += PIECE) {
    binary += String.fromCharCode(...bytes.subarray(start, start + PIECE));
  }
  return btoa(binary);
}

/** Throws if `text` is no base64. */
export function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) {
    bytes[at] = binary.charCodeAt(at);
  }
  return bytes;
}
