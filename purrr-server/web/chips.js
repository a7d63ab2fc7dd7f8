// A field for several short things, such as interests.

export class Chips {
  #list;
  #input;
  #items = [];
  #changed;

  /** The most things it takes; the server says how many. */
  limit = Infinity;

  constructor(list, input, changed) {
    this.#list = list;
    this.#input = input;
    this.#changed = changed;
    input.addEventListener('keydown', (event) => {
      if (event.isComposing) {
        return;
      }
      if (event.key === 'Enter' && input.value.trim()) {
        // In an empty field Enter sends the form, as everywhere.
        event.preventDefault();
        this.#takeTyped();
      } else if (event.key === 'Backspace' && input.value === '') {
        this.#remove(this.#items.at(-1));
      }
    });
    input.addEventListener('input', () => input.value.includes(',') && this.#takeTyped());
    input.addEventListener('blur', () => this.#takeTyped());
    list.parentElement.addEventListener('click', (event) => event.target === list.parentElement && input.focus());
  }

  /** What is in it, with what stands in the field but was not confirmed. */
  get items() {
    this.#takeTyped();
    return this.#items.slice(0, this.limit);
  }

  set items(items) {
    this.#items = [...items];
    this.#show();
  }

  #takeTyped() {
    const typed = this.#input.value.split(',').map((item) => item.trim().replace(/\s+/g, ' ').toLowerCase());
    this.#input.value = '';
    const all = new Set([...this.#items, ...typed.filter(Boolean)]);
    if (all.size > this.#items.length) {
      this.#items = [...all].slice(0, this.limit);
      this.#show();
    }
  }

  #remove(item) {
    this.#items = this.#items.filter((other) => other !== item);
    this.#show();
    this.#input.focus();
  }

  #show() {
    this.#list.replaceChildren(...this.#items.map((item) => this.#chip(item)));
    this.#changed(this.#items);
  }

  #chip(item) {
    const chip = document.createElement('li');
    const word = Object.assign(document.createElement('bdi'), { textContent: item });
    const button = Object.assign(document.createElement('button'), {
      type: 'button',
      ariaLabel: `Take away ${item}`,
      textContent: '✕',
    });
    button.addEventListener('click', () => this.#remove(item));
    chip.append(word, button);
    return chip;
  }
}
