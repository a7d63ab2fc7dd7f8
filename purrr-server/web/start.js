// The start of the page: the person's name, what they like to talk about, and the button that searches.

import { Chips } from './chips.js';
import { canEncrypt } from './crypto.js';
import { byId } from './dom.js';
import { say } from './i18n.js';
import { recall, remember } from './memory.js';

export class Start {
  #find = byId('find');
  #title = byId('start-title');
  #interests = new Chips(byId('chips'), byId('interest'), (items) => remember('interests', items));

  /** `find()` is called when the person wants to search. */
  constructor(find) {
    byId('name').value = recall('name', '');
    this.#interests.items = recall('interests', []);
    say(byId('privacy'), canEncrypt ? 'private' : 'not-private');
    byId('privacy').classList.toggle('warning', !canEncrypt);
    byId('start-form').addEventListener('submit', (event) => {
      event.preventDefault();
      find();
    });
  }

  get interests() {
    return this.#interests.items;
  }

  /** So many interests can be named. */
  set limit(count) {
    this.#interests.limit = count;
  }

  /** Keeps the name for the next time. */
  keepName() {
    remember('name', byId('name').value.trim());
  }

  /** A button that is disabled until the server has answered takes no focus. */
  focus() {
    (this.#find.disabled ? this.#title : this.#find).focus();
  }

  /** The search can begin, or not yet. */
  allow(on) {
    this.#find.disabled = !on;
    if (on && document.activeElement === this.#title) {
      this.#find.focus();
    }
  }
}
