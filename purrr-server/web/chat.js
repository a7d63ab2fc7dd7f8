// One chat with one partner, from `matched` to its end. All that belongs to it is in here or in its transcript, and goes
// with it: nothing of one chat can show in the next.

import { looksSealed, sealedBytes } from './crypto.js';
import { t } from './i18n.js';
import { PictureProblem, fromBytes, fromDataUrl, toDataUrl } from './pictures.js';
import { cleanName, emojiCount } from './text.js';

/** `typing` is said again this often while the person types, and taken back when they pause this long. */
const TYPING_EVERY = 3_000;
const TYPING_PAUSE = 4_000;
/** Read marks of a burst are sent as one. */
const READ_EVERY = 100;
/** As many messages, of each side, can be named by an answer. */
const NAMED = 1_000;

export class Chat {
  #connection;
  #transcript;
  #limits;
  #secret = null;
  #names = { mine: new Map(), theirs: new Map() };
  /** Own messages that are not read yet, oldest first. */
  #open = [];
  #ids;
  #outgoing;
  #incoming;
  #unread;
  #readTimer = 0;
  #last = null;
  #over = false;
  #hear;
  #typing = { said: 0, timer: 0 };
  #said = { mine: 0, theirs: 0 };

  /**
   * `matched` is the frame that began it; `identity` is null where nothing can be encrypted. `hear` is told that something
   * is said, `begun()`, and of what the partner does: `typing(on)`, `message()`, `signal(frame)`, `away(on)`, `left(reason)`; of `secret(code)`, the safety code,
   * or `broken()` that there can be none.
   */
  constructor({ matched, identity, connection, limits, transcript, hear }) {
    this.id = matched.chat;
    this.name = cleanName(matched.partner.name) || t('stranger');
    this.shared = matched.shared;
    this.encrypted = Boolean(identity && matched.partner.publicKey);
    /** True if the two could not agree on a key. */
    this.keyless = false;
    this.#ids = identifiers(identity?.publicKey, matched.partner.publicKey);
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

  /** True once both have said something. */
  get conversed() {
    return this.#said.mine > 0 && this.#said.theirs > 0;
  }

  /** True if a text is short enough to be sent. */
  fits(text) {
    const bytes = new TextEncoder().encode(text).length;
    return (this.encrypted ? sealedBytes(bytes) : bytes) <= this.#limits.messageBytes;
  }

  /** Sends a text, perhaps as the answer to a message. */
  say(text, answered) {
    this.typing(false);
    const message = this.#compose({ text }, answered);
    this.#transcript.add(message);
    this.#sendText(message);
  }

  /** Sends one emoji as the answer to a message. The page shows it at that message, older clients as a text. */
  react(emoji, target) {
    const message = this.#compose({ text: emoji }, target);
    if (message.reply === undefined) {
      this.#transcript.add(message);
    } else {
      message.reaction = target;
      this.#transcript.react(target, true, emoji);
    }
    this.#sendText(message);
  }

  /** Sends a picture, perhaps as the answer to a message. */
  show(picture, answered) {
    const message = this.#compose({ picture, progress: 0 }, answered);
    this.#transcript.add(message);
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

  /** Sends a step of a call. */
  signal(kind, data) {
    this.#send({ type: 'signal', kind, data });
  }

  /** A frame from the server that belongs to this chat. */
  handle(frame, bytes) {
    this.#incoming = this.#incoming.then(() => this.#over || this.#take(frame, bytes));
  }

  /** The person has seen everything. A mark for one message covers those before it. */
  seen() {
    if (this.#unread !== undefined && !this.#readTimer) {
      this.#readTimer = setTimeout(() => {
        this.#readTimer = 0;
        this.#send({ type: 'read', id: this.#unread });
        this.#unread = undefined;
      }, READ_EVERY);
    }
  }

  /** Nothing more goes out or comes in. What was said stays to be read until `forget`. */
  end() {
    clearTimeout(this.#typing.timer);
    clearTimeout(this.#readTimer);
    if (this.#over) {
      return;
    }
    this.#over = true;
    for (const message of this.#open.splice(0)) {
      if (onItsWay(message)) {
        this.#update(message, { state: 'failed' });
      } else if (message.state === 'sent') {
        this.#update(message, { state: 'undelivered' });
      }
    }
  }

  /** Lets go of everything that was said. */
  forget() {
    this.end();
    this.#names = { mine: new Map(), theirs: new Map() };
    this.#transcript.clear();
  }

  async #agree(identity, publicKey) {
    try {
      this.#secret = await identity.meet(publicKey);
      this.#hear.secret(this.#secret.safetyCode);
    } catch {
      this.keyless = true;
      this.#hear.broken();
    }
  }

  #compose(content, answered) {
    const reply = this.#nameOf(answered);
    const message = { ...content, id: this.#ids.next(), mine: true, state: 'sending', reply, answered, at: new Date() };
    this.#said.mine += 1;
    this.#hear.begun();
    this.#open.push(message);
    remember(this.#names.mine, message);
    return message;
  }

  /**
   * Returns the id by which the partner's page finds a message. It looks among its own first, so a message of this side whose
   * id the partner chose as well cannot be named.
   */
  #nameOf(message) {
    const ambiguous = message?.mine && this.#names.theirs.has(message.id);
    return ambiguous ? undefined : message?.id;
  }

  #sendText(message) {
    this.#inTurn(message, async () => {
      const text = this.encrypted ? await this.#secret.seal(message.text) : message.text;
      this.#send({ type: 'message', id: message.id, text, reply: message.reply });
    });
  }

  #inTurn(message, task) {
    this.#outgoing = this.#outgoing.then(async () => {
      if (!this.#over) {
        await task();
        this.#update(message, { state: this.#over ? 'failed' : 'sent' });
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
        return this.#receive(frame, () => this.#openText(frame.text));
      case 'image':
        return this.#receive(frame, () => this.#openPicture(frame, bytes));
      case 'typing':
        return this.#hear.typing(frame.on);
      case 'delivered':
        return this.#mark(frame.id, 'delivered');
      case 'read':
        return this.#mark(frame.id, 'read');
      case 'signal':
        return this.#hear.signal(frame);
      case 'away':
      case 'back':
        return this.#hear.away(frame.type === 'away');
      case 'error':
        return this.#fail(frame);
      case 'left':
        return this.#hear.left(frame.reason);
    }
  }

  async #receive(frame, open) {
    const answered = this.#answered(frame.reply);
    const message = { id: frame.id, mine: false, answered, at: new Date() };
    try {
      Object.assign(message, await open());
    } catch (problem) {
      const { key, values } = problem instanceof PictureProblem ? problem : { key: 'message-unreadable' };
      message.problem = { key, values };
    }
    this.#said.theirs += 1;
    this.#hear.begun();
    if (frame.id !== undefined) {
      this.#unread = frame.id;
    }
    this.#hear.typing(false);
    this.#place(message);
    this.#hear.message();
  }

  #place(message) {
    const last = this.#last;
    if (message.picture && last?.id !== undefined && last.id === message.id && last.text && !last.picture) {
      // One message of a Purrr.chat client: a picture and its caption.
      last.picture = message.picture;
      return this.#transcript.amend(last);
    }
    if (message.text && message.answered && emojiCount(message.text) === 1) {
      this.#last = null;
      return this.#transcript.react(message.answered, false, message.text.trim());
    }
    this.#last = message;
    remember(this.#names.theirs, message);
    this.#transcript.add(message);
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
    return id === undefined ? undefined : (this.#names.mine.get(id) ?? this.#names.theirs.get(id));
  }

  /** A partner that has taken or read a message has taken or read those before it. */
  #mark(id, state) {
    const last = this.#open.findLastIndex((message) => message.id === id);
    const marked = this.#open.slice(0, last + 1);
    for (const message of marked) {
      if (message.state === 'sent' || (message.state === 'delivered' && state === 'read')) {
        this.#update(message, { state });
      }
    }
    if (state === 'read') {
      this.#open.splice(0, last + 1);
    }
  }

  #fail({ id, code, message: why }) {
    const message = this.#names.mine.get(id);
    if (message) {
      this.#open = this.#open.filter((other) => other !== message);
      this.#update(message, { state: 'failed', why: code });
    } else if (code !== 'not-paired') {
      this.#transcript.note('server-refused', { why });
    }
  }

  #update(message, changes) {
    Object.assign(message, changes);
    if (message.reaction && message.state === 'failed') {
      this.#transcript.react(message.reaction, true, null);
    }
    this.#transcript.update(message);
  }
}

/** True if a message of this side has not left this browser altogether. */
export function onItsWay({ state, progress = 1 }) {
  return state === 'sending' || (state === 'sent' && progress < 1);
}

/**
 * Counts the messages of one side. What the partner calls its own changes nothing here: an id of 2^53 - 1 would be the last.
 * Where the two keys tell the sides apart, one of them counts in odd numbers and the other in even ones, so that each id
 * names one message of the chat.
 */
function identifiers(ours, theirs) {
  const [first, step] = ours && theirs && ours !== theirs ? [ours < theirs ? 1 : 2, 2] : [1, 1];
  let id = first - step;
  return { next: () => (id += step) };
}

function remember(names, message) {
  if (message.id === undefined) {
    return;
  }
  names.delete(message.id);
  names.set(message.id, message);
  if (names.size > NAMED) {
    names.delete(names.keys().next().value);
  }
}
