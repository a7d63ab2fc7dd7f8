// Where a message is made: its words, the pictures with it, and the message that it answers.

import { composing, isField, writes } from './controls.js';
import { button, byId, element } from './dom.js';
import { number, say, t } from './i18n.js';
import { inBrief } from './message.js';
import { PictureProblem, prepare } from './pictures.js';

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

/** More pictures than this are not sent at once. */
const MOST = 10;

/** Pictures on their way into a message: by the button, by the camera, from the clipboard, and dropped on the page. */
class Attachments {
  #list = byId('preview');
  #pictures = new Set();
  /** Which choice is being worked on, so that one that was given up does not turn up later. */
  #choice = 0;
  #handlers;

  /**
   * `handlers.usable()` tells whether pictures can be sent now, `handlers.maxBytes()` how large. `handlers.complain(key,
   * values)` says what went wrong, `handlers.insert(text)` takes a text that was dropped, and `handlers.chosen()` hears of a
   * picture.
   */
  constructor(handlers) {
    this.#handlers = handlers;
    for (const [press, input] of [['attach', 'file'], ['camera', 'camera-file']]) {
      byId(press).addEventListener('click', () => byId(input).click());
      byId(input).addEventListener('change', ({ target }) => {
        this.#choose([...target.files]);
        // The same picture may be wanted twice.
        target.value = '';
      });
    }
    document.addEventListener('paste', (event) => this.#paste(event));
    this.#takeDrops();
  }

  /** Gives up all pictures. Returns true if there were any. */
  clear() {
    this.#choice += 1;
    const had = this.#pictures.size > 0;
    for (const { source } of this.#pictures) {
      URL.revokeObjectURL(source);
    }
    this.#pictures.clear();
    this.#list.replaceChildren();
    this.#list.hidden = true;
    return had;
  }

  /** Returns the pictures, and forgets them. */
  take() {
    const blobs = [...this.#pictures].map(({ blob }) => blob);
    this.clear();
    return blobs;
  }

  /** Office programs put a picture of a text beside the text; then the text is meant. */
  #paste(event) {
    const { clipboardData } = event;
    const pictures = picturesIn(clipboardData);
    const text = clipboardData.getData('text/plain');
    if (!this.#handlers.usable()) {
      return;
    }
    if (text.trim() === '' && pictures.length > 0) {
      event.preventDefault();
      this.#choose(pictures);
    } else if (text && !isField(event.target)) {
      event.preventDefault();
      this.#handlers.insert(text);
    }
  }

  #takeDrops() {
    const target = byId('drop');
    document.addEventListener('dragover', (event) => {
      // Without this the browser would leave the page to show what is dropped.
      if (event.dataTransfer.types.includes('Files')) {
        event.preventDefault();
        target.hidden = !this.#handlers.usable();
      } else if (!isField(event.target)) {
        event.preventDefault();
      }
    });
    document.addEventListener('dragleave', (event) => {
      target.hidden ||= !event.relatedTarget;
    });
    document.addEventListener('drop', (event) => {
      target.hidden = true;
      const { dataTransfer } = event;
      if (dataTransfer.types.includes('Files')) {
        event.preventDefault();
        const pictures = picturesIn(dataTransfer);
        this.#choose(pictures.length > 0 ? pictures : [...dataTransfer.files].slice(0, 1));
      } else if (!isField(event.target)) {
        event.preventDefault();
        const text = dataTransfer.getData('text/uri-list') || dataTransfer.getData('text/plain');
        if (text && this.#handlers.usable()) {
          this.#handlers.insert(text);
        }
      }
    });
  }

  async #choose(files) {
    if (!this.#handlers.usable()) {
      return;
    }
    const choice = this.#choice;
    for (const file of files) {
      if (this.#pictures.size >= MOST) {
        this.#handlers.complain('pictures-too-many', { count: MOST });
        return;
      }
      try {
        const blob = await prepare(file, this.#handlers.maxBytes());
        if (choice !== this.#choice) {
          return;
        }
        this.#add(blob);
      } catch (problem) {
        if (!(problem instanceof PictureProblem)) {
          throw problem;
        }
        this.#handlers.complain(problem.key, problem.values);
      }
    }
  }

  #add(blob) {
    const picture = { blob, source: URL.createObjectURL(blob) };
    const size = element('p', { className: 'hint' });
    say(size, 'preview-size', { size: sizeInWords(blob.size) });
    const cancel = button({ className: 'icon', ariaLabel: t('preview-cancel'), textContent: '✕' }, () => {
      URL.revokeObjectURL(picture.source);
      this.#pictures.delete(picture);
      row.remove();
      this.#list.hidden = this.#pictures.size === 0;
      this.#handlers.chosen();
    });
    cancel.dataset.testid = 'preview-cancel';
    const row = element('li', {}, element('img', { src: picture.source, alt: t('preview-alt') }), size, cancel);
    this.#pictures.add(picture);
    this.#list.append(row);
    this.#list.hidden = false;
    this.#handlers.chosen();
  }
}

function picturesIn(transfer) {
  return [...transfer.files].filter((file) => file.type.startsWith('image/'));
}

function sizeInWords(bytes) {
  return bytes < 1_000_000 ? `${number(Math.ceil(bytes / 1000))} KB` : `${number(Math.round(bytes / 100_000) / 10)} MB`;
}

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
