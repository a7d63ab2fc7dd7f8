// What this side says in a chat, in order. A connection that breaks takes along what was written into it, so each frame is
// kept until it is known to have arrived, and is given to the next connection otherwise.

/** As many messages, and as many bytes of pictures, may be on their way before the person has to wait. */
const MESSAGES = 256;
const PICTURE_BYTES = 32 * 1024 * 1024;

export class Outbox {
  #seal;
  #give;
  #changed;
  /**
   * In order: `{message}` or `{frame}`, and `at`, its number among the frames that the server was given: undefined before
   * that, and 0 once it has arrived.
   */
  #items = [];
  #count = 0;
  /** Changes with each connection. */
  #line = 0;
  /** Changes with what a message is sealed for, too. */
  #round = 0;
  #open = true;
  /** The partner is away, and what waits for it at the server is enough. */
  #held = false;
  #pumping = false;

  /**
   * `seal(message)` makes a frame and bytes of a message, and `give([frame, bytes], message)` hands them to the connection.
   * `changed(message, changes)` hears how far a message has come.
   */
  constructor(seal, give, changed) {
    [this.#seal, this.#give, this.#changed] = [seal, give, changed];
  }

  /** False if so much is on its way that more has to wait. */
  get hasRoom() {
    const messages = this.messages;
    const bytes = messages.reduce((sum, { message }) => sum + (message.picture?.size ?? 0), 0);
    return messages.length < MESSAGES && bytes < PICTURE_BYTES;
  }

  /** The messages that are not known to be delivered, oldest first, with how far each has come, as `at`. */
  get messages() {
    return this.#items.filter(({ message }) => message);
  }

  say(message) {
    this.#items.push({ message });
    this.#pump();
  }

  /** Sends another frame. So many of its type are kept at most. */
  send(frame, most) {
    this.#items.push({ frame });
    const old = this.#items.filter((item) => item.frame?.type === frame.type).slice(0, -most);
    this.#items = this.#items.filter((item) => !old.includes(item));
    this.#pump();
  }

  /** Sends what is of no use later. */
  mention(frame) {
    if (this.#open && !this.#held && this.#items.every(({ at }) => at !== undefined)) {
      this.#count += 1;
      this.#give([frame]);
    }
  }

  /** There is no connection, so everything waits. */
  suspend() {
    this.#open = false;
    this.#line += 1;
    this.#round += 1;
    this.#held = false;
    for (const item of this.#items.filter(({ message, at }) => message && at > 0)) {
      item.given = !(item.message.progress < 1);
      this.#changed(item.message, { state: 'sending' });
    }
  }

  /** Which connection a later `resume` is about. */
  get line() {
    return this.#line;
  }

  /** There is a connection again. The server has so many of the frames, and gets the others once more. */
  resume(line, received) {
    if (line !== this.#line) {
      return;
    }
    for (const item of this.#items) {
      if (item.at <= received) {
        this.#arrive(item);
      } else {
        item.at = undefined;
      }
    }
    this.#items = this.#items.filter(({ message, at }) => message || at === undefined);
    this.#count = received;
    this.#open = true;
    this.#pump();
  }

  /** The partner has a new key, and cannot read what was not delivered yet. It is sealed and sent anew. */
  again() {
    for (const item of this.messages) {
      item.at = undefined;
    }
    this.#round += 1;
    this.release();
  }

  /** The partner is back. */
  release() {
    this.#held = false;
    this.#pump();
  }

  /** The server has no room for this message while the partner is away. */
  hold(id) {
    this.#held = true;
    for (const item of this.messages.filter(({ message }) => message.id === id)) {
      item.at = undefined;
      this.#changed(item.message, { state: 'sending' });
    }
  }

  /** The message of this id was delivered, and what was given before it as well. */
  delivered(id) {
    const last = this.#items.findLastIndex(({ message, at }) => message?.id === id && at !== undefined);
    this.#items = this.#items.filter(({ at }, index) => index > last || at === undefined);
  }

  /** The message was refused, for `why` if the server did. */
  refused(message, why) {
    this.#items = this.#items.filter((item) => item.message !== message);
    this.#changed(message, { state: 'failed', why });
  }

  /** Nothing goes out any more. Returns the messages that were not given to any connection. */
  close() {
    this.#round += 1;
    this.#open = false;
    return this.#items.splice(0).filter(({ message, given }) => message && !given).map(({ message }) => message);
  }

  #arrive(item) {
    item.at = 0;
    if (item.message?.state === 'sending') {
      this.#changed(item.message, { state: 'sent', progress: 1 });
    }
  }

  /** Sealing takes its time and must not change the order, so one item is handled after the other. */
  async #pump() {
    if (this.#pumping) {
      return;
    }
    this.#pumping = true;
    for (;;) {
      const ready = this.#open && !this.#held;
      const item = ready && this.#items.find(({ at }) => at === undefined);
      if (!item) {
        break;
      }
      const round = this.#round;
      // What needs no sealing goes at once, for the page may be about to go away.
      const sealed = item.frame ? [item.frame] : await this.#seal(item.message).catch(() => null);
      if (!sealed) {
        this.refused(item.message);
      } else if (round === this.#round && !this.#held && this.#items.includes(item)) {
        this.#count += 1;
        [item.at, item.given] = [this.#count, true];
        this.#give(sealed, item.message);
        if (item.message) {
          this.#changed(item.message, { state: 'sent' });
        }
      }
    }
    this.#pumping = false;
  }
}
