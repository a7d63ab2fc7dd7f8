// The page while a search goes on: how long it has lasted, for which interests, and when it widens.

import { byId } from './dom.js';
import { duration, list, say, t } from './i18n.js';

const TICK = 1_000;

export class Waiting {
  #since = 0;
  #timer = 0;
  #wishes = [];
  #widens = {};

  /** How long the search has lasted, in milliseconds. */
  get waitedMs() {
    return performance.now() - this.#since;
  }

  /** When a search widens, as the server says: `languageAfterMs`, `anyoneAfterMs`. */
  set widens(widens) {
    this.#widens = widens ?? {};
  }

  /** A search for these interests begins. */
  begin(wishes) {
    this.#since = performance.now();
    this.#wishes = wishes;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#show(), TICK);
    this.#show();
  }

  /** Nothing is asked of a partner any more. */
  widen() {
    this.#wishes = [];
    this.#show();
  }

  end() {
    clearInterval(this.#timer);
  }

  #show() {
    const { languageAfterMs = Infinity, anyoneAfterMs = Infinity } = this.#widens;
    const about = byId('waiting-about');
    const waited = this.waitedMs;
    const anyone = this.#wishes.length === 0 || waited >= anyoneAfterMs;
    byId('anyone').hidden = anyone;
    if (anyone) {
      say(about, 'waiting-anyone');
    } else {
      const interests = list(this.#wishes, 'disjunction');
      say(about, waited >= languageAfterMs ? 'waiting-language' : 'waiting-interests', { interests });
    }
    const next = [languageAfterMs, anyoneAfterMs].find((at) => at > waited && at < Infinity);
    byId('waiting-widens').textContent =
      anyone || next === undefined ? '' : t('waiting-widens', { duration: duration((next - waited) / 1000) });
    byId('waiting-time').textContent = t('waiting-time', { duration: duration(waited / 1000) });
  }
}
