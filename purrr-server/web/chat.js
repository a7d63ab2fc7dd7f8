// One chat with one partner, from `matched` to its end. Whatever belongs to it is in here or in its transcript, and goes
// with it: nothing of one chat can show in the next.

import { looksSealed, sealedBytes } from './crypto.js';
import { PictureProblem, fromBytes, fromDataUrl, toDataUrl } from './pictures.js';

/** `typing` is said again this often while somebody types, and taken back when they pause this long. */
const TYPING_EVERY = 3_000;
const TYPING_PAUSE = 4_000;
/** A call is refused once, though it is made of many frames. */
const ONE_CALL = 10_000;

export class Chat {
  #connection;
  #transcript;
  #limits;
  #secret = null;
  #messages = [];
  #highest = 0;
  #outgoing;
  #incoming;
  #unread = [];
  #over = false;
  #hear;
  #typing = { said: 0, timer: 0 };
  #lastCall = -ONE_CALL;

  /**
   * `matched` is the frame that began it; `identity` is null where nothing can be encrypted. `hear` is told of what the
   * partner does: `typing(on)`, `message()`, `left(reason)`; and `secret(code)` of the safety code, or `broken()` that there can be none.
   */
  constructor({ matched, identity, connection, limits, transcript, hear }) {
    this.id = matched.chat;
    this.name = matched.partner.name?.trim() || 'Stranger';
    this.shared = matched.shared;
    this.encrypted = Boolean(identity && matched.partner.publicKey);
    this.#hear = hear;
    this.#connection = connection;
    this.#limits = limits;
    this.#transcript = transcript;
    // Both directions are queues, for encryption takes its time and must not change the order.
    const ready = this.encrypted ? this.#agree(identity, matched.partner.publicKey) : Promise.resolve();
    this.#outgoing = ready;
    this.#incoming = ready;
  }

  /** The largest picture, in bytes, that still fits once it is encrypted. */
  get pictureBytes() {
    const { imageBytes } = this.#limits;
    // Twice base64: a data URL, and the ciphertext of it.
    return this.encrypted ? Math.floor((imageBytes - 256) * (9 / 16)) : imageBytes;
  }

  /** Whether a text is short enough to be sent. */
  fits(text) {
    const bytes = new TextEncoder().encode(text).length;
    return (this.encrypted ? sealedBytes(bytes) : bytes) <= this.#limits.messageBytes;
  }

  /** Sends a text, perhaps as the answer to a message. */
  say(text, answered) {
    this.typing(false);
    const message = this.#compose({ text, answered });
    this.#inTurn(message, async () => {
      const sent = this.encrypted ? await this.#secret.seal(text) : text;
      this.#send({ type: 'message', id: message.id, text: sent, reply: message.reply });
    });
  }

  /** Sends a picture, perhaps as the answer to a message. */
  show(picture, answered) {
    const message = this.#compose({ picture, answered, progress: 0 });
    this.#inTurn(message, async () => {
      const bytes = this.encrypted
        ? new TextEncoder().encode(await this.#secret.seal(await toDataUrl(picture)))
        : new Uint8Array(await picture.arrayBuffer());
      const head = {
        type: 'image',
        chat: this.id,
        id: message.id,
        mime: picture.type,
        size: bytes.length,
        reply: message.reply,
        encrypted: this.encrypted || undefined,
      };
      if (this.#over) {
        return;
      }
      // Later messages go behind it on the wire anyhow, so they need not wait for it here.
      this.#connection.sendPicture(head, bytes, (progress) => this.#update(message, { progress }));
    });
  }

  /** The person is typing, or has stopped. Says so no more often than is of use. */
  typing(on) {
    clearTimeout(this.#typing.timer);
    if (on) {
      this.#typing.timer = setTimeout(() => this.typing(false), TYPING_PAUSE);
      if (this.#typing.said && performance.now() - this.#typing.said < TYPING_EVERY) {
        return;
      }
    } else if (!this.#typing.said) {
      return;
    }
    this.#typing.said = on ? performance.now() : 0;
    this.#send({ type: 'typing', on });
  }

  /** A frame from the server that belongs to this chat. */
  handle(frame, bytes) {
    this.#incoming = this.#incoming.then(() => this.#over || this.#take(frame, bytes));
  }

  /** The person has seen everything. */
  seen() {
    for (const id of this.#unread.splice(0)) {
      this.#send({ type: 'read', id });
    }
  }

  /** Nothing more goes out or comes in. What was said stays to be read until `forget`. */
  end() {
    clearTimeout(this.#typing.timer);
    this.#over = true;
    for (const message of this.#messages.filter(onItsWay)) {
      this.#update(message, { state: 'failed' });
    }
  }

  /** Lets go of everything that was said. */
  forget() {
    this.end();
    this.#messages = [];
    this.#transcript.clear();
  }

  async #agree(identity, publicKey) {
    try {
      this.#secret = await identity.meet(publicKey);
      this.#hear.secret(this.#secret.safetyCode);
    } catch {
      this.#hear.broken();
    }
  }

  #compose(content) {
    this.#highest += 1;
    const message = { ...content, id: this.#highest, mine: true, state: 'sending', reply: this.#nameOf(content.answered) };
    this.#messages.push(message);
    this.#transcript.add(message);
    return message;
  }

  /**
   * The id by which the partner finds a message. They look among their own first, so one of ours with an id that they chose
   * as well, at the same moment, cannot be named.
   */
  #nameOf(message) {
    const ambiguous = message?.mine && this.#find(message.id, false);
    return ambiguous ? undefined : message?.id;
  }

  #inTurn(message, task) {
    this.#outgoing = this.#outgoing.then(async () => {
      if (!this.#over) {
        await task();
        this.#update(message, { state: 'sent' });
      }
    });
  }

  #send(frame) {
    if (!this.#over) {
      this.#connection.send({ ...frame, chat: this.id });
    }
  }

  async #take(frame, bytes) {
    switch (frame.type) {
      case 'message':
        return this.#receive(frame, { text: frame.text });
      case 'image':
        return this.#receive(frame, { bytes });
      case 'typing':
        return this.#hear.typing(frame.on);
      case 'delivered':
        return this.#mark(frame.id, 'delivered');
      case 'read':
        return this.#mark(frame.id, 'read');
      case 'signal':
        return this.#refuseCall(frame);
      case 'error':
        return this.#fail(frame);
      case 'left':
        return this.#hear.left(frame.reason);
    }
  }

  async #receive(frame, sent) {
    const message = { id: frame.id, mine: false, answered: this.#answered(frame.reply) };
    try {
      Object.assign(message, sent.bytes ? await this.#openPicture(frame, sent.bytes) : await this.#openText(sent.text));
    } catch (problem) {
      const known = problem instanceof PictureProblem;
      message.problem = known ? problem.message : 'A message came that could not be opened.';
    }
    this.#highest = Math.max(this.#highest, frame.id ?? 0);
    this.#messages.push(message);
    if (frame.id !== undefined && this.#unread.at(-1) !== frame.id) {
      this.#unread.push(frame.id);
    }
    this.#hear.typing(false);
    this.#transcript.add(message);
    this.#hear.message();
  }

  /** A program on the other side may send plain text though it has a key; then the person is told. */
  async #openText(text) {
    if (this.encrypted && looksSealed(text)) {
      return { text: await this.#secret.open(text) };
    }
    return { text, bare: this.encrypted };
  }

  async #openPicture({ mime, encrypted }, bytes) {
    if (!encrypted) {
      return { picture: fromBytes(bytes, mime), bare: this.encrypted };
    }
    return { picture: fromDataUrl(await this.#secret.open(new TextDecoder().decode(bytes))) };
  }

  #answered(id) {
    return id === undefined ? undefined : (this.#find(id, true) ?? this.#find(id, false));
  }

  #find(id, mine) {
    return this.#messages.findLast((message) => message.id === id && message.mine === mine);
  }

  /** Whoever has taken or read a message has taken or read those before it. */
  #mark(id, state) {
    const last = this.#messages.findLastIndex((message) => message.mine && message.id === id);
    for (const message of this.#messages.slice(0, last + 1)) {
      const marked = message.state === 'sent' || (message.state === 'delivered' && state === 'read');
      if (message.mine && marked) {
        this.#update(message, { state });
      }
    }
  }

  #fail({ id, code, message: why }) {
    const message = this.#messages.findLast((message) => message.mine && message.id === id);
    if (message) {
      this.#update(message, { state: 'failed', why });
    } else if (code !== 'not-paired') {
      this.#transcript.note(`The server could not do that: ${why}.`);
    }
  }

  #update(message, changes) {
    Object.assign(message, changes);
    this.#transcript.update(message);
  }

  #refuseCall({ kind }) {
    if (kind === 'offer' && performance.now() - this.#lastCall > ONE_CALL) {
      this.#lastCall = performance.now();
      this.#send({ type: 'signal', kind: 'refuse' });
      this.#transcript.note(`${this.name} tried to call. There are no calls on this page.`);
    }
  }
}

/** Whether a message of one's own has not left this browser altogether. */
export function onItsWay({ state, progress = 1 }) {
  return state === 'sending' || (state === 'sent' && progress < 1);
}
