// The page's words: one JSON table for each language, plural forms by Intl.PluralRules, and names kept apart from the
// sentences they stand in.

import { recall } from './memory.js';

/** The languages there are a table for, each in its own name. */
export const LANGUAGES = {
  en: 'English',
  de: 'Deutsch',
  fr: 'Français',
  es: 'Español',
  pt: 'Português',
  ru: 'Русский',
  ar: 'العربية',
  hi: 'हिन्दी',
  ja: '日本語',
  zh: '中文',
};

const RIGHT_TO_LEFT = ['ar'];
const PLACEHOLDER = /\{(\w+)\}/;
/** A value that cannot turn the direction of the words around it. */
const ASCII = /^[\x20-\x7e]*$/;

export const language = choose([recall('language', ''), ...navigator.languages]);
const table = await load();
const plurals = new Intl.PluralRules(language);
const numbers = new Intl.NumberFormat(language);
const clock = new Intl.DateTimeFormat(language, { timeStyle: 'short' });

/** Returns the first wanted language that has a table, by its primary subtag. */
export function choose(wanted) {
  const primary = wanted.map((tag) => tag.split('-')[0].toLowerCase());
  return primary.find((tag) => tag in LANGUAGES) ?? 'en';
}

async function load() {
  const response = await fetch(new URL(`strings/${language}.json`, import.meta.url));
  return response.json();
}

/** Returns a string of the page's language, for attributes, titles and notifications. */
export function t(key, values = {}) {
  return pieces(key, values)
    .map(({ text, value }) => (value === undefined ? text : isolated(value)))
    .join('');
}

/** Puts a string of the page's language into an element. Each value gets an element that isolates its direction. */
export function say(element, key, values = {}) {
  element.replaceChildren(
    ...pieces(key, values).map(({ text, value }) =>
      value === undefined || value === '' ? (text ?? '') : Object.assign(document.createElement('bdi'), { textContent: value }),
    ),
  );
}

/** Fills in the words of every element below `root` that names a string. */
export function translate(root) {
  document.documentElement.lang = language;
  document.documentElement.dir = RIGHT_TO_LEFT.includes(language) ? 'rtl' : 'ltr';
  for (const element of root.querySelectorAll('[data-t]')) {
    element.textContent = t(element.dataset.t);
  }
  for (const element of root.querySelectorAll('[data-t-label]')) {
    element.ariaLabel = t(element.dataset.tLabel);
  }
  for (const element of root.querySelectorAll('[data-t-title]')) {
    element.title = t(element.dataset.tTitle);
  }
  for (const element of root.querySelectorAll('[data-t-placeholder]')) {
    element.placeholder = t(element.dataset.tPlaceholder);
  }
}

export function number(value) {
  return numbers.format(value);
}

/** Returns the time of day as this language writes it. */
export function timeOfDay(date) {
  return clock.format(date);
}

export function list(items, type = 'conjunction') {
  return new Intl.ListFormat(language, { type }).format(items);
}

/** So many seconds in words, in the unit that suits. */
export function duration(seconds) {
  const [value, unit] = seconds < 90 ? [Math.max(1, Math.ceil(seconds)), 'second'] : [Math.round(seconds / 60), 'minute'];
  return new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'long' }).format(value);
}

/** Returns the text and the values of a string, in order. A number under `count` chooses the plural form. */
function pieces(key, values) {
  const entry = table[key] ?? key;
  const text = typeof entry === 'string' ? entry : (entry[plurals.select(values.count)] ?? entry.other);
  return text.split(/(\{\w+\})/).filter(Boolean).map((piece) => {
    const name = PLACEHOLDER.exec(piece)?.[1];
    if (name === undefined) {
      return { text: piece };
    }
    const value = values[name] ?? '';
    return { value: typeof value === 'number' ? number(value) : String(value) };
  });
}

function isolated(value) {
  return ASCII.test(value) ? value : `\u2068${value}\u2069`;
}
