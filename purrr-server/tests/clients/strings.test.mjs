// The page's words: every language says everything, and nothing is said but what a table says.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

const WEB = new URL('../../web/', import.meta.url);
const LANGUAGES = ['ar', 'de', 'en', 'es', 'fr', 'hi', 'ja', 'pt', 'ru', 'zh'];
/** Keys that the code puts together from a part and a name. */
const BUILT = [
  /^opener-\d$/,
  /^state-/,
  /^refused-(rate-limited|too-long|too-large|overloaded|unsupported-by-partner|unsupported-type)$/,
  /^report-(spam|harassment|sexual|minor|other)$/,
];

const read = (name) => readFileSync(new URL(name, WEB), 'utf8');
const table = (language) => JSON.parse(read(`strings/${language}.json`));
const scripts = readdirSync(WEB).filter((name) => name.endsWith('.js'));
const code = scripts.map(read).join('\n');
const withoutValues = code.replace(/\$\{[^}]*\}/g, '');
const markup = read('index.html');
const forms = (entry) => (typeof entry === 'string' ? { other: entry } : entry);
const placeholders = (text) => [...text.matchAll(/\{\w+\}/g)].map(([name]) => name).sort();

test('tables_of_all_languages_have_the_same_strings', () => {
  assert.deepEqual(readdirSync(new URL('strings/', WEB)).sort(), LANGUAGES.map((language) => `${language}.json`));
  const english = table('en');
  for (const language of LANGUAGES) {
    const words = table(language);
    assert.deepEqual(Object.keys(words).sort(), Object.keys(english).sort(), language);
    for (const [key, entry] of Object.entries(words)) {
      assert.equal(typeof entry, typeof english[key], `${language}: ${key}`);
      const wanted = placeholders(forms(english[key]).other);
      for (const [form, text] of Object.entries(forms(entry))) {
        assert.ok(text.trim() !== '', `${language}: ${key} says something`);
        // A form for none, one or two needs no number.
        const found = placeholders(text);
        assert.deepEqual(form === 'other' || found.length > 0 ? found : wanted, wanted, `${language}: ${key}`);
      }
    }
  }
});

test('plural_strings_have_every_form_of_their_language', () => {
  for (const language of LANGUAGES) {
    const { pluralCategories } = new Intl.PluralRules(language).resolvedOptions();
    for (const [key, entry] of Object.entries(table(language))) {
      if (typeof entry !== 'string') {
        assert.deepEqual(Object.keys(entry).sort(), [...pluralCategories].sort(), `${language}: ${key}`);
      }
    }
  }
});

test('strings_are_translated', () => {
  const english = table('en');
  // A name alone, and words that are the same in several languages.
  const same = ['partner', 'partner-said', 'emoji', 'message', 'messages', 'optional', 'call-camera', 'call-camera-on', 'picture'];
  for (const language of LANGUAGES.filter((language) => language !== 'en')) {
    const left = Object.entries(table(language)).filter(([key, text]) => text === english[key] && !same.includes(key));
    // One word may well be spelled alike.
    assert.ok(left.length <= 4, `${language} has English in it: ${left.map(([key]) => key)}`);
  }
});

test('strings_that_are_said_are_in_the_table_and_the_others_are_not', () => {
  const keys = Object.keys(table('en'));
  const named = [...markup.matchAll(/data-t(?:-label|-title|-placeholder)?="([^"]+)"/g)].map(([, key]) => key);
  for (const key of named) {
    assert.ok(keys.includes(key), `index.html names ${key}, which no table has`);
  }
  for (const [, key] of code.matchAll(/\b(?:t|notice|note)\('([a-z0-9-]+)'/g)) {
    assert.ok(keys.includes(key), `the code says ${key}, which no table has`);
  }
  for (const [, key] of code.matchAll(/\bsay\([^,]+, '([a-z0-9-]+)'/g)) {
    assert.ok(keys.includes(key), `the code says ${key}, which no table has`);
  }
  const unused = keys.filter(
    (key) => !named.includes(key) && !code.includes(`'${key}'`) && !BUILT.some((pattern) => pattern.test(key)),
  );
  assert.deepEqual(unused, [], 'nothing says these');
});

test('no_words_are_left_in_the_code', () => {
  const body = markup.slice(markup.indexOf('<body'));
  const texts = body
    .replace(/<noscript>.*?<\/noscript>/gs, '')
    .replace(/<svg.*?<\/svg>/gs, '')
    .split(/<[^>]*>/)
    .map((text) => text.trim())
    .filter((text) => /\p{L}{2}/u.test(text));
  assert.deepEqual(texts, ['purrr']);
  assert.doesNotMatch(body, /\s(?:aria-label|title|placeholder|alt)="[^"]/);
  // What is put on the page, and holds a letter of any word.
  const said = /(?:textContent|innerText|ariaLabel|title|placeholder|alt)(?::| =) ['"`][^'"`]*\p{L}{2}/gu;
  assert.deepEqual([...withoutValues.matchAll(said)].map(([text]) => text), []);
  assert.doesNotMatch(code, /innerHTML|insertAdjacentHTML|document\.write|outerHTML/);
});
