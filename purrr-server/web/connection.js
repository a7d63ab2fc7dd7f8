// The native dialect over a WebSocket that comes back by itself.

const PROTOCOL = 'purrr.v1';
const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
// A connection that lasted this long was a good one, and its end is no reason to wait longer than at first.
const GOOD_AFTER = 10_000;
const PROGRESS_EVERY = 100;

export class Connection {
  #url;
  #handlers;
  #socket = null;
  #opened = 0;
  #failures = 0;
  #timer = 0;
  /** The head of a picture whose bytes come next. */
  #head = null;
  /** How many bytes this socket was given so far. */
  #given = 0;
  #earliest = 0;

  /**
   * `handlers.frame(frame, bytes)` gets each frame; a picture's comes with its bytes. `handlers.lost(retryAt)` hears that
   * there is no connection, and when the next attempt is due.
   */
  constructor(url, handlers) {
    this.#url = Object.assign(new URL(url), { protocol: url.protocol.replace('http', 'ws') });
    this.#handlers = handlers;
    window.addEventListener('online', () => this.retry());
    this.#connect();
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Sends a frame. Without a connection it goes nowhere: whatever it was about is over by then. */
  send(frame) {
    if (this.open) {
      this.#give(JSON.stringify(frame));
    }
  }

  /** Sends a picture, tells `progress` how much of it is on its way (0 to 1), and resolves when all of it is. */
  async sendPicture(head, bytes, progress) {
    const socket = this.#socket;
    if (!this.open) {
      return;
    }
    const start = this.#given;
    this.#give(JSON.stringify(head));
    this.#give(bytes);
    const end = this.#given;
    for (;;) {
      const gone = this.#given - socket.bufferedAmount;
      progress(Math.min(1, Math.max(0, (gone - start) / (end - start))));
      if (gone >= end || socket !== this.#socket || !this.open) {
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, PROGRESS_EVERY));
    }
  }

  /** Asks not to come back sooner than so many milliseconds from now. */
  holdOff(milliseconds) {
    this.#earliest = Date.now() + milliseconds;
  }

  /** Tries again now, if there is no connection. */
  retry() {
    if (this.#timer) {
      this.#connect();
    }
  }

  #give(data) {
    this.#given += typeof data === 'string' ? new TextEncoder().encode(data).length : data.byteLength;
    this.#socket.send(data);
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#head = null;
    this.#given = 0;
    const socket = new WebSocket(this.#url, PROTOCOL);
    socket.binaryType = 'arraybuffer';
    socket.addEventListener('open', () => {
      this.#opened = Date.now();
    });
    socket.addEventListener('message', ({ data }) => this.#receive(data));
    socket.addEventListener('close', () => this.#lose());
    this.#socket = socket;
  }

  #receive(data) {
    if (typeof data !== 'string') {
      const head = this.#head;
      this.#head = null;
      if (head) {
        this.#handlers.frame(head, new Uint8Array(data));
      }
      return;
    }
    const frame = JSON.parse(data);
    if (frame.type === 'image') {
      this.#head = frame;
    } else {
      this.#handlers.frame(frame);
    }
  }

  #lose() {
    if (this.#opened && Date.now() - this.#opened >= GOOD_AFTER) {
      this.#failures = 0;
    }
    this.#opened = 0;
    const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures);
    this.#failures += 1;
    // Half of it by chance, so that a server which comes back is not met by everybody at once.
    const wait = longest * (0.5 + Math.random() / 2);
    const retryAt = Math.max(Date.now() + wait, this.#earliest);
    this.#timer = setTimeout(() => this.#connect(), retryAt - Date.now());
    this.#handlers.lost(retryAt);
  }
}
