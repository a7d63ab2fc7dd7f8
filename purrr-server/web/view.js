// What is on the screen: which part of the page, the banner above it, notices, how many people are here, and opening lines.

import { button, byId } from './dom.js';
import { duration, say, t } from './i18n.js';

/** How many are here is said for no longer than it can be believed. */
const CENSUS_HOLDS = 60_000;
/** With fewer here than this, one blocked partner among them makes a difference. */
const FEW = 10;

let censusTimer = 0;
let estimateTimer = 0;
let blocked = 0;

/** Shows one of the three parts of the page: start, waiting, chat. */
export function show(part) {
  document.body.dataset.phase = part;
  for (const section of ['start', 'waiting', 'chat']) {
    byId(section).hidden = section !== part;
  }
}

/** Says who the partner of a chat is, and how private it is. */
export function showPartner({ name, encrypted }) {
  say(byId('partner'), 'partner', { name });
  say(byId('typing-text'), 'typing', { name });
  byId('safety').open = false;
  byId('safety').classList.toggle('bare', !encrypted);
  say(byId('safety-summary'), encrypted ? 'encrypted' : 'not-encrypted');
  byId('safety-code').textContent = '';
  say(byId('safety-text'), encrypted ? 'safety' : 'no-safety');
}

/** Says that the connection of a partner of this name dropped, or with null that it did not. */
export function showAway(name) {
  byId('away').hidden = name === null;
  say(byId('away-text'), name === null ? '' : 'partner-away', { name });
}

/** Says something that went wrong, until its cause is gone. It takes room of its own and covers nothing. */
export function notice(key, values) {
  say(byId('notice-text'), key, values);
  byId('notice').hidden = false;
}

export function clearNotice() {
  byId('notice').hidden = true;
  byId('notice-text').textContent = '';
}

byId('notice-close').addEventListener('click', clearNotice);

/** Says how many people are here and how long a search takes, as far as that is known, in both places where it is said. */
export function showNumbers({ online, estimateMs }, waitedMs = 0) {
  hideNumbers();
  if (blocked > 0 && online < FEW) {
    return;
  }
  const count = online === 1 ? t('online-alone') : t('online', { count: online });
  const left = online > 1 ? (estimateMs ?? 0) - waitedMs : 0;
  if (left > 0) {
    setNumbers(`${count} ${t('estimate', { duration: duration(estimateMs / 1000) })}`);
    // An estimate that has passed was wrong.
    estimateTimer = setTimeout(() => setNumbers(count), left);
  } else {
    setNumbers(count);
  }
  censusTimer = setTimeout(hideNumbers, CENSUS_HOLDS);
}

/** One more partner is blocked. Whether that partner is among the few who are here is not known, so no number is said then. */
export function countBlocked() {
  blocked += 1;
  hideNumbers();
}

/** Without a connection no number is known. */
export function hideNumbers() {
  clearTimeout(censusTimer);
  clearTimeout(estimateTimer);
  setNumbers('');
}

function setNumbers(words) {
  for (const line of document.querySelectorAll('.online')) {
    line.textContent = words;
  }
}

/** A connection that comes back sooner needs no word about it in a chat. */
const DROPPED_AFTER = 1_500;

/** The banner above everything: how the connection is. */
export class Banner {
  #timer = 0;
  #delay = 0;
  #retryAt = 0;
  #full = false;

  constructor(retry) {
    byId('banner-retry').addEventListener('click', retry);
  }

  /** There is no connection, and the next attempt is due then. Counts down to it. A chat is held meanwhile. */
  retrying(at, inChat) {
    this.#retryAt = at;
    if (inChat && byId('banner').hidden) {
      this.#delay ||= setTimeout(() => this.#count('banner-reconnecting'), DROPPED_AFTER);
    } else {
      this.#count(this.#full ? 'banner-full' : inChat ? 'banner-reconnecting' : navigator.onLine ? 'banner-lost' : 'offline');
    }
  }

  #count(key) {
    this.#show(key);
    byId('banner-retry').hidden = false;
    const count = () => {
      const seconds = Math.max(0, Math.ceil((this.#retryAt - Date.now()) / 1000));
      byId('banner-countdown').textContent = seconds > 0 ? t('banner-countdown', { seconds }) : t('banner-retrying');
    };
    count();
    this.#timer = setInterval(count, 250);
  }

  /** There is no connection because the server has no room. */
  full() {
    this.#full = true;
    say(byId('banner-text'), 'banner-full');
  }

  /** Says something about the connection that stays for a while, perhaps until a new one is asked for. */
  say(key, retry = false) {
    this.#show(key);
    byId('banner-retry').hidden = !retry;
  }

  hide() {
    this.#full = false;
    this.#stop();
    byId('banner').hidden = true;
    byId('banner-text').textContent = '';
  }

  #stop() {
    clearInterval(this.#timer);
    clearTimeout(this.#delay);
    this.#delay = 0;
  }

  #show(key) {
    this.#stop();
    byId('banner').hidden = false;
    byId('banner-countdown').textContent = '';
    const words = t(key);
    // A screen reader repeats what is set again, even to the same.
    if (byId('banner-text').textContent !== words) {
      byId('banner-text').textContent = words;
    }
  }
}

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
