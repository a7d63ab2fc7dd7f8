// The page before a chat: what the operator says, the person's name, interests and settings, and the wait for a partner.

import { playSound } from './attention.js';
import { composing } from './controls.js';
import { canEncrypt } from './crypto.js';
import { byId, element } from './dom.js';
import { LANGUAGES, duration, language, list, say, t } from './i18n.js';
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

/** What stands between two things, in any script. */
const SEPARATORS = /[,，、،;；\n]+/u;

/** What Unicode shows as nothing, and control characters that are no white space. */
const INVISIBLE = /(?![\t-\r\u0085])[\p{Default_Ignorable_Code_Point}\p{Cc}]/gu;

/**
 * The form in which the server compares interests: NFKC, case folded, white space collapsed, without invisible characters and
 * leading `#`. JavaScript cannot fold case. To upper and then to lower case does the same, but for the dotless i.
 */
export function normalForm(text) {
  const folded = text
    .normalize('NFKC')
    .replace(/[^ı]+/gu, (part) => part.toUpperCase().toLowerCase())
    .replaceAll('ς', 'σ')
    .replace(INVISIBLE, '')
    .normalize('NFKC');
  return folded.replace(/^[#\s]+/u, '').trim().replace(/\s+/gu, ' ');
}

export class Chips {
  #list;
  #input;
  #items = [];
  #changed;

  /** The most things it takes; the server says how many. */
  limit = Infinity;

  constructor(list, input, changed) {
    this.#list = list;
    this.#input = input;
    this.#changed = changed;
    input.addEventListener('keydown', (event) => {
      if (composing(event)) {
        return;
      }
      if (event.key === 'Enter' && input.value.trim()) {
        // In an empty field Enter sends the form, as everywhere.
        event.preventDefault();
        this.#takeTyped();
      } else if (event.key === 'Backspace' && input.value === '') {
        this.#remove(this.#items.at(-1));
      }
    });
    input.addEventListener('input', (event) => {
      // While a syllable is being put together, the field belongs to the input method.
      if (!event.isComposing && SEPARATORS.test(input.value)) {
        this.#takeTyped();
      }
    });
    input.addEventListener('compositionend', () => SEPARATORS.test(input.value) && this.#takeTyped());
    input.addEventListener('blur', () => this.#takeTyped());
    list.parentElement.addEventListener('click', (event) => event.target === list.parentElement && input.focus());
  }

  /** What is in it, with what stands in the field but was not confirmed. */
  get items() {
    this.#takeTyped();
    return this.#items.slice(0, this.limit);
  }

  set items(items) {
    this.#items = [...new Set(items.map(normalForm))].filter(Boolean);
    this.#show();
  }

  #takeTyped() {
    const typed = this.#input.value.split(SEPARATORS).map(normalForm);
    this.#input.value = '';
    const all = new Set([...this.#items, ...typed.filter(Boolean)]);
    if (all.size > this.#items.length) {
      this.#items = [...all].slice(0, this.limit);
      this.#show();
    }
  }

  #remove(item) {
    this.#items = this.#items.filter((other) => other !== item);
    this.#show();
    this.#input.focus();
  }

  #show() {
    this.#list.replaceChildren(...this.#items.map((item) => this.#chip(item)));
    this.#changed(this.#items);
  }

  #chip(item) {
    const chip = document.createElement('li');
    const word = Object.assign(document.createElement('bdi'), { textContent: item });
    const button = Object.assign(document.createElement('button'), {
      type: 'button',
      ariaLabel: t('interest-remove', { interest: item }),
      textContent: '✕',
    });
    button.addEventListener('click', () => this.#remove(item));
    chip.append(word, button);
    return chip;
  }
}

const TICK = 1_000;

export class Waiting {
  #since = 0;
  #timer = 0;
  #wishes = [];
  #widens = {};

  /** How long the search has lasted, in milliseconds. */
  get waitedMs() {
    return performance.now() - this.#since;
  }

  /** When a search widens, as the server says: `languageAfterMs`, `anyoneAfterMs`. */
  set widens(widens) {
    this.#widens = widens ?? {};
  }

  /** A search for these interests begins. */
  begin(wishes) {
    this.#since = performance.now();
    this.#wishes = wishes;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#show(), TICK);
    this.#show();
  }

  /** Nothing is asked of a partner any more. */
  widen() {
    this.#wishes = [];
    this.#show();
  }

  end() {
    clearInterval(this.#timer);
  }

  #show() {
    const { languageAfterMs = Infinity, anyoneAfterMs = Infinity } = this.#widens;
    const about = byId('waiting-about');
    const waited = this.waitedMs;
    const anyone = this.#wishes.length === 0 || waited >= anyoneAfterMs;
    byId('anyone').hidden = anyone;
    if (anyone) {
      say(about, 'waiting-anyone');
    } else {
      const interests = list(this.#wishes, 'disjunction');
      say(about, waited >= languageAfterMs ? 'waiting-language' : 'waiting-interests', { interests });
    }
    const next = [languageAfterMs, anyoneAfterMs].find((at) => at > waited && at < Infinity);
    byId('waiting-widens').textContent =
      anyone || next === undefined ? '' : t('waiting-widens', { duration: duration((next - waited) / 1000) });
    byId('waiting-time').textContent = t('waiting-time', { duration: duration(waited / 1000) });
  }
}

export function beginSettings() {
  const dialog = byId('settings');
  for (const opener of document.querySelectorAll('[data-opens=settings]')) {
    opener.addEventListener('click', () => dialog.showModal());
  }
  byId('settings-close').addEventListener('click', () => dialog.close());
  chooseLanguage();
  chooseTheme();
  chooseSound();
  chooseNotifications();
}

function chooseLanguage() {
  const select = byId('language');
  for (const [value, textContent] of Object.entries(LANGUAGES)) {
    select.append(element('option', { value, textContent, lang: value }));
  }
  select.value = language;
  select.addEventListener('change', () => {
    remember('language', select.value);
    location.reload();
  });
}

function chooseTheme() {
  const select = byId('theme');
  select.value = recall('theme', 'system');
  select.addEventListener('change', () => {
    remember('theme', select.value);
    document.documentElement.dataset.theme = select.value;
  });
}

function chooseSound() {
  const box = byId('sound');
  box.checked = recall('sound', false);
  box.addEventListener('change', () => {
    remember('sound', box.checked);
    if (box.checked) {
      playSound();
    }
  });
}

function chooseNotifications() {
  const box = byId('notifications');
  const possible = 'Notification' in globalThis;
  byId('notifications-row').hidden = !possible;
  box.checked = possible && Notification.permission === 'granted' && recall('notifications', false);
  box.addEventListener('change', async () => {
    const allowed = box.checked && (await Notification.requestPermission()) === 'granted';
    byId('notifications-refused').hidden = !box.checked || allowed;
    box.checked = allowed;
    remember('notifications', allowed);
  });
}
