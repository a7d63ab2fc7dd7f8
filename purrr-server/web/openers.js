// Opening lines that a visitor may tap after a match.

import { button, byId } from './dom.js';
import { t } from './i18n.js';

const OPENERS = ['opener-1', 'opener-2', 'opener-3', 'opener-4', 'opener-5', 'opener-6'];
const OFFERED = 3;

/** Offers some, in another order for each chat. `choose(text)` is called for the one that is pressed. */
export function offerOpeners(choose) {
  const offered = OPENERS.map((key) => ({ key, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .slice(0, OFFERED)
    .map(({ key }) => button({ className: 'opener', textContent: t(key) }, () => choose(t(key))));
  byId('openers').replaceChildren(...offered);
  byId('openers').hidden = false;
}
