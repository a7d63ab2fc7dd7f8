// How a chat ends: the question whether to leave it, the server's answer to that, and the panel that says why it is over.

import { byId } from './dom.js';
import { say } from './i18n.js';
import { keep } from './memory.js';

/** What each question is called, and what its main button does. */
const QUESTIONS = {
  leave: { question: 'ask-leave', help: 'ask-leave-help', confirm: 'leave' },
  next: { question: 'ask-next', help: 'ask-next-help', confirm: 'next' },
  block: { question: 'ask-block', help: 'ask-block-help', confirm: 'block' },
};

/** The question below a chat: whether to leave it, to move on, or to block the partner. */
export class Question {
  #panel = byId('ask');
  #asked = null;

  /** `answers` has what to do for `leave`, `next` and `block`; `stayed` is called when the person stays. */
  constructor(answers, stayed) {
    byId('stay').addEventListener('click', () => {
      this.close();
      stayed();
    });
    byId('really-leave').addEventListener('click', () => answers[this.#asked]());
    byId('block').addEventListener('click', () => answers.block());
  }

  get open() {
    return !this.#panel.hidden;
  }

  /** What is asked: `leave`, `next` or `block`; null if nothing is. */
  get asked() {
    return this.open ? this.#asked : null;
  }

  ask(what, name) {
    this.#asked = what;
    const { question, help, confirm } = QUESTIONS[what];
    say(byId('ask-title'), question, { name });
    say(byId('ask-help-text'), help, { name });
    say(byId('really-leave'), confirm);
    byId('ask-keys').hidden = what !== 'leave';
    byId('block').hidden = what === 'block';
    this.#panel.hidden = false;
    byId('stay').focus();
  }

  close() {
    this.#panel.hidden = true;
  }
}

/** So long an answer is waited for, in milliseconds, and in how many steps: a busy page reads what came between two of them. */
const ANSWER_WITHIN = 1_000;
const STEPS = 5;

/**
 * What the person has asked the server to end: a search, or a chat. It has ended once the server says so. A server, or a line to
 * it, that does not answer in time is given up, for nothing may keep a person who wants to go.
 */
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

/** What the server is to hear about a chat that was left without a connection, once there is one. A reload does not lose it. */
export class Parting {
  #left;
  #send;
  #answered;
  /** How many answers are due on this connection: each claim of the session is followed by the same command. */
  #due = 0;

  /** `left` is of before a reload, or null. `answered(left, done)` is called once the server has done it, or cannot. */
  constructor(left, send, answered) {
    [this.#left, this.#send, this.#answered] = [left, send, answered];
  }

  /** The chat that the server should find again; undefined if there is none to leave. */
  get position() {
    return this.#left?.position;
  }

  /** True while a partner is not blocked yet whom the person has blocked. */
  get blocks() {
    return this.#left?.type === 'block';
  }

  /** `left` has the `position` in the chat, the `type` of the command, and the partner's `name`. */
  begin(left) {
    this.#left = left;
    keep({ parting: left });
  }

  tell() {
    if (this.#left) {
      this.#due += 1;
      this.#send({ type: this.#left.type });
    }
  }

  /** The chat is left, or the server knows of none. Only the last answer due is about the right session. */
  answer(done) {
    const left = this.#left;
    if (left && this.#due > 0 && (this.#due -= 1) === 0) {
      this.forget();
      this.#answered(left, done);
    }
  }

  /** The connection is lost, and with it the answers. */
  lost() {
    this.#due = 0;
  }

  forget() {
    this.#due = 0;
    if (this.#left) {
      this.begin(null);
    }
  }
}

/** For so long after a chat has ended no press starts another: a hand may be on its way to something else. */
const ARMED_AFTER = 1_000;
const REASONS = { left: 'over-left', next: 'over-next', lost: 'over-lost', ended: 'over-ended' };

/** Returns the string that says why a partner is gone, for a reason of the protocol. */
export function whyLeft(reason) {
  return REASONS[reason] ?? REASONS.left;
}

/** The panel below the header when a chat is over: why, and what the person can do then. */
export class Ending {
  #again = byId('again');
  #block = byId('block-last');

  /** True once the person can search again. */
  get armed() {
    return !this.#again.disabled;
  }

  /** Says why the chat is over. `blockable` tells whether the server can still block the partner. */
  say(key, values, blockable) {
    say(byId('over-title'), key, values);
    this.#block.hidden = !blockable;
  }

  /** The person comes here, unless they are writing: a press meant for something else must not search. */
  begin(writing) {
    if (!writing) {
      byId('over').focus();
    }
    this.#again.disabled = true;
    setTimeout(() => (this.#again.disabled = false), ARMED_AFTER);
  }

  /** The server knows whom the last chat was with for as long as the connection lasts, and no longer. */
  withdrawBlock() {
    if (document.activeElement === this.#block) {
      byId('over').focus();
    }
    this.#block.hidden = true;
  }
}
