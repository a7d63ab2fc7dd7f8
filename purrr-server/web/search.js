// The search for a partner: the person's identity in it, and the interests that it names.

import { Identity, canEncrypt } from './crypto.js';
import { keep, lastSession, recall } from './memory.js';

/** More tokens than this are not tried. */
const TOKENS = 8;

const last = await lastSession();
const newcomer = () => (canEncrypt ? Identity.create() : null);
/** Keys are kept nowhere, so a page that comes back to a chat has a new one. */
const returned = last.chat ? await newcomer() : null;

export class Search {
  #connection;
  #interests;
  #preparing = false;
  /** The person has stopped asking for shared interests in this search. */
  #anyone = false;
  /**
   * By these the server knows this person again. Which of them holds is not known if a connection broke before it was known
   * that the server had read the claim: then the older one does, or else the one of that connection.
   */
  #tokens = last.tokens ?? [];
  /** How many of them were tried on this connection. */
  #tried = 0;

  /** The identity in the search under way, or the chat that came of it. Null where the browser cannot encrypt. */
  identity = returned;
  /** What the server allows, once it has said so. */
  limits = null;
  /** The chat of before a reload, until the server has said what has become of it. */
  returning = last.chat ?? null;
  /** What the server was still to hear about a chat before a reload. */
  parted = last.parting ?? null;

  /** `interests()` returns what the person likes to talk about. */
  constructor(connection, interests) {
    this.#connection = connection;
    this.#interests = interests;
  }

  /** True while a new identity is being made. Nothing else changes meanwhile. */
  get preparing() {
    return this.#preparing;
  }

  /** A connection begins with this frame. `position` says what the visitor is in. */
  welcome({ resume, limits }, position) {
    this.limits = limits;
    this.#tried = 0;
    this.#claim(position);
    this.#tokens = [...this.#tokens, resume].slice(-TOKENS);
    keep({ tokens: this.#tokens });
  }

  /** The server does not know a token. Claims with the next one; returns false if there is none. */
  retry(position) {
    this.#tried += 1;
    // The last one is this connection's own.
    const left = this.#tried < this.#tokens.length - 1;
    return left && this.#claim(position);
  }

  /**
   * The server holds the chat for none of the tokens. Claims the person alone, whom one of them may still name: its blocks then
   * hold on.
   */
  reclaim() {
    this.#tried = 0;
    if (this.#tokens.length > 1) {
      this.#claim();
    }
  }

  /** The server has read the first claim, or has `answered` one, so only this connection's token is good from now on. */
  settle(answered = this.#tried === 0) {
    if (answered && this.#tokens.length > 1) {
      this.#tokens = this.#tokens.slice(-1);
      keep({ tokens: this.#tokens });
    }
  }

  /** Another connection has the session. */
  yield() {
    this.#tokens = [];
    keep({ tokens: [] });
  }

  #claim(position) {
    const token = this.#tokens[this.#tried];
    this.#connection.send({ type: 'hello', ...this.#person, resume: token, received: 0, ...position });
    return true;
  }

  get #person() {
    return { name: recall('name', '') || undefined, publicKey: this.identity?.publicKey };
  }

  /** Returns a new identity, where there can be one. */
  async prepare() {
    this.#preparing = true;
    const identity = await newcomer();
    this.#preparing = false;
    return identity;
  }

  /** Tells the server the person's name and key from now on. */
  introduce(identity) {
    this.identity = identity;
    this.#connection.send({ type: 'hello', ...this.#person });
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
