// Each version of socket.io-client with the next: matched, 500 events each way in order, a binary image, acknowledgements.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';

const VERSIONS = ['3.1', '4.0', '4.5', '4.8'];
const EVENTS = 500;

/** A PNG of one white dot. */
const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg==',
  'base64',
);

let server;
let url;

before(async () => {
  const { PURRR_BIN, ...env } = process.env;
  server = spawn(PURRR_BIN, ['--listen', '127.0.0.1:0', '--recent-partners', '0', '--log', 'info'], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  for await (const part of server.stderr) {
    log += part;
    const address = /127\.0\.0\.1:\d+/.exec(log);
    if (address) {
      url = `http://${address[0]}`;
      break;
    }
  }
  assert.ok(url, log);
});

after(async () => {
  server.kill('SIGTERM');
  await once(server, 'exit');
});

/** A client that keeps its events in order. */
async function enter(version, options) {
  const { io } = await import(`client-${version}`);
  const socket = io(url, { forceNew: true, reconnection: false, ...options });
  const events = [];
  let arrived = () => {};
  socket.onAny((...event) => {
    events.push(event);
    arrived();
  });
  const next = async () => {
    while (events.length === 0) {
      await new Promise((resolve) => {
        arrived = resolve;
      });
    }
    return events.shift();
  };
  await new Promise((resolve, reject) => {
    socket.on('connect', resolve);
    socket.on('connect_error', reject);
  });
  return { socket, next };
}

async function pair(first, second) {
  const [ann, bob] = [await enter(...first), await enter(...second)];
  for (const [one, name] of [[ann, 'Ann'], [bob, 'Bob']]) {
    one.socket.emit('init_user', { name, publicKey: '' });
    one.socket.emit('find_partner');
    assert.deepEqual(await one.next(), ['waiting']);
  }
  assert.deepEqual(await ann.next(), ['matched', { partnerName: 'Bob', partnerPk: '' }]);
  assert.deepEqual(await bob.next(), ['matched', { partnerName: 'Ann', partnerPk: '' }]);
  return [ann, bob];
}

async function talk(ann, bob) {
  for (const [one, other] of [[ann, bob], [bob, ann]]) {
    for (let number = 0; number < EVENTS; number += 1) {
      one.socket.emit('chat message', String(number));
    }
    for (let number = 0; number < EVENTS; number += 1) {
      assert.deepEqual(await other.next(), ['chat message', String(number)]);
    }
    one.socket.emit('image upload', PNG);
    const [event, image] = await other.next();
    assert.equal(event, 'image upload');
    assert.ok(PNG.equals(Buffer.from(image)));
    one.socket.emit('send_message', { message: null, image: PNG, reply: null });
    const [, { image: shown }] = await other.next();
    assert.equal(shown, `data:image/png;base64,${PNG.toString('base64')}`);
    const acknowledged = new Promise((resolve) => {
      one.socket.emit('chat message', 'once', resolve);
    });
    assert.deepEqual(await other.next(), ['chat message', 'once']);
    await acknowledged;
  }
}

const TRANSPORTS = { default: {}, polling: { transports: ['polling'] }, websocket: { transports: ['websocket'] } };

for (const [place, version] of VERSIONS.entries()) {
  const other = VERSIONS[(place + 1) % VERSIONS.length];
  for (const [transport, options] of Object.entries(TRANSPORTS)) {
    for (const forceBase64 of [false, true]) {
      test(`${version} ${transport} forceBase64=${forceBase64} with ${other}`, { timeout: 60_000 }, async () => {
        const [ann, bob] = await pair([version, { ...options, forceBase64 }], [other, {}]);
        await talk(ann, bob);
        ann.socket.disconnect();
        assert.deepEqual(await bob.next(), ['hide_typing']);
        assert.deepEqual(await bob.next(), ['partner_disconnected']);
        bob.socket.disconnect();
      });
    }
  }
}

test('4.8 with retries sends each event once', { timeout: 60_000 }, async () => {
  const [ann, bob] = await pair(['4.8', { retries: 3, ackTimeout: 1_000 }], ['4.8', {}]);
  for (let number = 0; number < 50; number += 1) {
    ann.socket.emit('chat message', String(number));
  }
  for (let number = 0; number < 50; number += 1) {
    assert.deepEqual(await bob.next(), ['chat message', String(number)]);
  }
  await new Promise((resolve) => {
    setTimeout(resolve, 1_500);
  });
  bob.socket.emit('chat message', 'nothing before this');
  assert.deepEqual(await ann.next(), ['chat message', 'nothing before this']);
  ann.socket.emit('chat message', 'nor this');
  assert.deepEqual(await bob.next(), ['chat message', 'nor this']);
  ann.socket.disconnect();
  bob.socket.disconnect();
});
