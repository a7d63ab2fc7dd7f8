// The question below a chat: whether to leave it, to move on, or to block the partner.

import { byId } from './dom.js';
import { say } from './i18n.js';

/** What each question is called, and what its main button does. */
const QUESTIONS = {
  leave: { question: 'ask-leave', help: 'ask-leave-help', confirm: 'leave' },
  next: { question: 'ask-next', help: 'ask-next-help', confirm: 'next' },
  block: { question: 'ask-block', help: 'ask-block-help', confirm: 'block' },
};

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
