// What is on the screen: which part of the page, the banner above it, passing notices, and the title.

const TITLE = 'purrr';
const NOTICE_STAYS = 6_000;

let noticeTimer = 0;

export function byId(id) {
  return document.getElementById(id);
}

/** Shows one of the three parts of the page: start, waiting, chat. */
export function show(part) {
  document.body.dataset.phase = part;
  for (const section of ['start', 'waiting', 'chat']) {
    byId(section).hidden = section !== part;
  }
}

/** Says something that passes. */
export function notice(text) {
  const line = byId('notice');
  line.textContent = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => (line.textContent = ''), NOTICE_STAYS);
}

/** Says how many people are here and how long a search takes, as far as that is known, in both places where it is said. */
export function showNumbers({ online, estimateMs }) {
  let words = online === 1 ? 'You are the only one here just now.' : `${online.toLocaleString()} people are here.`;
  if (online > 1 && estimateMs !== undefined) {
    words += ` It has lately taken ${duration(estimateMs)} to find somebody.`;
  }
  for (const line of document.querySelectorAll('.online')) {
    line.textContent = words;
  }
}

function duration(milliseconds) {
  const seconds = Math.ceil(milliseconds / 1000);
  if (seconds <= 1) {
    return 'a moment';
  }
  return seconds < 90 ? `about ${seconds} seconds` : `about ${Math.round(seconds / 60)} minutes`;
}

/** The banner above everything: how the connection is. */
export class Banner {
  #timer = 0;

  constructor(retry) {
    byId('banner-retry').addEventListener('click', retry);
  }

  /** There is no connection, and the next attempt is due then. Counts down to it. */
  retrying(at) {
    this.#show('The connection is lost.');
    byId('banner-retry').hidden = false;
    const count = () => {
      const seconds = Math.max(0, Math.ceil((at - Date.now()) / 1000));
      byId('banner-countdown').textContent = seconds > 0 ? `Trying again in ${seconds} s` : 'Trying again…';
    };
    count();
    this.#timer = setInterval(count, 250);
  }

  /** Something about the server that stays for a while. */
  say(text) {
    this.#show(text);
    byId('banner-retry').hidden = true;
  }

  hide() {
    clearInterval(this.#timer);
    byId('banner').hidden = true;
    byId('banner-text').textContent = '';
  }

  #show(text) {
    clearInterval(this.#timer);
    byId('banner').hidden = false;
    byId('banner-countdown').textContent = '';
    // A screen reader repeats what is set again, even to the same.
    if (byId('banner-text').textContent !== text) {
      byId('banner-text').textContent = text;
    }
  }
}

/** Whether the person is looking, and in the title how much they have not seen. */
export class Attention {
  #unseen = 0;

  /** `looked` is called when they look again. */
  constructor(looked) {
    const look = () => {
      if (this.here) {
        this.clear();
        looked();
      }
    };
    document.addEventListener('visibilitychange', look);
    window.addEventListener('focus', look);
  }

  get here() {
    return document.visibilityState === 'visible' && document.hasFocus();
  }

  /** One more thing to look at. */
  add() {
    this.#unseen += 1;
    document.title = `(${this.#unseen}) ${TITLE}`;
  }

  /** Calls somebody who is elsewhere back. */
  announce(text) {
    document.title = `${text} · ${TITLE}`;
  }

  clear() {
    this.#unseen = 0;
    document.title = TITLE;
  }
}
