// What a Purrr.chat client must not do, done with the real socket.io-client: it is told so or ignored, its own chat goes
// on, and no other client notices.

import assert from 'node:assert/strict';
import { PurrrChat, TRANSPORTS } from './support/purrr-chat.mjs';
import { Keys } from './support/encryption.mjs';
import { paired, quiet, story } from './support/story.mjs';

const MESSAGE_BYTES = 262_144;
const IMAGE_BYTES = 9_500_000;

for (const transport of Object.keys(TRANSPORTS)) {
  const told = (name, tell, options) => story(`${transport}: ${name}`, tell, options);

  told('wrong payload type gets an error', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    const [cleo, dan] = await paired(purrrChat, transport);
    for (const [event, payloads] of Object.entries(WRONG)) {
      for (const payload of payloads) {
        ann.emit(event, ...payload);
        const complaint = await ann.getsError();
        assert.notEqual(complaint, 'No partner found.', `${event} ${JSON.stringify(payload)?.slice(0, 80)}`);
      }
    }
    await quiet(ann, bob);
    await quiet(cleo, dan);
  });

  told('unknown events are ignored', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    for (const event of ['unknown', 'receive_message', 'matched', 'error', 'toString', '__proto__', '', 'x'.repeat(9_999)]) {
      ann.emit(event, { message: 'hello', image: null, reply: null });
      ann.emit(event);
    }
    ann.emit('hang_video_call');
    await bob.gets('hanged_video_call');
    bob.emit('hang_video_call');
    // She may be told that there are no such events, and nothing else.
    let [event, payload] = await ann.next();
    while (event === 'error') {
      assert.equal(typeof payload.message, 'string');
      [event, payload] = await ann.next();
    }
    assert.equal(event, 'hanged_video_call');
    await quiet(ann, bob);
  });

  told('event with acknowledgement', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    const acknowledged = new Promise((resolve) => {
      ann.emit('send_message', { message: 'hello', image: null, reply: null }, (...given) => resolve(given));
    });
    await bob.gets('receive_message', { from: 'Ann', body: 'hello', image: null, reply: null });
    assert.deepEqual(await acknowledged, [], 'nothing but that it was taken');
    await quiet(ann, bob);
  });

  told('name-chars limit', async ({ purrrChat }) => {
    const [ann, bob] = [await purrrChat(transport), await purrrChat(transport)];
    for (const character of ['x', 'ñ', '猫', '🐈']) {
      const longest = character.repeat(256);
      ann.emit('init_user', { name: longest, publicKey: '' });
      for (const name of [longest + character, character.repeat(1_000_000), null, 7, true, ['Ann'], { name: 'Ann' }]) {
        ann.emit('init_user', { name, publicKey: '' });
        await ann.getsError();
      }
      ann.emit('find_partner');
      await ann.gets('waiting');
      bob.find('Bob', '');
      await bob.gets('waiting');
      await bob.gets('matched', { partnerName: longest, partnerPk: '' });
      await ann.gets('matched', { partnerName: 'Bob', partnerPk: '' });
      ann.emit('disconnect_partner');
      for (const person of [ann, bob]) {
        await person.gets('hide_typing');
        await person.gets('partner_disconnected');
      }
    }
  });

  told('message-bytes and image-bytes limits', async ({ purrrChat }) => {
    const [ann, bob] = [await purrrChat(transport), await purrrChat(transport)];
    for (const [peer, name] of [[ann, 'Ann'], [bob, 'Bob']]) {
      peer.find(name, (await Keys.generate()).publicKey);
      await peer.gets('waiting');
    }
    for (const peer of [ann, bob]) {
      assert.equal((await peer.next())[0], 'matched');
    }
    const text = 'x'.repeat(MESSAGE_BYTES);
    ann.say(text);
    await bob.gets('receive_message', { from: 'Ann', body: text, image: null, reply: null });
    ann.say('é'.repeat(MESSAGE_BYTES / 2));
    await bob.gets('receive_message', { from: 'Ann', body: 'é'.repeat(MESSAGE_BYTES / 2), image: null, reply: null });
    ann.say(`${text}x`);
    await ann.getsError();
    ann.say('é'.repeat(MESSAGE_BYTES / 2 + 1));
    await ann.getsError();

    const ciphertext = (bytes) => {
      const [before, after] = ['{"ciphertext":"', '","iv":"AAAAAAAAAAAAAAAA"}'];
      return before + 'A'.repeat(bytes - before.length - after.length) + after;
    };
    const image = ciphertext(IMAGE_BYTES);
    ann.emit('send_message', { message: null, image, reply: null });
    const [event, { image: received, ...rest }] = await bob.next();
    assert.deepEqual([event, rest], ['receive_message', { from: 'Ann', body: null, reply: null }]);
    assert.ok(received === image);
    ann.emit('send_message', { message: null, image: ciphertext(IMAGE_BYTES + 1), reply: null });
    await ann.getsError();
    await quiet(ann, bob);
  });

  told('refused message keeps its index', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    ann.say('x'.repeat(MESSAGE_BYTES + 1));
    await ann.getsError();
    ann.say('short enough');
    await bob.gets('receive_message', { from: 'Ann', body: 'short enough', image: null, reply: null });
    bob.emit('read_message', { messageId: 0 });
    await ann.gets('mark_as_read', { messageId: 1 });
    bob.say('an answer', 0);
    await ann.gets('receive_message', { from: 'Bob', body: 'an answer', image: null, reply: 1 });
    ann.emit('read_message', { messageId: 2 });
    await bob.gets('mark_as_read', { messageId: 1 });
    // What the partner never got cannot be answered.
    for (const [reply, arrives] of [[0, null], [2, 1]]) {
      ann.say('and back', reply);
      await bob.gets('receive_message', { from: 'Ann', body: 'and back', image: null, reply: arrives });
    }
    await quiet(ann, bob);
  });

  told('max-payload ends only its connection', async ({ server, purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    const [cleo, dan] = await paired(purrrChat, transport);
    const handshake = await (await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`)).text();
    assert.equal(handshake[0], '0');
    const { maxPayload } = JSON.parse(handshake.slice(1));
    assert.ok(maxPayload >= 9_500_000, 'a photograph of 5 MB passes');
    ann.emit('send_message', { message: null, image: 'x'.repeat(maxPayload), reply: null });
    await ann.gets('disconnect');
    await bob.gets('hide_typing');
    await bob.gets('partner_disconnected');
    await quiet(cleo, dan);
  });

  told('lone surrogate is refused', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    for (const text of ['\ud800', 'cat \udc08', '\udc08\ud83d']) {
      ann.say(text);
      await ann.getsError();
    }
    await quiet(ann, bob);
  });

  told('JSON depth limit', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    let nested = [];
    for (let depth = 0; depth < 2_000; depth += 1) {
      nested = [nested];
    }
    for (const event of ['send_message', 'init_user', 'start_video_call', 'read_message', 'chat message']) {
      ann.emit(event, nested);
      await ann.getsError();
      ann.emit(event, { message: nested, name: nested, offer: nested, messageId: nested });
      await ann.getsError();
    }
    await quiet(ann, bob);
  });

  told('other namespaces are refused', async ({ server, purrrChat }) => {
    for (const name of ['/admin', '/%2f', `/${'x'.repeat(250)}`]) {
      await assert.rejects(new PurrrChat(`${server.url}${name}`, transport).connected(), { message: 'Invalid namespace' });
    }
    // The connection that asked for one may still use the one there is.
    const ann = await purrrChat(transport);
    const refused = await new Promise((resolve) => ann.socket.io.socket('/admin').on('connect_error', resolve));
    assert.equal(refused.message, 'Invalid namespace');
    ann.find('Ann', '');
    await ann.gets('waiting');
  });

  told('origin check', async ({ server }) => {
    const from = (origin) => new PurrrChat(server.url, transport, { extraHeaders: { origin } });
    for (const origin of ['https://evil.example', 'http://localhost:3000.evil.example', 'http://localhost:3001', 'null']) {
      await assert.rejects(from(origin).connected());
    }
    for (const origin of ['http://localhost:3000', server.url]) {
      const page = from(origin);
      await page.connected();
      page.close();
    }
  });
}

story('invalid Socket.IO frames end only their connection', async ({ server, purrrChat }) => {
  const [ann, bob] = await paired(purrrChat, 'polling', 'websocket');
  for (const packet of RUBBISH) {
    const person = await purrrChat('websocket');
    person.emit('find_partner');
    await person.gets('waiting');
    person.inbox.owner = `the sender of ${packet.slice(0, 40)}`;
    // Past the client library, which would not send this.
    person.socket.io.engine.transport.ws.send(packet);
    await person.gets('disconnect');
  }
  // A long one is refused before it is parsed, and the session goes on.
  const long = await purrrChat('websocket');
  long.socket.io.engine.transport.ws.send(`42${'['.repeat(100_000)}`);
  await long.gets('error', { message: 'event too long; maximum 16384 bytes' });
  long.emit('find_partner');
  await long.gets('waiting');
  await quiet(ann, bob);
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
});

story('40 flooding clients do not disturb a chat', async ({ purrrChat, native }) => {
  const [ann, bob] = await paired(purrrChat, 'upgrade');
  const shouters = await Promise.all(
    Array.from({ length: 40 }, (_, number) => purrrChat(['polling', 'websocket', 'upgrade'][number % 3])),
  );
  const nativeShouter = await native();
  for (let round = 0; round < 20; round += 1) {
    for (const shouter of shouters) {
      shouter.emit('send_message', { message: 7 });
      shouter.emit('find_partner', { nonsense: true });
      shouter.emit('disconnect_partner', 'nonsense');
      shouter.emit('init_user');
    }
    ann.say(`${round}`);
    await bob.gets('receive_message', { from: 'Ann', body: `${round}`, image: null, reply: null });
  }
  nativeShouter.send({ type: 'message', id: 1, text: 'hello?' });
  await nativeShouter.getsError('not-paired', 1);
  await quiet(ann, bob);
});

story('drain lets a chat finish', async ({ server, purrrChat, native }) => {
  const [ann, bob] = await paired(purrrChat, 'upgrade');
  const ned = await native();
  process.kill(server.pid, 'SIGTERM');
  const { type, retryAfterMs } = await ned.next();
  assert.equal(type, 'draining');
  assert.ok(retryAfterMs > 0);
  for (const person of [ann, bob]) {
    const [event, told] = await person.next();
    assert.equal(event, 'draining');
    assert.ok(told.retryAfterMs > 0);
  }
  // A client without a chat is closed at some moment of half a minute, or when it asks for something.
  ned.send({ type: 'cancel' });
  ann.say('still there?');
  await bob.gets('receive_message', { from: 'Ann', body: 'still there?', image: null, reply: null });
  ann.emit('disconnect_partner');
  for (const person of [ann, bob]) {
    await person.gets('hide_typing');
    await person.gets('partner_disconnected');
    await person.gets('disconnect');
  }
  assert.equal(await server.ended, 0);
}, { drain: '60s', stopped: true });

const BYTES = Buffer.from('bytes where text belongs');
const NOT_OBJECTS = [[], [null], [7], [true], ['text'], [[]], [BYTES]];
const NOT_STRINGS = [7, true, {}, [], ['text'], BYTES];

/** For each event the arguments it is refused with: none, of another type, with fields of another type, or binary. */
const WRONG = {
  init_user: [
    ...NOT_OBJECTS,
    ...NOT_STRINGS.flatMap((wrong) => [[{ name: wrong, publicKey: '' }], [{ name: 'Ann', publicKey: wrong }]]),
  ],
  send_message: [
    ...NOT_OBJECTS,
    [{}],
    [{ message: null, image: null, reply: null }],
    ...NOT_STRINGS.flatMap((wrong) => [[{ message: wrong }], [{ message: 'text', image: wrong }]]),
    [{ message: null, image: 'data:text/html;base64,PGI+', reply: null }],
    [{ message: null, image: 'data:image/svg+xml;base64,PHN2Zz4=', reply: null }],
  ],
  start_video_call: [...NOT_OBJECTS, [{}], ...NOT_STRINGS.map((wrong) => [{ offer: wrong }])],
  accept_video_call: [...NOT_OBJECTS, [{}], ...NOT_STRINGS.map((wrong) => [{ answer: wrong }])],
  'chat message': [[], [null], [7], [true], [[]], [BYTES], [{}], ...NOT_STRINGS.map((wrong) => [{ message: wrong }])],
  'image upload': [[], [null], [7], [true], [[]], [{}], ...NOT_STRINGS.slice(0, -1).map((wrong) => [{ image: wrong }])],
};

/** Text and binary frames that no Engine.IO or Socket.IO client sends. */
const RUBBISH = [
  '',
  'hello',
  '9',
  '0{}',
  '47',
  '42{}',
  '42[]',
  '42[1,2]',
  '42["send_message"',
  '42["send_message",',
  '42["send_message",{"message":"a"}}',
  '451-["image upload",{"_placeholder":true,"num":7}]',
  '451-["image upload",{"_placeholder":true,"num":-1}]',
  '4599999999-["image upload",{"_placeholder":true,"num":0}]',
  `42${'['.repeat(10_000)}`,
  Buffer.from('binary without a head'),
];
