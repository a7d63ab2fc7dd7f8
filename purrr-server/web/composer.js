// Where a message is made: its words and emoji, the pictures with it, and the message that it answers.

import { Attachments } from './attachments.js';
import { composing, isField, writes } from './controls.js';
import { button, byId } from './dom.js';
import { inBrief } from './message.js';

/** Taller than this, in pixels, the field scrolls instead of growing. */
const TALLEST = 160;
/** The browser itself makes the field as tall as its text. Measuring it forces two layouts a key, which starves what comes in. */
const GROWS = CSS.supports('field-sizing', 'content');

export class Composer {
  #form = byId('composer');
  #text = byId('text');
  #answered = null;
  /** What was written and not sent in the last chat. */
  #draft = '';
  /** `hidden`, `open`, or `closed`: the chat is over, and what was written can still be copied. */
  #state = 'hidden';
  #handlers;
  #transcript;
  #attachments;
  #emoji;

  /**
   * `handlers.say(text, answered)` and `handlers.show(picture, answered)` send, and `handlers.typing(on)` hears of typing.
   * `handlers.fits(text)`, `handlers.hasRoom()` and `handlers.pictureBytes()` know how much can be sent at once. `handlers.complain(key, values)`
   * says what went wrong, and `handlers.calm()` that it is being put right.
   */
  constructor(transcript, handlers) {
    this.#transcript = transcript;
    this.#handlers = handlers;
    this.#attachments = new Attachments({
      usable: () => this.#state === 'open' && !byId('chat').hidden,
      maxBytes: handlers.pictureBytes,
      complain: handlers.complain,
      insert: (text) => this.#insert(text),
      chosen: () => this.#text.focus(),
    });
    this.#emoji = new EmojiPicker((emoji) => this.#insert(emoji));
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#text.addEventListener('keydown', (event) => this.#key(event));
    this.#text.addEventListener('input', () => this.#changed());
    this.#text.addEventListener('blur', () => handlers.typing(false));
    byId('reply-cancel').addEventListener('click', () => this.answer(null));
    byId('draft-use').addEventListener('click', () => this.#useDraft());
    byId('draft-drop').addEventListener('click', () => this.#dropDraft());
    byId('draft-copy').addEventListener('click', () => this.#copyDraft());
    this.#takeKeys();
  }

  /** Opens it, empty, for a new chat. */
  open() {
    this.#set('open');
    this.#empty();
    byId('draft').hidden = this.#draft === '';
    byId('draft-text').textContent = this.#draft;
  }

  /** The chat is over. What was written stays where it is, to be copied. */
  close() {
    const written = this.#text.value;
    this.#attachments.clear();
    this.answer(null);
    this.#set('closed');
    this.#form.classList.toggle('empty', written.trim() === '');
    if (written.trim()) {
      this.#draft = written;
    }
    // The button to copy it takes room beside it.
    this.#grow();
  }

  hide() {
    this.#set('hidden');
    this.#empty();
  }

  /** True if there is something written that was not sent, and the person is at it. */
  get busy() {
    return this.#text.value.trim() !== '' && document.activeElement === this.#text;
  }

  /** Brings up the keyboard of a phone only when the person asks for it. */
  focus({ asked = false } = {}) {
    if (asked || matchMedia('(pointer: fine)').matches) {
      this.#text.focus();
    } else {
      byId('partner').focus();
    }
  }

  /** What is said next will be an answer to this message. */
  answer(message) {
    this.#answered = message;
    byId('replying').hidden = !message;
    byId('replying-text').textContent = message ? inBrief(message) : '';
    this.#transcript.mark(message);
  }

  /** Gives up what is being made, one thing at a time. Returns false if there was nothing. */
  giveUp() {
    if (this.#emoji.open(false)) {
      return true;
    }
    if (this.#answered) {
      this.answer(null);
      return true;
    }
    return this.#attachments.clear();
  }

  #set(state) {
    this.#state = state;
    this.#form.hidden = state === 'hidden';
    this.#form.classList.toggle('closed', state === 'closed');
    this.#text.readOnly = state === 'closed';
    for (const id of ['send', 'attach', 'camera', 'emoji-toggle']) {
      byId(id).disabled = state === 'closed';
    }
    byId('draft').hidden = true;
    byId('draft-copy').hidden = state !== 'closed';
    this.#form.classList.remove('empty');
    this.#emoji.open(false);
  }

  #empty() {
    this.#text.value = '';
    this.#grow();
    this.#attachments.clear();
    this.answer(null);
  }

  #key(event) {
    // While a syllable is being put together, Enter belongs to the input method.
    if (composing(event)) {
      return;
    }
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      this.#submit();
    } else if ((event.key === 'ArrowUp' || event.key === 'ArrowDown') && this.#text.value === '') {
      event.preventDefault();
      this.#step(event.key === 'ArrowUp' ? -1 : 1);
    }
  }

  /** What is typed where there is no field goes into this one. */
  #takeKeys() {
    let pointed = false;
    document.addEventListener('pointerdown', () => (pointed = true));
    document.addEventListener('keydown', (event) => {
      const { target } = event;
      const elsewhere = isField(target) || document.querySelector('dialog[open]') || target.closest?.('#ask, #emoji, .quick');
      if (event.key === 'Tab') {
        pointed = false;
      }
      // A button that was reached by keyboard is pressed with the space bar.
      const presses = event.key === ' ' && target.closest?.('button, summary, a') && !pointed;
      if (this.#state === 'open' && writes(event) && !elsewhere && !presses) {
        this.#text.focus();
      }
    });
  }

  /** Goes from message to message, to answer one. Past the newest there is none. */
  #step(by) {
    const messages = this.#transcript.answerable;
    const at = this.#answered ? messages.indexOf(this.#answered) : messages.length;
    this.answer(messages[Math.max(0, at + by)] ?? null);
  }

  #submit() {
    const text = this.#text.value.trim();
    let answered = this.#answered ?? undefined;
    if (this.#state !== 'open') {
      return;
    }
    if (text && !this.#handlers.fits(text)) {
      this.#handlers.complain('text-too-long');
      return;
    }
    if (!this.#handlers.hasRoom()) {
      this.#handlers.complain('search-too-fast');
      return;
    }
    for (const picture of this.#attachments.take()) {
      this.#handlers.show(picture, answered);
      answered = undefined;
    }
    if (text) {
      this.#handlers.say(text, answered);
    }
    this.#empty();
    this.#emoji.open(false);
    this.#text.focus();
  }

  #changed() {
    this.#grow();
    this.#handlers.calm();
    this.#handlers.typing(this.#text.value !== '');
  }

  #grow() {
    if (!GROWS) {
      this.#text.style.height = 'auto';
      this.#text.style.height = `${Math.min(this.#text.scrollHeight, TALLEST)}px`;
    }
  }

  #insert(text) {
    this.#text.focus();
    this.#text.setRangeText(text, this.#text.selectionStart, this.#text.selectionEnd, 'end');
    this.#changed();
  }

  #useDraft() {
    const draft = this.#draft;
    this.#dropDraft();
    this.#insert(draft);
  }

  #dropDraft() {
    this.#draft = '';
    byId('draft').hidden = true;
    this.focus();
  }

  #copyDraft() {
    this.#text.select();
    document.execCommand('copy');
  }
}

const CHOICE = [
  '😀 😂 😊 😍 😘 😜 🤔 😎 😏 😴 😢 😭 😡 😱 🥳 🤗',
  '🙄 😬 🤷 🙈 👍 👎 👏 🙏 👋 💪 🤝 ✌️ 👀 ❤️ 💔 🔥',
  '✨ 🎉 🌈 ☀️ 🌧️ ❄️ 🌊 🌸 🍕 🍰 ☕ 🍵 🍺 🎵 🎮 ⚽',
  '📚 💻 🎬 ✈️ 🚲 🏠 🐱 🐈 🐾 🐶 🦊 🐻 🐧 🦋 💤 💯',
].join(' ').split(' ');
const COLUMNS = 8;

/** Emoji to choose from, for keyboards that have none. */
class EmojiPicker {
  #panel = byId('emoji');
  #toggle = byId('emoji-toggle');

  /** `choose(emoji)` is called for each that is pressed. */
  constructor(choose) {
    const key = (textContent, index) =>
      button({ className: 'icon', textContent, tabIndex: index === 0 ? 0 : -1 }, () => choose(textContent));
    this.#panel.append(...CHOICE.map(key));
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
