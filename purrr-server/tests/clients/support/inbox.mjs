// What a peer has been told, in order, for a test to take out one by one.

const PATIENCE = 20_000;

export class Inbox {
  #waiting = [];
  #items = [];
  #taken = [];

  /** `owner` names the peer in the message of a failure. */
  constructor(owner) {
    this.owner = owner;
  }

  put(item) {
    const resolve = this.#waiting.shift();
    if (resolve) {
      resolve(item);
    } else {
      this.#items.push(item);
    }
  }

  /** Takes the oldest item, or waits for one. Rejects after `patience` milliseconds without any. */
  async take(patience = PATIENCE) {
    const item = this.#items.length > 0 ? this.#items.shift() : await this.#next(patience);
    this.#taken.push(item);
    return item;
  }

  #next(patience) {
    return new Promise((resolve, reject) => {
      const waiter = (item) => {
        clearTimeout(timer);
        resolve(item);
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        const last = this.#taken.slice(-3).map(inBrief).join(', ') || 'nothing';
        reject(new Error(`${this.owner} was told nothing for ${patience / 1000} s; the last was ${last}`));
      }, patience);
      this.#waiting.push(waiter);
    });
  }
}

function inBrief(item) {
  const text = JSON.stringify(item);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
