// One chat with one partner, from `matched` to its end. All that belongs to it is in here or in its transcript, and goes
// with it: nothing of one chat can show in the next.

import { looksSealed, sealedBytes } from './crypto.js';
import { t } from './i18n.js';
import { Outbox } from './outbox.js';
import { PictureProblem, fromBytes, fromDataUrl, toDataUrl } from './pictures.js';
import { cleanName, emojiCount } from './text.js';

/** `typing` is said again this often while the person types, and taken back when they pause this long. */
const TYPING_EVERY = 3_000;
const TYPING_PAUSE = 4_000;
/** Read marks of a burst are sent as one. */
const READ_EVERY = 100;
/** As many messages, of each side, can be named by an answer. */
const NAMED = 1_000;
/** The frames that the two sides count. */
const COUNTED = ['message', 'image', 'typing', 'read', 'signal', 'left'];
/** The server is told how many of them arrived after so many, so many bytes of them, or so long. */
const ACK_FRAMES = 16;
const ACK_BYTES = 65_536;
const ACK_WITHIN = 2_000;
/** So many steps of a call are kept for a connection that broke. */
const SIGNALS = 64;
/** Messages that were sealed for a key of before a reload may still come. */
const SECRETS = 3;

export class Chat {
  #connection;
  #transcript;
  #limits;
  #identity;
  #theirKey;
  /** The newest first. */
  #secrets = [];
  /** Settles when the newest secret is there. */
  #agreed;
  #names = { mine: new Map(), theirs: new Map() };
  /** Own messages that are not read yet, oldest first. */
  #open = [];
  #ids;
  #outbox;
  #incoming;
  /** How many counted frames have come, how many of them the page has taken, and what the server was not told of. */
  #arrived;
  #taken;
  #unacked = { frames: 0, bytes: 0, timer: 0 };
  /** The partner's newest message of before a reload, or -1. It may be sent again, sealed for the new key. */
  #seenBefore;
  #newest = -1;
  #unread;
  #readTimer = 0;
  #last = null;
  #over = false;
  /** There is no connection, or the server has not said yet that the chat goes on over it. */
  #lost = false;
  #hear;
  #typing = { said: 0, timer: 0 };
  #said = { mine: 0, theirs: 0 };

  /**
   * `matched` is the frame that began it, and `kept` what a reload has left of it; `identity` is null where nothing can be
   * encrypted. `hear` is told that something is said, `begun()`, and of what the partner does: `typing(on)`, `message()`,
   * `signal(frame)`, `away()`, `back(anew)`, `left(reason)`; of frames that are `missing()`; of `secret(code)`, the safety
   * code, or `broken()` that there can be none; and of `keep()`, when what a reload should find has changed.
   */
  constructor({ matched, kept, identity, connection, limits, transcript, hear }) {
    this.id = matched.chat;
    this.shared = matched.shared;
    /** True if the two could not agree on a key. */
    this.keyless = false;
    this.#theirKey = matched.partner.publicKey;
    this.encrypted = Boolean(identity && this.#theirKey);
    this.#rename(matched.partner);
    this.#identity = identity;
    this.#hear = hear;
    this.#connection = connection;
    this.#limits = limits;
    this.#transcript = transcript;
    [this.#arrived, this.#taken] = [kept?.received ?? 0, kept?.received ?? 0];
    this.#said = kept?.said ?? this.#said;
    this.#seenBefore = kept?.newest ?? -1;
    this.#newest = this.#seenBefore;
    this.#ids = kept?.ids ?? identifiers(identity?.publicKey, this.#theirKey);
    this.#outbox = new Outbox(
      (message) => this.#seal(message),
      (sealed, message) => this.#give(sealed, message),
      (message, changes) => this.#update(message, changes),
    );
    // What comes in is a queue, for decryption takes its time and must not change the order.
    this.#incoming = this.#agree();
    if (kept) {
      this.suspend();
    }
  }

  /** True while there is no connection that it goes on. */
  get suspended() {
    return !this.#over && this.#lost;
  }

  /** How the server finds this chat again. */
  get position() {
    return { chat: this.id, received: this.#arrived, publicKey: this.#identity?.publicKey };
  }

  /** What is left of it after a reload: nothing that was said. */
  get kept() {
    const sent = this.#outbox.messages.map(({ at }) => at ?? null);
    const [received, newest] = [this.#taken, this.#newest];
    return { chat: this.id, received, newest, sent, ids: this.#ids, said: this.#said };
  }

  /** False if so much is on its way that more has to wait. */
  get hasRoom() {
    return this.#outbox.hasRoom;
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
    this.#outbox.say(message);
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
    this.#outbox.say(message);
  }

  /** Sends a picture, perhaps as the answer to a message. */
  show(picture, answered) {
    const message = this.#compose({ picture, progress: 0 }, answered);
    this.#transcript.add(message);
    this.#outbox.say(message);
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
    this.#outbox.mention({ type: 'typing', on });
  }

  /** The person looks at the page again, which the server hears from any word. */
  returned() {
    this.#outbox.mention({ type: 'typing', on: false });
  }

  /** Sends a step of a call. */
  signal(kind, data) {
    this.#outbox.send({ type: 'signal', kind, data }, SIGNALS);
  }

  /** There is no connection. What is said from now on waits. */
  suspend() {
    clearTimeout(this.#typing.timer);
    this.#typing.said = 0;
    this.#lost = true;
    this.#outbox.suspend();
    this.#hear.typing(false);
  }

  /** A frame from the server that belongs to this chat. */
  handle(frame, bytes) {
    const { line } = this.#outbox;
    const counts = COUNTED.includes(frame.type) ? 1 : (frame.missing ?? 0);
    this.#arrived += counts;
    this.#lost &&= frame.type !== 'resumed';
    if (!this.#over) {
      this.#acknowledge(frame, counts);
    }
    this.#incoming = this.#incoming.then(async () => {
      if (!this.#over) {
        await this.#take(frame, bytes, line);
        this.#taken += counts;
      }
    });
  }

  /** The person has seen everything. A mark for one message covers those before it. */
  seen() {
    if (this.#unread !== undefined && !this.#readTimer) {
      this.#readTimer = setTimeout(() => {
        this.#readTimer = 0;
        this.#outbox.send({ type: 'read', id: this.#unread }, 1);
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
    clearTimeout(this.#unacked.timer);
    const unsent = new Set(this.#outbox.close());
    for (const message of this.#open.splice(0)) {
      const cut = message.state === 'sent' && onItsWay(message);
      if (unsent.has(message) || cut) {
        this.#update(message, { state: 'failed' });
      } else if (message.state === 'sent' || message.state === 'sending') {
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

  #rename({ name }) {
    this.name = cleanName(name) || t('stranger');
  }

  /** Makes what only the two can read, which all that is said waits for. */
  #agree() {
    const agree = async () => {
      const secret = await this.#identity.meet(this.#theirKey);
      this.#secrets = [secret, ...this.#secrets].slice(0, SECRETS);
      this.#hear.secret(secret.safetyCode);
    };
    const broken = () => {
      this.keyless = true;
      this.#hear.broken();
    };
    this.#agreed = this.encrypted ? agree().catch(broken) : Promise.resolve();
    return this.#agreed;
  }

  /** The partner introduces itself again. After a reload it has a new key. */
  async #meetAgain(partner) {
    const anew = this.encrypted && partner.publicKey && partner.publicKey !== this.#theirKey;
    this.#rename(partner);
    this.#hear.back(anew);
    if (anew) {
      this.#theirKey = partner.publicKey;
      await this.#agree();
      this.#outbox.again();
    }
  }

  /** Tells the server how much has come, so that it need not keep it. */
  #acknowledge({ type, text, size = text?.length ?? 0 }, counts) {
    const unacked = this.#unacked;
    unacked.frames += counts;
    unacked.bytes += size;
    if (unacked.frames >= ACK_FRAMES || unacked.bytes >= ACK_BYTES || type === 'image' || type === 'left') {
      clearTimeout(unacked.timer);
      this.#unacked = { frames: 0, bytes: 0, timer: 0 };
      this.#connection.send({ type: 'ack', chat: this.id, received: this.#arrived });
      this.#hear.keep();
    } else if (counts) {
      unacked.timer ||= setTimeout(() => this.#acknowledge({ type: 'left' }, 0), ACK_WITHIN);
    }
  }

  #nextId() {
    const { next, step } = this.#ids;
    this.#ids.next += step;
    return next;
  }

  #compose(content, answered) {
    const reply = this.#nameOf(answered);
    const message = { ...content, id: this.#nextId(), mine: true, state: 'sending', reply, answered, at: new Date() };
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

  /** Returns a message as it travels: a frame, and the bytes of a picture. */
  async #seal({ id, text, picture, reply }) {
    await this.#agreed;
    // Without a secret this throws: what should be encrypted never goes out as it is.
    const [secret] = this.#secrets;
    if (!picture) {
      return [{ type: 'message', id, text: this.encrypted ? await secret.seal(text) : text, reply }];
    }
    const bytes = this.encrypted
      ? new TextEncoder().encode(await secret.seal(await toDataUrl(picture)))
      : new Uint8Array(await picture.arrayBuffer());
    return [{ type: 'image', id, mime: picture.type, size: bytes.length, reply, encrypted: this.encrypted || undefined }, bytes];
  }

  #give([frame, bytes], message) {
    const head = { ...frame, chat: this.id };
    if (bytes) {
      // Later messages go behind it on the wire anyhow, so they need not wait for it here.
      this.#connection.sendPicture(head, bytes, (progress) => this.#update(message, { progress }));
    } else {
      this.#connection.send(head);
    }
    if (document.visibilityState === 'hidden') {
      this.#connection.send({ type: 'background' });
    }
  }

  async #take(frame, bytes, line) {
    switch (frame.type) {
      case 'message':
        return this.#receive(frame, () => this.#openText(frame.text));
      case 'image':
        return this.#receive(frame, () => this.#openPicture(frame, bytes));
      case 'typing':
        return this.#hear.typing(frame.on);
      case 'resumed':
        return this.#resume(frame, line);
      case 'delivered':
        return this.#mark(frame.id, 'delivered');
      case 'read':
        return this.#mark(frame.id, 'read');
      case 'signal':
        return this.#hear.signal(frame);
      case 'away':
        this.#hear.typing(false);
        return this.#hear.away();
      case 'back':
        await this.#meetAgain(frame.partner ?? {});
        return this.#outbox.release();
      case 'error':
        return this.#fail(frame);
      case 'left':
        return this.#hear.left(frame.reason);
    }
  }

  /** The session goes on. Pages of before know nothing of this connection. */
  async #resume({ partner, received, missing, delivered }, line) {
    if (delivered !== undefined) {
      this.#mark(delivered, 'delivered');
    }
    if (missing) {
      this.#hear.missing();
    }
    this.#outbox.resume(line, received);
    if (partner.publicKey !== this.#theirKey) {
      await this.#meetAgain(partner);
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
    if (this.#came(message)) {
      return;
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

  /** True if a message stands there already. One that could not be opened is replaced by the same for a newer key. */
  #came(message) {
    const { id, problem } = message;
    const old = this.#names.theirs.get(id);
    if (this.encrypted && old?.problem && !problem) {
      old.problem = undefined;
      Object.assign(old, message, { at: old.at });
      this.#transcript.amend(old);
      return true;
    }
    const before = this.encrypted && id <= this.#seenBefore;
    if (!problem && id > this.#newest) {
      this.#newest = id;
    }
    return before;
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
      return { text: await this.#unseal(text) };
    }
    return { text, bare: this.encrypted };
  }

  async #openPicture({ mime, encrypted }, bytes) {
    if (!encrypted) {
      return { picture: fromBytes(bytes, mime), bare: this.encrypted };
    }
    return { picture: fromDataUrl(await this.#unseal(new TextDecoder().decode(bytes))) };
  }

  /** What was on its way when a page was loaded anew is sealed for an earlier key. */
  #unseal(sealed) {
    return Promise.any(this.#secrets.map((secret) => secret.open(sealed)));
  }

  #answered(id) {
    return id === undefined ? undefined : (this.#names.mine.get(id) ?? this.#names.theirs.get(id));
  }

  /** A partner that has taken or read a message has taken or read those before it. */
  #mark(id, state) {
    const last = this.#open.findLastIndex((message) => message.id === id);
    const marked = this.#open.slice(0, last + 1);
    for (const message of marked) {
      if (message.state === 'sent' || message.state === 'sending' || (message.state === 'delivered' && state === 'read')) {
        this.#update(message, { state });
      }
    }
    this.#outbox.delivered(id);
    if (state === 'read') {
      this.#open.splice(0, last + 1);
    }
  }

  #fail({ id, code, message: why }) {
    const message = this.#names.mine.get(id);
    if (code === 'partner-away') {
      this.#outbox.hold(id);
    } else if (message) {
      this.#open = this.#open.filter((other) => other !== message);
      this.#outbox.refused(message, code);
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
  return { next: first, step };
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
