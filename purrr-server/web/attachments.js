// Pictures on their way into a message: by the button, by the camera, from the clipboard, and dropped on the page.

import { isField } from './controls.js';
import { button, byId, element } from './dom.js';
import { number, say, t } from './i18n.js';
import { PictureProblem, prepare } from './pictures.js';

/** More pictures than this are not sent at once. */
const MOST = 10;

export class Attachments {
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
