// Connection state recovery by the real socket.io-client, whose connection is cut on the way to the server.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Line } from './support/line.mjs';
import { PurrrChat, TRANSPORTS } from './support/purrr-chat.mjs';
import { story } from './support/story.mjs';

/** The options of a client that reconnects quickly. Without `auth` it is one that forgets its chat. */
const RECONNECTING = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100 };
const RECOVERING = { ...RECONNECTING, auth: { recovery: true } };

/** Ann, whose line can be cut, in a chat with Bob. */
async function chat({ server, purrrChat }, transport, options) {
  const line = await Line.to(new URL(server.url).port);
  const ann = await PurrrChat.connect(line.url, transport, options);
  const bob = await purrrChat('websocket');
  ann.find('Ann', '');
  assert.equal((await ann.next())[0], 'waiting');
  bob.find('Bob', '');
  await bob.gets('waiting');
  assert.equal((await ann.next())[0], 'matched');
  await bob.gets('matched', { partnerName: 'Ann', partnerPk: '' });
  return { line, ann, bob };
}

/** Cuts the line until `meanwhile` has ended, and waits for Ann's return. */
async function cut(line, ann, meanwhile = async () => {}) {
  const connected = once(ann.socket, 'connect');
  await line.cut();
  // A client that polls says at once that it closes. On a line that is mended by then, that ends the session.
  await sleep(300);
  await meanwhile();
  await line.mend();
  await connected;
  assert.deepEqual(await ann.next(), ['disconnect']);
}

/** Ann's next event is this one, with an offset behind it. */
async function hears(ann, ...event) {
  const told = await ann.next();
  assert.equal(typeof told.pop(), 'string', 'each event has an offset');
  assert.deepEqual(told, event);
}

for (const transport of Object.keys(TRANSPORTS)) {
  story(`${transport}: a cut connection is recovered, twice`, async (world) => {
    const { line, ann, bob } = await chat(world, transport, RECOVERING);
    const { id } = ann.socket;
    for (const round of [1, 2]) {
      bob.emit('chat message', `before ${round}`);
      await hears(ann, 'chat message', `before ${round}`);
      await cut(line, ann, async () => {
        for (let number = 0; number < 20; number += 1) {
          bob.emit('chat message', `${round}: ${number}`);
        }
      });
      assert.equal(ann.socket.recovered, true);
      assert.equal(ann.socket.id, id);
      await hears(ann, 'hide_typing');
      for (let number = 0; number < 20; number += 1) {
        await hears(ann, 'chat message', `${round}: ${number}`);
      }
      ann.emit('chat message', `back ${round}`);
      await bob.gets('chat message', `back ${round}`);
    }
    ann.close();
    await line.cut();
  });

  story(`${transport}: the partner goes while the connection is cut`, async (world) => {
    const { line, ann, bob } = await chat(world, transport, RECOVERING);
    await cut(line, ann, async () => {
      bob.emit('chat message', 'bye');
      bob.emit('disconnect_partner');
      await bob.gets('hide_typing');
      await bob.gets('partner_disconnected');
    });
    assert.equal(ann.socket.recovered, true);
    await hears(ann, 'hide_typing');
    await hears(ann, 'chat message', 'bye');
    await hears(ann, 'hide_typing');
    await hears(ann, 'partner_disconnected');
    ann.close();
    await line.cut();
  });

  story(`${transport}: a chat is not recovered after its window`, async (world) => {
    const { line, ann, bob } = await chat(world, transport, RECOVERING);
    const { id } = ann.socket;
    await cut(line, ann, async () => {
      await bob.gets('hide_typing');
      await bob.gets('hide_typing');
      await bob.gets('partner_disconnected');
    });
    assert.equal(ann.socket.recovered, false);
    assert.notEqual(ann.socket.id, id);
    ann.close();
    await line.cut();
  }, { args: ['--resume-window', '2s'] });

  story(`${transport}: a client that forgot its chat finds its partner again`, async (world) => {
    const { line, ann, bob } = await chat(world, transport, RECONNECTING);
    await cut(line, ann);
    assert.equal(ann.socket.recovered, false);
    ann.find('Anna', '');
    await ann.gets('matched', { partnerName: 'Bob', partnerPk: '' });
    await bob.gets('hide_typing');
    await bob.gets('matched', { partnerName: 'Anna', partnerPk: '' });
    bob.emit('chat message', 'hello again');
    await ann.gets('chat message', 'hello again');
    ann.emit('chat message', 'and again');
    await bob.gets('chat message', 'and again');
    ann.close();
    await line.cut();
  });
}

story('a claim takes over from a connection that is held', async (world) => {
  const { line, ann, bob } = await chat(world, 'websocket', RECOVERING);
  line.hold();
  bob.emit('chat message', 'into the held line');
  const { _pid: pid, _lastOffset: offset, id } = ann.socket;
  const again = await PurrrChat.connect(world.server.url, 'websocket', { auth: { recovery: true, pid, offset } });
  assert.equal(again.socket.id, id);
  await hears(again, 'hide_typing');
  await hears(again, 'chat message', 'into the held line');
  const thief = await PurrrChat.connect(world.server.url, 'websocket', { auth: { recovery: true, pid, offset } });
  assert.notEqual(thief.socket.id, id);
  again.emit('chat message', 'it is me');
  await bob.gets('chat message', 'it is me');
  for (const one of [ann, again, thief]) {
    one.close();
  }
  await line.cut();
});

story('recovery under a stream of messages loses and doubles none', async (world) => {
  const { line, ann, bob } = await chat(world, 'websocket', RECOVERING);
  const COUNT = 600;
  const speaking = (async () => {
    for (let number = 0; number < COUNT; number += 1) {
      bob.emit('chat message', String(number));
      await sleep(4);
    }
  })();
  const cutting = (async () => {
    for (let round = 0; round < 4; round += 1) {
      await sleep(400);
      const connected = once(ann.socket, 'connect');
      await line.cut();
      await line.mend();
      await connected;
      assert.equal(ann.socket.recovered, true);
    }
  })();
  await Promise.all([speaking, cutting]);
  const heard = [];
  while (heard.length < COUNT) {
    const [event, payload] = await ann.next();
    if (event === 'chat message') {
      heard.push(payload);
    }
  }
  assert.deepEqual(heard, [...heard.keys()].map(String));
  ann.close();
  await line.cut();
}, { args: ['--rate-limits', 'off'] });
