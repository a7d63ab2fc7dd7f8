// Text for the clipboard.

import { say } from './i18n.js';

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
