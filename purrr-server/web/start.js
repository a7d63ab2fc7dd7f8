// The start page: what the operator says, and the person's name and interests.

import { Chips } from './chips.js';
import { canEncrypt } from './crypto.js';
import { byId, element } from './dom.js';
import { say, t } from './i18n.js';
import { recall, remember } from './memory.js';

const DEFAULT_TITLE = 'purrr';
const LINKS = [['termsUrl', 'link-terms'], ['privacyUrl', 'link-privacy'], ['contactUrl', 'link-contact']];

const site = read();

export const title = site.title || DEFAULT_TITLE;

/** Shows it on the start page. */
export function showSite() {
  document.title = title;
  byId('start-title').textContent = title;
  byId('site-notice').textContent = site.notice ?? '';
  byId('site-notice').hidden = !site.notice;
  if (site.minimumAge) {
    say(byId('age'), 'minimum-age', { age: site.minimumAge });
  }
  byId('age').hidden = !site.minimumAge;
  const links = LINKS.filter(([field]) => site[field]).map(([field, key]) =>
    element('a', { href: site[field], target: '_blank', rel: 'noopener', textContent: t(key) }),
  );
  byId('site-links').append(...links);
}

function read() {
  try {
    return JSON.parse(document.querySelector('meta[name=purrr-site]').content);
  } catch {
    return {};
  }
}

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
