// Emoji to choose from, for keyboards that have none.

import { button, byId } from './dom.js';

const CHOICE = [
  '😀 😂 😊 😍 😘 😜 🤔 😎 😏 😴 😢 😭 😡 😱 🥳 🤗',
  '🙄 😬 🤷 🙈 👍 👎 👏 🙏 👋 💪 🤝 ✌️ 👀 ❤️ 💔 🔥',
  '✨ 🎉 🌈 ☀️ 🌧️ ❄️ 🌊 🌸 🍕 🍰 ☕ 🍵 🍺 🎵 🎮 ⚽',
  '📚 💻 🎬 ✈️ 🚲 🏠 🐱 🐈 🐾 🐶 🦊 🐻 🐧 🦋 💤 💯',
].join(' ').split(' ');
const COLUMNS = 8;

export class EmojiPicker {
  #panel = byId('emoji');
  #toggle = byId('emoji-toggle');

  /** `choose(emoji)` is called for each that is pressed. */
  constructor(choose) {
    this.#panel.append(...CHOICE.map((textContent, index) => {
      const key = button({ className: 'icon', textContent, tabIndex: index === 0 ? 0 : -1 }, () => choose(textContent));
      return key;
    }));
    this.#toggle.addEventListener('click', () => this.open(this.#panel.hidden));
    this.#panel.addEventListener('keydown', (event) => this.#key(event));
  }

  /** Opens or closes the panel. Returns true if that changed anything. */
  open(on) {
    const changed = this.#panel.hidden === on;
    this.#panel.hidden = !on;
    this.#toggle.ariaExpanded = String(on);
    if (on && changed) {
      this.#panel.firstElementChild.focus();
    }
    return changed;
  }

  /** Arrows go from one to another, so that Tab need not pass them all. */
  #key(event) {
    const right = document.documentElement.dir === 'rtl' ? -1 : 1;
    const by = { ArrowRight: right, ArrowLeft: -right, ArrowDown: COLUMNS, ArrowUp: -COLUMNS }[event.key];
    const keys = [...this.#panel.children];
    const next = keys[keys.indexOf(document.activeElement) + by];
    if (event.key === 'Escape') {
      event.stopPropagation();
      this.open(false);
      this.#toggle.focus();
    } else if (next) {
      event.preventDefault();
      document.activeElement.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  }
}
