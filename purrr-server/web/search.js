// The search for a partner: the person's identity in it, and the interests that it names.

import { Identity, canEncrypt } from './crypto.js';
import { recall } from './memory.js';
import { keepToken, lastToken } from './session.js';

/** The token by which the server knows this person again: the last connection's token, or the last visit's. */
let token = await lastToken();

export class Search {
  #connection;
  #interests;
  #preparing = false;
  /** The person has stopped asking for shared interests in this search. */
  #anyone = false;

  /** The identity in the search under way, or the chat that came of it. Null where the browser cannot encrypt. */
  identity = null;
  /** What the server allows, once it has said so. */
  limits = null;

  /** `interests()` returns what the person likes to talk about. */
  constructor(connection, interests) {
    this.#connection = connection;
    this.#interests = interests;
  }

  /** True while a new identity is being made. Nothing else changes meanwhile. */
  get preparing() {
    return this.#preparing;
  }

  /** A connection begins with this frame. */
  welcome({ resume, limits }) {
    if (token) {
      this.#connection.send({ type: 'hello', resume: token });
    }
    token = resume;
    keepToken(token);
    this.limits = limits;
  }

  /** Returns a new identity, where there can be one. */
  async prepare() {
    this.#preparing = true;
    const newcomer = canEncrypt ? await Identity.create() : null;
    this.#preparing = false;
    return newcomer;
  }

  /** Tells the server the person's name and key from now on. */
  introduce(newcomer) {
    this.identity = newcomer;
    this.#connection.send({ type: 'hello', name: recall('name', '') || undefined, publicKey: newcomer?.publicKey });
  }

  /** What a partner should like as well. `next` searches for the same again. */
  get liked() {
    return this.#anyone ? [] : this.#interests();
  }

  /** Begins a search for shared interests. */
  begin() {
    this.#anyone = false;
    this.seek();
  }

  /**
   * Asks the server to search, or to say how many are here if it does so already. The browser's languages say who else might do
   * if no client shares an interest; without interests any partner does at once.
   */
  seek() {
    const interests = this.liked;
    const languages = [...new Set(navigator.languages.map((tag) => tag.split('-')[0]))];
    const spoken = interests.length > 0 ? languages.slice(0, this.limits?.languages) : [];
    this.#connection.send({ type: 'find', interests, languages: spoken });
  }

  /** Begins the search anew, without interests. The server answers `idle` and then `waiting`. */
  widen() {
    this.#anyone = true;
    this.#connection.send({ type: 'cancel' });
    this.seek();
  }
}
