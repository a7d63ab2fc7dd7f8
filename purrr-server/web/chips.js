// A field for several short things, such as interests.

import { composing } from './controls.js';
import { t } from './i18n.js';

/** What stands between two things, in any script. */
const SEPARATORS = /[,，、،;；\n]+/u;

/** What Unicode shows as nothing, and control characters that are no white space. */
const INVISIBLE = /(?![\t-\r\u0085])[\p{Default_Ignorable_Code_Point}\p{Cc}]/gu;

/**
 * The form in which the server compares interests: NFKC, case folded, white space collapsed, without invisible characters and
 * leading `#`.
 */
export function normalForm(text) {
  const folded = fold(fold(text.normalize('NFD')).normalize('NFKD')).normalize('NFKC');
  const shown = folded.replace(INVISIBLE, '').normalize('NFKC');
  return shown.replace(/[\s\u0085]+/gu, ' ').replace(/^[# ]+/u, '').trim();
}

/**
 * Folds case, which JavaScript cannot. To lower, upper and lower case does the same, but for the dotless i, the sigma at the end
 * of a word, and Cherokee, which folds to upper case.
 */
function fold(text) {
  return text
    .replace(/[^ı]+/gu, (part) => part.toLowerCase().toUpperCase().toLowerCase())
    .replaceAll('ς', 'σ')
    .replace(/\p{Script=Cherokee}+/gu, (part) => part.toUpperCase());
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
