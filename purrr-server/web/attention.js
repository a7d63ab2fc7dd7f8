// Calls back a person who looks elsewhere: by the title and the icon always, by a sound and a notification if enabled.

import { t } from './i18n.js';
import { recall } from './memory.js';

const NOTES = [660, 880];
const NOTE_SECONDS = 0.12;

let audio = null;

export class Attention {
  #title;
  #unseen = 0;
  #icon = document.querySelector('link[rel=icon]');
  #plainIcon = this.#icon.href;
  #notification = null;

  /** `looked` is called when the person looks again. */
  constructor(title, looked) {
    this.#title = title;
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

  /** One more message to look at, from a partner of this name. */
  add(name) {
    this.#unseen += 1;
    document.title = `(${this.#unseen}) ${this.#title}`;
    navigator.setAppBadge?.(this.#unseen).catch(() => {});
    this.#mark();
    this.#call('notify-message', { name });
  }

  /** Something has happened that a person who looks elsewhere may want to come back for. */
  announce(key, values) {
    if (this.here) {
      return;
    }
    document.title = `${t(key, values)} · ${this.#title}`;
    this.#mark();
    this.#call(key, values);
  }

  clear() {
    this.#unseen = 0;
    document.title = this.#title;
    navigator.clearAppBadge?.().catch(() => {});
    this.#icon.href = this.#plainIcon;
    this.#notification?.close();
    this.#notification = null;
  }

  #mark() {
    this.#icon.href = this.#plainIcon.replace('favicon.svg', 'favicon-new.svg');
  }

  /** Names the partner, and never the text: bystanders can read a notification. */
  #call(key, values) {
    if (recall('sound', false)) {
      playSound();
    }
    if (recall('notifications', false) && globalThis.Notification?.permission === 'granted') {
      this.#notify(t(key, values));
    }
  }

  async #notify(text) {
    const options = { tag: 'purrr', icon: this.#plainIcon };
    try {
      this.#notification = new Notification(text, options);
      this.#notification.addEventListener('click', () => window.focus());
    } catch {
      // Phones let only a service worker notify.
      const worker = await navigator.serviceWorker?.getRegistration();
      await worker?.showNotification(text, options).catch(() => {});
    }
  }
}

/** Plays two short notes. A browser allows it once the person has pressed anything on the page. */
export function playSound() {
  audio ??= new AudioContext();
  NOTES.forEach((frequency, index) => {
    const [oscillator, volume] = [audio.createOscillator(), audio.createGain()];
    const start = audio.currentTime + index * NOTE_SECONDS;
    oscillator.frequency.value = frequency;
    volume.gain.setValueAtTime(0.08, start);
    volume.gain.exponentialRampToValueAtTime(0.001, start + NOTE_SECONDS);
    oscillator.connect(volume).connect(audio.destination);
    oscillator.start(start);
    oscillator.stop(start + NOTE_SECONDS);
  });
}
