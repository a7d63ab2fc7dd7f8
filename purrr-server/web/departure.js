// What the person has asked the server to end: a search, or a chat. It has ended once the server says so. A server, or a line to
// it, that does not answer in time is given up, for nothing may keep a person who wants to go.

import { byId } from './dom.js';

/** So long an answer is waited for, in milliseconds, and in how many steps: a busy page reads what came between two of them. */
const ANSWER_WITHIN = 1_000;
const STEPS = 5;

export class Departure {
  #kind = null;
  #timer = 0;
  #unanswered;

  /** Why the partner has left meanwhile, if it has. */
  left = null;

  /** `unanswered()` is called when the server does not answer in time. */
  constructor(unanswered) {
    this.#unanswered = unanswered;
  }

  /** `cancel`, `leave`, `block` or `next` until the server has answered it; null otherwise. */
  get kind() {
    return this.#kind;
  }

  /** The server is asked now. Until it answers, nothing more can be said in the chat. */
  begin(kind) {
    this.end();
    this.#kind = kind;
    this.#hold(kind !== 'cancel');
    this.#wait(1);
  }

  /** There is an answer, or no connection that one could come on. Returns what was asked. */
  end() {
    const kind = this.#kind;
    clearTimeout(this.#timer);
    [this.#kind, this.left] = [null, null];
    this.#hold(false);
    byId('leaving').hidden = true;
    return kind;
  }

  #hold(on) {
    for (const id of ['actions', 'openers', 'composer']) {
      byId(id).inert = on;
    }
  }

  #wait(step) {
    this.#timer = setTimeout(() => {
      if (step === STEPS) {
        this.#unanswered();
      } else {
        // An answer that comes at once needs no word about it.
        byId('leaving').hidden = this.#kind === 'cancel';
        this.#wait(step + 1);
      }
    }, ANSWER_WITHIN / STEPS);
  }
}
