// What the person presses, on the page and on the keyboard, what goes to the clipboard, and how the page is left.

import { byId } from './dom.js';
import { say } from './i18n.js';

/**
 * `presses` has what each button does, by its id. `escape()` is called for the Escape key, `hide(hidden)` when the page is
 * hidden or seen again, and `goodbye()` when it goes away.
 */
export function beginControls(presses, { escape, hide, goodbye }) {
  for (const [id, press] of Object.entries(presses)) {
    byId(id).addEventListener('click', press);
  }
  document.addEventListener('keydown', (event) => {
    const repeated = event.isComposing || event.repeat || event.defaultPrevented;
    if (event.key === 'Escape' && !repeated && !document.querySelector('dialog[open]')) {
      event.preventDefault();
      escape();
    }
  });
  // A page that goes away is hidden as well, and some browsers say so only then.
  let going = false;
  window.addEventListener('pagehide', ({ persisted }) => {
    going = !persisted;
    goodbye();
    if (persisted) {
      hide(true);
    }
  });
  document.addEventListener('visibilitychange', () => going || hide(document.visibilityState === 'hidden'));
}

/** Has the browser ask before the page is left. Browsers ask only if a page listens, so it listens only while there is a chat. */
export function askBeforeUnload(on) {
  window[on ? 'addEventListener' : 'removeEventListener']('beforeunload', holdBack);
}

function holdBack(event) {
  event.preventDefault();
  event.returnValue = '';
}

/** For so long a button says that it has copied. */
const COPIED_FOR = 2_000;

/** Copies a text, says so on the button that was pressed, and gives it back its words. */
export async function copyText(button, label, text) {
  try {
    await navigator.clipboard.writeText(text);
    say(button, 'copied');
  } catch {
    say(button, 'copy-failed');
  }
  setTimeout(() => say(button, label), COPIED_FOR);
}

const INPUT_METHOD = 229;

/**
 * Returns true if a key belongs to an input method that is putting a character together.
 *
 * Safari ends the composition before it reports the Enter that confirmed it; only the old key code tells then.
 */
export function composing(event) {
  return event.isComposing || event.keyCode === INPUT_METHOD;
}

/** Returns true if a key would write something, here or through an input method. */
export function writes(event) {
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  return plain && ([...event.key].length === 1 || event.key === 'Process' || event.key === 'Dead');
}

export function isField(element) {
  return Boolean(element?.closest?.('input, textarea, select, [contenteditable]'));
}
