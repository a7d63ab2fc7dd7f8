// The native dialect over a WebSocket that notices a dead line and comes back by itself.

const PROTOCOL = 'purrr.v1';
const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
/** A chat is held for half a minute, so for about as long no wait is longer than this. */
const EAGER_WAIT = 2_000;
const EAGER_ATTEMPTS = 24;
// A connection that lasted this long was a good one, and its end is no reason to wait longer than at first.
const GOOD_AFTER = 10_000;
const PROGRESS_EVERY = 100;

/** A line on which nothing was heard for this long is probed with a `ping`. */
const PROBE_AFTER = 4_000;
/** A line is dead if nothing is heard for this long after a probe, or while it is being opened. */
const PROBE_TIMEOUT = 5_000;
const OPEN_TIMEOUT = 10_000;
const EAGER_TIMEOUT = 4_000;
/** The same after the browser has said that the network changed, or that the page is looked at again. */
const CHECK_TIMEOUT = 2_000;
const TICK = 200;
/** A timer that a browser held back says nothing about the line, so one tick counts no more than this. */
const LONGEST_TICK = 1_000;
/** A picture that is on its way in has the time that a slow line needs for it, up to a bound. */
const SLOW_BYTES_PER_MS = 32;
const LONGEST_PICTURE = 40_000;

/** One failed attempt of so many is asked about. */
const ASK_EVERY = 4;
/** The close code that says that another connection has the session now. */
const TAKEN_OVER = 4409;
/** The code by which the visitor leaves. */
const LEAVING = 1000;
/** The server's answers to a handshake that say that it has no room. */
const FULL = [429, 503];

export class Connection {
  #url;
  #handlers;
  #socket = null;
  #opened = 0;
  /** The server has said welcome, and what the visitor was is claimed. Nothing may be said before that. */
  #greeted = false;
  #stopped = false;
  #failures = 0;
  #timer = 0;
  /** The head of a picture whose bytes come next. */
  #head = null;
  /** How many bytes this socket was given so far. */
  #given = 0;
  #earliest = 0;
  /** How long nothing was heard, whether a probe is out, and what is allowed for its answer. */
  #silence = { heard: 0, ticked: 0, probed: false, allowed: OPEN_TIMEOUT, buffered: 0 };

  /** Whether a dead line matters now: the visitor waits or chats. */
  attended = false;
  /** Whether the visitor is in a chat, which a lost line ends before long. */
  eager = false;

  /**
   * `handlers.frame(frame, bytes)` gets each frame; a picture's comes with its bytes. `handlers.lost(retryAt)` hears that
   * there is no connection, and when the next attempt is due; `handlers.full()` that the server has no room;
   * `handlers.takenOver()` that another connection has the session, and that no attempt will be made.
   */
  constructor(url, handlers) {
    this.#url = Object.assign(new URL(url), { protocol: url.protocol.replace('http', 'ws') });
    this.#handlers = handlers;
    const check = () => this.#stopped || this.check();
    window.addEventListener('online', check);
    window.addEventListener('offline', check);
    window.addEventListener('pageshow', check);
    document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && check());
    setInterval(() => this.#tick(), TICK);
    this.#connect();
  }

  get open() {
    return this.#greeted && this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Sends a frame. Without a connection it goes nowhere. */
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

  /** Tries again now if there is no connection, and probes the one there is. */
  check() {
    if (this.#timer || this.#stopped) {
      this.#stopped = false;
      this.#connect();
    } else if (this.open && !this.#head) {
      this.#probe(CHECK_TIMEOUT);
    }
  }

  /** Says goodbye on a line that does not answer, and opens another one. */
  restart() {
    if (this.open) {
      this.#abandon(LEAVING);
    }
  }

  /** Says goodbye, so that the server does not wait for this client. */
  close() {
    this.#socket?.close(LEAVING);
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
    this.#greeted = false;
    const allowed = this.#hurries ? EAGER_TIMEOUT : OPEN_TIMEOUT;
    this.#silence = { heard: 0, ticked: performance.now(), probed: true, allowed, buffered: 0 };
    const socket = new WebSocket(this.#url, PROTOCOL);
    socket.binaryType = 'arraybuffer';
    // A socket that was given up may still speak; its words belong to a session that is over.
    const ifCurrent = (handle) => (event) => socket === this.#socket && handle(event);
    socket.addEventListener('open', ifCurrent(() => (this.#opened = Date.now())));
    socket.addEventListener('message', ifCurrent(({ data }) => this.#receive(data)));
    socket.addEventListener('close', ifCurrent(({ code }) => (code === TAKEN_OVER ? this.#stop() : this.#lose())));
    this.#socket = socket;
  }

  #receive(data) {
    this.#hear();
    if (typeof data !== 'string') {
      const head = this.#head;
      this.#head = null;
      if (head) {
        this.#handlers.frame(head, new Uint8Array(data));
      }
      return;
    }
    const frame = JSON.parse(data);
    switch (frame.type) {
      case 'image':
        this.#head = frame;
        this.#silence.allowed = PROBE_TIMEOUT + Math.min(LONGEST_PICTURE, frame.size / SLOW_BYTES_PER_MS);
        break;
      case 'ping':
        return this.send({ type: 'pong' });
      case 'welcome':
        this.#greeted = true;
        this.#handlers.frame(frame);
        // A client that has said this is probed by messages. Pings below those a browser answers for a frozen script.
        return this.send({ type: 'ping' });
      default:
        this.#handlers.frame(frame);
    }
  }

  #hear() {
    Object.assign(this.#silence, { heard: 0, probed: false, allowed: PROBE_TIMEOUT });
  }

  #probe(allowed) {
    this.send({ type: 'ping' });
    const { bufferedAmount } = this.#socket;
    Object.assign(this.#silence, { heard: 0, probed: true, allowed, buffered: bufferedAmount });
  }

  #tick() {
    const silence = this.#silence;
    const now = performance.now();
    silence.heard += Math.min(now - silence.ticked, LONGEST_TICK);
    silence.ticked = now;
    if (this.#timer || !this.#socket) {
      return;
    }
    if (this.open && this.#socket.bufferedAmount < silence.buffered) {
      // What is sent is taken by the line, so the answer to the probe only waits its turn.
      silence.heard = 0;
    }
    silence.buffered = this.#socket.bufferedAmount;
    if ((silence.probed || this.#head) && silence.heard >= silence.allowed) {
      this.#abandon();
    } else if (this.attended && !silence.probed && !this.#head && silence.heard >= PROBE_AFTER) {
      this.#probe(PROBE_TIMEOUT);
    }
  }

  get #hurries() {
    return this.eager && this.#failures < EAGER_ATTEMPTS;
  }

  /** Makes no attempt until it is asked to. */
  #stop() {
    this.#socket = null;
    this.#opened = 0;
    this.#stopped = true;
    this.#handlers.takenOver();
  }

  /** Gives up a socket whose end would be heard of much later, if ever. */
  #abandon(code) {
    const socket = this.#socket;
    this.#socket = null;
    // Any close would end the chat. The server closes the line itself when the session is claimed or the line stays silent.
    if (code || socket.readyState === WebSocket.CONNECTING) {
      socket.close(code);
    }
    this.#lose();
  }

  #lose() {
    if (!this.#opened) {
      if (this.#failures % ASK_EVERY === 0) {
        this.#askWhy();
      }
    } else if (Date.now() - this.#opened >= GOOD_AFTER) {
      this.#failures = 0;
    }
    this.#opened = 0;
    const longest = Math.min(this.#hurries ? EAGER_WAIT : LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures);
    this.#failures += 1;
    // Half of it by chance, so that a server which comes back is not met by all clients at once.
    const wait = longest * (0.5 + Math.random() / 2);
    const retryAt = Math.max(Date.now() + wait, this.#earliest);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), retryAt - Date.now());
    this.#handlers.lost(retryAt);
  }

  /** A browser does not say how a handshake was refused; the same request as an ordinary one is answered in the same way. */
  async #askWhy() {
    const url = Object.assign(new URL(this.#url), { protocol: this.#url.protocol.replace('ws', 'http') });
    const response = await fetch(url, { cache: 'no-store' }).catch(() => null);
    if (FULL.includes(response?.status) && !this.open) {
      this.#handlers.full();
    }
  }
}
