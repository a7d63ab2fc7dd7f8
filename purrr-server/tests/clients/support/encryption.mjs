// The frontend's end-to-end encryption, written from its description: ECDH on P-256, AES-GCM with a 12-byte iv, and
// `{"ciphertext": base64, "iv": base64}` as the string that travels.

import { webcrypto } from 'node:crypto';

const { subtle } = webcrypto;
const CURVE = { name: 'ECDH', namedCurve: 'P-256' };

export class Keys {
  static async generate() {
    const pair = await subtle.generateKey(CURVE, false, ['deriveKey']);
    const raw = await subtle.exportKey('raw', pair.publicKey);
    return new Keys(pair.privateKey, base64(raw));
  }

  constructor(privateKey, publicKey) {
    this.privateKey = privateKey;
    /** The public key as it is sent: the raw point in base64. */
    this.publicKey = publicKey;
  }

  /** What only this side and the owner of `publicKey` can read. */
  async secretWith(publicKey) {
    const theirs = await subtle.importKey('raw', Buffer.from(publicKey, 'base64'), CURVE, false, []);
    const secret = await subtle.deriveKey(
      { name: 'ECDH', public: theirs },
      this.privateKey,
      { name: 'AES-GCM', length: 256 },
      false,
      ['encrypt', 'decrypt'],
    );
    return new Secret(secret);
  }
}

class Secret {
  #key;

  constructor(key) {
    this.#key = key;
  }

  async encrypt(text) {
    const iv = webcrypto.getRandomValues(new Uint8Array(12));
    const ciphertext = await subtle.encrypt({ name: 'AES-GCM', iv }, this.#key, new TextEncoder().encode(text));
    return JSON.stringify({ ciphertext: base64(ciphertext), iv: base64(iv) });
  }

  async decrypt(sealed) {
    const { ciphertext, iv } = JSON.parse(sealed);
    const plain = await subtle.decrypt(
      { name: 'AES-GCM', iv: Buffer.from(iv, 'base64') },
      this.#key,
      Buffer.from(ciphertext, 'base64'),
    );
    return new TextDecoder('utf-8', { fatal: true }).decode(plain);
  }
}

function base64(bytes) {
  return Buffer.from(bytes).toString('base64');
}
