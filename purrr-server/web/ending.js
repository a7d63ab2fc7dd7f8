// The panel below the header when a chat is over: why, and what the person can do then.

import { byId } from './dom.js';
import { say } from './i18n.js';

/** For so long after a chat has ended no press starts another: a hand may be on its way to something else. */
const ARMED_AFTER = 1_000;
const REASONS = { left: 'over-left', next: 'over-next', lost: 'over-lost', ended: 'over-ended' };

/** Returns the string that says why a partner is gone, for a reason of the protocol. */
export function whyLeft(reason) {
  return REASONS[reason] ?? REASONS.left;
}

export class Ending {
  #again = byId('again');
  #block = byId('block-last');

  /** True once the person can search again. */
  get armed() {
    return !this.#again.disabled;
  }

  /** Says why the chat is over. `blockable` tells whether the server can still block the partner. */
  say(key, values, blockable) {
    say(byId('over-title'), key, values);
    this.#block.hidden = !blockable;
  }

  /** The person comes here, unless they are writing: a press meant for something else must not search. */
  begin(writing) {
    if (!writing) {
      byId('over').focus();
    }
    this.#again.disabled = true;
    setTimeout(() => (this.#again.disabled = false), ARMED_AFTER);
  }

  /** The server knows whom the last chat was with for as long as the connection lasts, and no longer. */
  withdrawBlock() {
    if (document.activeElement === this.#block) {
      byId('over').focus();
    }
    this.#block.hidden = true;
  }
}
