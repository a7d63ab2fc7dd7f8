// What the person presses, on the page and on the keyboard, and how the page is left.

import { byId } from './dom.js';

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
