// Where a message is made: its words, a picture with it, and the message that it answers.

import { PictureProblem, redraw } from './pictures.js';
import { inBrief } from './transcript.js';
import { byId } from './view.js';

/** Taller than this, in pixels, the field scrolls instead of growing. */
const TALLEST = 160;

export class Composer {
  #form = byId('composer');
  #text = byId('text');
  #picture = null;
  #answered = null;
  /** Which choice of a picture is being worked on, so that one that was given up does not turn up later. */
  #choice = 0;
  #handlers;
  #transcript;

  /**
   * `handlers.say(text, answered)` and `handlers.show(picture, answered)` send, and `handlers.typing(on)` hears of typing.
   * `handlers.fits(text)` and `handlers.pictureBytes()` know how much can be sent at once. `handlers.complain(text)` says
   * what went wrong.
   */
  constructor(transcript, handlers) {
    this.#transcript = transcript;
    this.#handlers = handlers;
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#text.addEventListener('keydown', (event) => this.#key(event));
    this.#text.addEventListener('input', () => {
      this.#grow();
      handlers.typing(this.#text.value !== '');
    });
    this.#text.addEventListener('blur', () => handlers.typing(false));
    byId('reply-cancel').addEventListener('click', () => this.answer(null));
    byId('preview-cancel').addEventListener('click', () => this.#drop());
    this.#takePictures();
  }

  /** Empties and opens it for a new chat. */
  reset() {
    this.#text.value = '';
    this.#grow();
    this.#drop();
    this.answer(null);
  }

  get hidden() {
    return this.#form.hidden;
  }

  set hidden(hidden) {
    this.#form.hidden = hidden;
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

  /** Gives up the answer or the picture, whichever is there. Returns whether there was one. */
  giveUp() {
    const had = this.#answered || this.#picture;
    if (this.#answered) {
      this.answer(null);
    } else {
      this.#drop();
    }
    return Boolean(had);
  }

  #key(event) {
    // While a syllable is being put together, Enter belongs to the input method.
    if (event.isComposing) {
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

  /** Goes from message to message, to answer one. Past the newest there is none. */
  #step(by) {
    const messages = this.#transcript.answerable;
    const at = this.#answered ? messages.indexOf(this.#answered) : messages.length;
    this.answer(messages[Math.max(0, at + by)] ?? null);
  }

  #submit() {
    const text = this.#text.value.trim();
    const answered = this.#answered ?? undefined;
    if (text && !this.#handlers.fits(text)) {
      this.#handlers.complain('That is too long to be sent at once.');
      return;
    }
    if (this.#picture) {
      this.#handlers.show(this.#picture, answered);
    }
    if (text) {
      this.#handlers.say(text, this.#picture ? undefined : answered);
    }
    if (this.#picture || text) {
      this.reset();
    }
    this.#text.focus();
  }

  #grow() {
    this.#text.style.height = 'auto';
    this.#text.style.height = `${Math.min(this.#text.scrollHeight, TALLEST)}px`;
  }

  /** Pictures come in by the button, from the clipboard, and by being dropped anywhere on the page. */
  #takePictures() {
    const file = byId('file');
    byId('attach').addEventListener('click', () => file.click());
    file.addEventListener('change', () => {
      this.#choose(file.files[0]);
      // The same picture may be wanted twice.
      file.value = '';
    });
    document.addEventListener('paste', (event) => {
      const picture = pictureIn(event.clipboardData);
      if (picture && !this.#unusable) {
        event.preventDefault();
        this.#choose(picture);
      }
    });
    const target = byId('drop');
    document.addEventListener('dragover', (event) => {
      if (event.dataTransfer.types.includes('Files')) {
        // Without this the browser would leave the page to show the file.
        event.preventDefault();
        target.hidden = this.#unusable;
      }
    });
    document.addEventListener('dragleave', (event) => {
      target.hidden ||= !event.relatedTarget;
    });
    document.addEventListener('drop', (event) => {
      target.hidden = true;
      if (event.dataTransfer.types.includes('Files')) {
        event.preventDefault();
        if (!this.#unusable) {
          this.#choose(pictureIn(event.dataTransfer) ?? event.dataTransfer.files[0]);
        }
      }
    });
  }

  get #unusable() {
    return this.#form.hidden || byId('chat').hidden;
  }

  async #choose(file) {
    if (!file) {
      return;
    }
    this.#drop();
    const choice = this.#choice;
    try {
      const picture = await redraw(file, this.#handlers.pictureBytes());
      if (choice === this.#choice) {
        this.#preview(picture);
      }
    } catch (problem) {
      if (!(problem instanceof PictureProblem)) {
        throw problem;
      }
      this.#handlers.complain(problem.message);
    }
  }

  #preview(picture) {
    this.#picture = picture;
    byId('preview-image').src = URL.createObjectURL(picture);
    byId('preview-text').textContent = `${sizeInWords(picture.size)}, without place, time or camera`;
    byId('preview').hidden = false;
    this.#text.focus();
  }

  #drop() {
    this.#choice += 1;
    this.#picture = null;
    const image = byId('preview-image');
    URL.revokeObjectURL(image.src);
    image.removeAttribute('src');
    byId('preview').hidden = true;
  }
}

function pictureIn(transfer) {
  return [...transfer.files].find((file) => file.type.startsWith('image/'));
}

function sizeInWords(bytes) {
  return bytes < 1_000_000 ? `${Math.ceil(bytes / 1000)} KB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
