// A client of the native dialect: a plain WebSocket.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { Inbox } from './inbox.mjs';

export class Native {
  /** Connects, and resolves once the server has said welcome. */
  static async connect(url) {
    const peer = new Native(new WebSocket(`${url.replace('http', 'ws')}/ws`, 'purrr.v1'));
    await once(peer.socket, 'open');
    const { type, protocol } = await peer.next();
    assert.deepEqual({ type, protocol }, { type: 'welcome', protocol: 1 });
    return peer;
  }

  constructor(socket) {
    this.socket = socket;
    this.inbox = new Inbox('the native peer');
    socket.on('message', (data, isBinary) => this.inbox.put(isBinary ? data : JSON.parse(data.toString())));
    socket.on('close', (code) => this.inbox.put({ closed: code }));
  }

  /** Sends an object as a text frame, and bytes as a binary one. */
  send(...frames) {
    for (const frame of frames) {
      this.socket.send(Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
    }
  }

  /** The next frame: an object, a `Buffer`, or `{closed: code}`. */
  next(patience) {
    return this.inbox.take(patience);
  }

  /** The next frame is exactly this one. */
  async gets(frame) {
    assert.deepEqual(await this.next(), frame);
  }

  /** The next frame is an `error` of this code. */
  async getsError(code, id) {
    const { message, ...rest } = await this.next();
    assert.deepEqual(rest, id === undefined ? { type: 'error', code } : { type: 'error', code, id });
    assert.ok(message.length > 0, 'an error says what was wrong');
  }

  /** Introduces this peer, looks for a partner and waits to be told that it is looked for. */
  async find(name, publicKey) {
    this.send({ type: 'hello', name, publicKey }, { type: 'find' });
    const { type, online } = await this.next();
    assert.equal(type, 'waiting');
    assert.ok(Number.isInteger(online) && online >= 1, 'a waiting client is online');
  }

  /** The next frame says that this peer is paired with a partner of this name and key, or of none. */
  async getsMatched(name, publicKey) {
    const { type, chat, partner, shared } = await this.next();
    assert.deepEqual({ type, shared }, { type: 'matched', shared: [] });
    assert.match(chat, /^\S{16,}$/, 'a chat has an unguessable id');
    assert.deepEqual([partner.name || undefined, partner.publicKey || undefined], [name, publicKey]);
  }

  /** Goes as a lost connection does: without a word. */
  drop() {
    this.socket.terminate();
  }

  close() {
    this.socket.close();
  }
}
