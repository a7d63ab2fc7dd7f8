// A client like the Purrr.chat frontend: the real socket.io-client.

import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { Inbox } from './inbox.mjs';

/** The ways a client can talk to the server. The last is what a browser does unless told otherwise. */
export const TRANSPORTS = {
  polling: ['polling'],
  websocket: ['websocket'],
  upgrade: ['polling', 'websocket'],
};

export class PurrrChat {
  /** Connects, and resolves once the server has let this peer in. Every event it sends from then on is kept. */
  static async connect(url, transport, options = {}) {
    const peer = new PurrrChat(url, transport, options);
    await peer.connected();
    return peer;
  }

  /** Connects, without waiting for it: what is emitted meanwhile goes out as soon as it is there. */
  constructor(url, transport, options = {}) {
    this.socket = io(url, {
      transports: TRANSPORTS[transport],
      forceNew: true,
      reconnection: false,
      ...options,
    });
    this.transport = transport;
    this.inbox = new Inbox(`the peer on ${transport}`);
    this.socket.onAny((event, ...payload) => this.inbox.put([event, ...payload]));
    this.socket.on('disconnect', () => this.inbox.put(['disconnect']));
    // A peer may be refused before the test asks whether it was.
    this.entered = new Promise((resolve, reject) => {
      this.socket.once('connect', resolve);
      this.socket.once('connect_error', reject);
    });
    this.entered.catch(() => {});
  }

  connected() {
    return this.entered;
  }

  /** Resolves once the connection has moved from polling to WebSocket. */
  async upgraded() {
    const { engine } = this.socket.io;
    if (engine.transport.name !== 'websocket') {
      await new Promise((resolve) => engine.once('upgrade', resolve));
    }
  }

  /** The transport in use right now. */
  get current() {
    return this.socket.io.engine.transport.name;
  }

  emit(event, ...payload) {
    this.socket.emit(event, ...payload);
  }

  /** The next event, as `[name, ...payload]`. */
  next(patience) {
    return this.inbox.take(patience);
  }

  /** The next event is this one, with exactly this payload. */
  async gets(event, ...payload) {
    assert.deepEqual(await this.next(), [event, ...payload]);
  }

  /** The next event is an `error` that says something; returns what. */
  async getsError() {
    const [event, payload, ...rest] = await this.next();
    assert.deepEqual([event, rest], ['error', []]);
    assert.deepEqual(Object.keys(payload), ['message']);
    assert.ok(typeof payload.message === 'string' && payload.message.length > 0, 'an error says what was wrong');
    return payload.message;
  }

  /** Introduces this peer and looks for a partner. */
  find(name, publicKey) {
    this.emit('init_user', { name, publicKey });
    this.emit('find_partner');
  }

  /** Sends a text as the frontend does. */
  say(message, reply = null) {
    this.emit('send_message', { message, image: null, reply });
  }

  /** Goes as a closed tab does. */
  close() {
    this.socket.close();
  }
}
