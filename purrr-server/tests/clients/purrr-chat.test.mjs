// The Purrr.chat dialect, spoken by the real socket.io-client on each of its transports: every event, both ways, with
// exactly the payload the frontend relies on.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Agent } from 'node:http';
import { Keys } from './support/encryption.mjs';
import { PurrrChat, TRANSPORTS } from './support/purrr-chat.mjs';
import { paired, quiet, story } from './support/story.mjs';

/** What a frontend shows for a partner without a name. */
const STRANGER = { partnerName: 'Stranger', partnerPk: '' };

for (const transport of Object.keys(TRANSPORTS)) {
  const told = (name, tell, options) => story(`${transport}: ${name}`, tell, options);

  told('matched has name and key', async ({ purrrChat }) => {
    const [annKeys, bobKeys] = await Promise.all([Keys.generate(), Keys.generate()]);
    const ann = await purrrChat(transport);
    const bob = await purrrChat(transport);
    ann.find('Ann', annKeys.publicKey);
    await ann.gets('waiting');
    bob.find('Bob', bobKeys.publicKey);
    await bob.gets('waiting');
    await ann.gets('matched', { partnerName: 'Bob', partnerPk: bobKeys.publicKey });
    await bob.gets('matched', { partnerName: 'Ann', partnerPk: annKeys.publicKey });
    await quiet(ann, bob);
  });

  told('every event is relayed both ways', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    for (const [me, name, partner] of [[ann, 'Ann', bob], [bob, 'Bob', ann]]) {
      me.emit('send_message', { message: 'hello', image: null, reply: null });
      await partner.gets('receive_message', { from: name, body: 'hello', image: null, reply: null });
      me.emit('send_message', { message: null, image: 'data:image/png;base64,iVBORw0KGgo=', reply: null });
      await partner.gets('receive_message', {
        from: name,
        body: null,
        image: 'data:image/png;base64,iVBORw0KGgo=',
        reply: null,
      });
      me.emit('send_message', { message: 'both', image: 'data:image/png;base64,iVBORw0KGgo=', reply: 0 });
      await partner.gets('receive_message', {
        from: name,
        body: 'both',
        image: 'data:image/png;base64,iVBORw0KGgo=',
        reply: 0,
      });
      me.emit('read_message', { messageId: 0 });
      await partner.gets('mark_as_read', { messageId: 0 });
      me.emit('typing_start');
      await partner.gets('show_typing');
      me.emit('typing_stop');
      await partner.gets('hide_typing');
      me.emit('start_video_call', { offer: '{"type":"offer","sdp":"v=0\\r\\n"}' });
      await partner.gets('recieve_video_call', { offer: '{"type":"offer","sdp":"v=0\\r\\n"}' });
      me.emit('accept_video_call', { answer: '{"type":"answer","sdp":"v=0\\r\\n"}' });
      await partner.gets('accepted_video_call', { answer: '{"type":"answer","sdp":"v=0\\r\\n"}' });
      me.emit('refuse_video_call');
      await partner.gets('refused_video_calL');
      me.emit('hang_video_call');
      await partner.gets('hanged_video_call');
    }
    await quiet(ann, bob);
  });

  told('events of the Purrr.chat README', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    const picture = 'data:image/jpeg;base64,/9j/4A==';
    for (const [me, partner] of [[ann, bob], [bob, ann]]) {
      for (const payload of ['hello', { message: 'hello' }, { message: 'hello', reply: 0 }]) {
        me.emit('chat message', payload);
        await partner.gets('chat message', payload);
      }
      for (const payload of [picture, { image: picture }]) {
        me.emit('image upload', payload);
        await partner.gets('image upload', payload);
      }
      const bytes = Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xd9]), randomBytes(70_000)]);
      me.emit('image upload', bytes);
      const [event, received, ...rest] = await partner.next();
      assert.deepEqual([event, rest], ['image upload', []]);
      assert.deepEqual(Buffer.from(received), bytes);
    }
    await quiet(ann, bob);
  });

  told('autoPair searches on connect', async ({ purrrChat }) => {
    const ann = await purrrChat(transport, { auth: { autoPair: true } });
    await ann.gets('waiting');
    const bob = await purrrChat(transport, { auth: { autoPair: true } });
    await bob.gets('waiting');
    await ann.gets('matched', STRANGER);
    await bob.gets('matched', STRANGER);
    ann.say('hello');
    await bob.gets('receive_message', { from: 'Stranger', body: 'hello', image: null, reply: null });
    const watcher = await purrrChat(transport, { auth: { autoPair: false } });
    watcher.emit('typing_start');
    await watcher.gets('error', { message: 'No partner found.' });
  });

  told('client without name is a stranger', async ({ purrrChat }) => {
    const ann = await purrrChat(transport);
    ann.emit('find_partner');
    await ann.gets('waiting');
    const bob = await purrrChat(transport);
    bob.find('', '');
    await bob.gets('waiting');
    await ann.gets('matched', STRANGER);
    await bob.gets('matched', STRANGER);
  });

  told('find_partner is idempotent', async ({ purrrChat }) => {
    const ann = await purrrChat(transport);
    ann.find('Ann', '');
    ann.emit('find_partner');
    await ann.gets('waiting');
    await ann.gets('waiting');
    const bob = await purrrChat(transport);
    bob.find('Bob', '');
    await bob.gets('waiting');
    await ann.gets('matched', { partnerName: 'Bob', partnerPk: '' });
    await bob.gets('matched', { partnerName: 'Ann', partnerPk: '' });
    // Had the second search left a ticket behind, Cleo would meet it instead of Dan.
    const cleo = await purrrChat(transport);
    cleo.find('Cleo', '');
    await cleo.gets('waiting');
    const dan = await purrrChat(transport);
    dan.find('Dan', '');
    await dan.gets('waiting');
    await cleo.gets('matched', { partnerName: 'Dan', partnerPk: '' });
    await quiet(ann, bob);
  });

  told('disconnect_partner tells both and hides typing', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    ann.emit('typing_start');
    await bob.gets('show_typing');
    ann.emit('disconnect_partner');
    for (const person of [ann, bob]) {
      await person.gets('hide_typing');
      await person.gets('partner_disconnected');
    }
    for (const person of [ann, bob]) {
      person.say('too late');
      await person.gets('error', { message: 'No partner found.' });
    }
  });

  told('read marks are reset when a chat ends', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    ann.say('read this');
    await bob.gets('receive_message', { from: 'Ann', body: 'read this', image: null, reply: null });
    bob.emit('read_message', { messageId: 0 });
    await ann.gets('mark_as_read', { messageId: 0 });
    ann.emit('disconnect_partner');
    // The page would show it at the message with this number that the next partner has not read.
    await ann.gets('mark_as_read', { messageId: -1 });
    for (const person of [ann, bob]) {
      await person.gets('hide_typing');
      await person.gets('partner_disconnected');
    }
  });

  told('connection loss tells the partner', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    ann.emit('typing_start');
    await bob.gets('show_typing');
    ann.close();
    await bob.gets('hide_typing');
    await bob.gets('partner_disconnected');
  });

  told('disconnect_partner leaves the queue', async ({ purrrChat }) => {
    const ann = await purrrChat(transport);
    ann.find('Ann', '');
    await ann.gets('waiting');
    ann.emit('disconnect_partner');
    // The answer to this comes after whatever leaving may have said, which is nothing.
    ann.say('still here?');
    await ann.gets('error', { message: 'No partner found.' });
    const [bob, cleo] = await Promise.all([purrrChat(transport), purrrChat(transport)]);
    bob.find('Bob', '');
    await bob.gets('waiting');
    cleo.find('Cleo', '');
    await cleo.gets('waiting');
    await bob.gets('matched', { partnerName: 'Cleo', partnerPk: '' });
  });

  told('refresh leaves and searches again', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    const cleo = await purrrChat(transport);
    cleo.find('Cleo', '');
    await cleo.gets('waiting');
    const names = new Map([[bob, 'Bob'], [cleo, 'Cleo']]);
    let [partner, free] = [bob, cleo];
    for (let round = 0; round < 20; round += 1) {
      ann.emit('disconnect_partner');
      ann.emit('find_partner');
      for (const person of [ann, partner]) {
        await person.gets('hide_typing');
        await person.gets('partner_disconnected');
      }
      await ann.gets('waiting');
      await ann.gets('matched', { partnerName: names.get(free), partnerPk: '' });
      await free.gets('matched', { partnerName: 'Ann', partnerPk: '' });
      partner.emit('find_partner');
      await partner.gets('waiting');
      [partner, free] = [free, partner];
    }
    await quiet(ann, partner);
  });

  told('events without partner get an error', async ({ purrrChat }) => {
    const ann = await purrrChat(transport);
    const everything = [
      ['send_message', { message: 'hello', image: null, reply: null }],
      ['read_message', { messageId: 0 }],
      ['typing_start'],
      ['typing_stop'],
      ['start_video_call', { offer: 'offer' }],
      ['accept_video_call', { answer: 'answer' }],
      ['refuse_video_call'],
      ['hang_video_call'],
      ['chat message', 'hello'],
      ['chat message', { message: 'hello' }],
      ['image upload', 'data:image/jpeg;base64,/9j/4A=='],
      ['image upload', randomBytes(100)],
    ];
    const answered = async () => {
      for (const event of everything) {
        ann.emit(...event);
        await ann.gets('error', { message: 'No partner found.' });
      }
    };
    await answered();
    ann.find('Ann', '');
    await ann.gets('waiting');
    await answered();
  });

  told('replies and read marks name messages of this chat only', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    const say = async (me, partner, reply, arrives) => {
      me.emit('send_message', { message: 'text', image: null, reply });
      const from = me === ann ? 'Ann' : 'Bob';
      await partner.gets('receive_message', { from, body: 'text', image: null, reply: arrives });
    };
    await say(ann, bob, 0, null); // Its own index is no message yet.
    await say(bob, ann, 0, 0);
    await say(ann, bob, 1, 1);
    await say(ann, bob, 0, 0);
    for (const nowhere of [null, undefined, 99, -1, 0.5, 1e300, 2 ** 53, 2 ** 31]) {
      await say(bob, ann, nowhere, null);
    }
    const exchanged = 12;
    await say(ann, bob, exchanged - 1, exchanged - 1);
    await say(ann, bob, exchanged + 1, null);

    for (const messageId of [-1, 999, 0.5, 1e300, 2 ** 53]) {
      bob.emit('read_message', { messageId });
    }
    for (const messageId of [0, 1, 2, 0, exchanged]) {
      bob.emit('read_message', { messageId });
      await ann.gets('mark_as_read', { messageId });
    }
    await quiet(ann, bob);

    // The count starts anew with the next chat.
    ann.emit('disconnect_partner');
    await ann.gets('mark_as_read', { messageId: -1 });
    for (const person of [ann, bob]) {
      await person.gets('hide_typing');
      await person.gets('partner_disconnected');
      person.emit('find_partner');
      await person.gets('waiting');
    }
    await ann.gets('matched', { partnerName: 'Bob', partnerPk: '' });
    await bob.gets('matched', { partnerName: 'Ann', partnerPk: '' });
    bob.emit('read_message', { messageId: 0 });
    // Two connections have no order between them: the mark is waited for before either side says anything.
    await quiet(ann, bob);
    await say(ann, bob, 3, null);
    await say(bob, ann, 0, 0);
    await quiet(ann, bob);
  });

  told('late events do not reach the next partner', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    let [partner, free] = [bob, await purrrChat(transport)];
    free.emit('init_user', { name: 'Bob', publicKey: '' });
    for (let round = 0; round < 20; round += 1) {
      free.emit('find_partner');
      await free.gets('waiting');
      // All of this leaves before the next partner can be known: the page encrypts and calls as it goes.
      ann.emit('disconnect_partner');
      ann.emit('find_partner');
      ann.say('for the last one');
      ann.emit('typing_start');
      ann.emit('start_video_call', { offer: 'for the last one' });
      ann.emit('read_message', { messageId: 0 });
      for (const person of [ann, partner]) {
        await person.gets('hide_typing');
        await person.gets('partner_disconnected');
      }
      await ann.gets('waiting');
      let event;
      do {
        // What came before there was a next partner is answered as ever.
        [event] = await ann.next();
        assert.ok(['matched', 'error'].includes(event), event);
      } while (event !== 'matched');
      ann.say(`for number ${round}`);
      await free.gets('matched', { partnerName: 'Ann', partnerPk: '' });
      await free.gets('receive_message', { from: 'Ann', body: `for number ${round}`, image: null, reply: null });
      free.say('an answer', 0);
      await ann.gets('receive_message', { from: 'Bob', body: 'an answer', image: null, reply: 0 });
      [partner, free] = [free, partner];
    }
  });

  told('missing fields count as null', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    ann.emit('send_message', { message: 'only text' });
    await bob.gets('receive_message', { from: 'Ann', body: 'only text', image: null, reply: null });
    ann.emit('send_message', { image: 'data:image/gif;base64,R0lGODlh' });
    await bob.gets('receive_message', { from: 'Ann', body: null, image: 'data:image/gif;base64,R0lGODlh', reply: null });
    ann.emit('send_message', { message: '', image: null, reply: null });
    await bob.gets('receive_message', { from: 'Ann', body: '', image: null, reply: null });
  });

  told('names and texts arrive byte for byte', async ({ purrrChat }) => {
    const people = await Promise.all([purrrChat(transport), purrrChat(transport)]);
    const [ann, bob] = people;
    bob.find('Bob', '');
    await bob.gets('waiting');
    for (const text of WRITING) {
      ann.find(text, '');
      await ann.gets('waiting');
      await ann.gets('matched', { partnerName: 'Bob', partnerPk: '' });
      await bob.gets('matched', { partnerName: text, partnerPk: '' });
      ann.say(text);
      await bob.gets('receive_message', { from: text, body: text, image: null, reply: null });
      ann.emit('disconnect_partner');
      for (const person of people) {
        await person.gets('hide_typing');
        await person.gets('partner_disconnected');
      }
      bob.emit('find_partner');
      await bob.gets('waiting');
    }
  });

  told('1,000 messages each way arrive in order', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    for (let number = 0; number < 1_000; number += 1) {
      ann.say(`Ann ${number}`);
      bob.say(`Bob ${number}`);
    }
    for (let number = 0; number < 1_000; number += 1) {
      await ann.gets('receive_message', { from: 'Bob', body: `Bob ${number}`, image: null, reply: null });
      await bob.gets('receive_message', { from: 'Ann', body: `Ann ${number}`, image: null, reply: null });
    }
    await quiet(ann, bob);
  });

  for (const other of Object.keys(TRANSPORTS)) {
    told(`burst of 2,000 events reaches ${other} once and in order`, async ({ purrrChat }) => {
      // On `upgrade` the pair is made while both connections are still on their way from polling to WebSocket.
      const [ann, bob] = await paired(purrrChat, transport, other);
      for (let number = 0; number < 1_000; number += 1) {
        ann.say(`${number}`);
        ann.emit('start_video_call', { offer: `${number}` });
      }
      for (let number = 0; number < 1_000; number += 1) {
        await bob.gets('receive_message', { from: 'Ann', body: `${number}`, image: null, reply: null });
        await bob.gets('recieve_video_call', { offer: `${number}` });
      }
      await quiet(ann, bob);
    });
  }

  told('events before the connection are not lost', async ({ server, purrrChat }) => {
    const bob = await purrrChat(transport);
    bob.find('Bob', '');
    await bob.gets('waiting');
    const ann = new PurrrChat(server.url, transport);
    ann.find('Ann', '');
    for (let number = 0; number < 500; number += 1) {
      // Sent before either side knows whether there is a partner, so that each is either relayed or answered.
      ann.say(`${number}`);
    }
    await ann.connected();
    await ann.gets('waiting');
    await bob.gets('matched', { partnerName: 'Ann', partnerPk: '' });
    let refused = 0;
    let [event, payload] = await ann.next();
    while (event === 'error') {
      assert.deepEqual(payload, { message: 'No partner found.' });
      refused += 1;
      [event, payload] = await ann.next();
    }
    assert.deepEqual([event, payload], ['matched', { partnerName: 'Bob', partnerPk: '' }]);
    for (let number = refused; number < 500; number += 1) {
      await bob.gets('receive_message', { from: 'Ann', body: `${number}`, image: null, reply: null });
    }
    await quiet(ann, bob);
    ann.close();
  });

  told('encrypted image of 5 MB', async ({ purrrChat }) => {
    const [annKeys, bobKeys] = await Promise.all([Keys.generate(), Keys.generate()]);
    const [ann, bob] = await Promise.all([purrrChat(transport), purrrChat(transport)]);
    ann.find('Ann', annKeys.publicKey);
    await ann.gets('waiting');
    bob.find('Bob', bobKeys.publicKey);
    await bob.gets('waiting');
    const [, { partnerPk: bobsKey }] = await ann.next();
    const [, { partnerPk: annsKey }] = await bob.next();

    const photograph = `data:image/jpeg;base64,${randomBytes(5 * 1024 * 1024).toString('base64')}`;
    const image = await (await annKeys.secretWith(bobsKey)).encrypt(photograph);
    assert.ok(image.length > 9_300_000);
    ann.emit('send_message', { message: null, image, reply: null });
    const [event, received] = await bob.next(60_000);
    assert.equal(event, 'receive_message');
    assert.deepEqual({ ...received, image: null }, { from: 'Ann', body: null, image: null, reply: null });
    assert.ok(received.image === image, 'the picture is what was sent, character by character');
    const opened = await (await bobKeys.secretWith(annsKey)).decrypt(received.image);
    assert.ok(opened === photograph, 'and opens to the photograph');

    ann.say('seen?');
    await bob.gets('receive_message', { from: 'Ann', body: 'seen?', image: null, reply: null });
    await quiet(ann, bob);
  });

  told('40 clients are all matched', async ({ purrrChat }) => {
    const names = Array.from({ length: 40 }, (_, number) => `person ${number}`);
    const people = await Promise.all(names.map(() => purrrChat(transport)));
    people.forEach((person, number) => person.find(names[number], ''));
    const partners = await Promise.all(
      people.map(async (person) => {
        await person.gets('waiting');
        const [event, { partnerName }] = await person.next();
        assert.equal(event, 'matched');
        return names.indexOf(partnerName);
      }),
    );
    partners.forEach((partner, number) => {
      assert.notEqual(partner, number, 'no client is its own partner');
      assert.equal(partners[partner], number, 'and the partner agrees');
    });
    people.forEach((person, number) => person.say(`I am ${names[number]}`));
    await Promise.all(
      people.map(async (person, number) => {
        const from = names[partners[number]];
        await person.gets('receive_message', { from, body: `I am ${from}`, image: null, reply: null });
      }),
    );
    await Promise.all(
      people.map((person, number) => number < partners[number] && quiet(person, people[partners[number]])),
    );
  });

  told('chat outlives heartbeats', async ({ purrrChat }) => {
    const [ann, bob] = await paired(purrrChat, transport);
    const beats = (person, count) =>
      new Promise((resolve) => {
        person.socket.io.on('ping', () => (count -= 1) === 0 && resolve());
      });
    await Promise.all([beats(ann, 5), beats(bob, 5)]);
    await quiet(ann, bob);
  }, { args: ['--ping-interval', '200ms', '--ping-timeout', '2s'] });
}

story('transport and upgrade negotiation', async ({ purrrChat }) => {
  const polling = await purrrChat('polling');
  const websocket = await purrrChat('websocket');
  const upgrade = await purrrChat('upgrade');
  await upgrade.upgraded();
  assert.deepEqual([polling.current, websocket.current, upgrade.current], ['polling', 'websocket', 'websocket']);
});

story('upgrade loses no event in either direction', async ({ purrrChat }) => {
  const ann = await purrrChat('websocket', { auth: { autoPair: true } });
  for (let round = 0; round < 20; round += 1) {
    await ann.gets('waiting');
    const gate = new Gate();
    const transportOptions = { websocket: { agent: gate } };
    const bob = await purrrChat('upgrade', { auth: { autoPair: true }, transportOptions });
    await bob.gets('waiting');
    await bob.gets('matched', STRANGER);
    await ann.gets('matched', STRANGER);

    let sent = 0;
    const talk = async (count) => {
      const numbers = Array.from({ length: count }, (_, number) => `${sent + number}`);
      sent += count;
      for (const number of numbers) {
        ann.say(number);
        bob.say(number);
      }
      for (const number of numbers) {
        await ann.gets('receive_message', { from: 'Stranger', body: number, image: null, reply: null });
        await bob.gets('receive_message', { from: 'Stranger', body: number, image: null, reply: null });
      }
    };
    await talk(20);
    assert.equal(bob.current, 'polling');
    let upgraded = false;
    bob.upgraded().then(() => (upgraded = true));
    gate.open();
    while (!upgraded) {
      await talk(20);
    }
    await talk(20);
    assert.equal(bob.current, 'websocket');
    await quiet(ann, bob);
    bob.close();
    await ann.gets('hide_typing');
    await ann.gets('partner_disconnected');
    ann.emit('find_partner');
  }
});

story('clients with and without key are not matched', async ({ purrrChat }) => {
  const sealed = await purrrChat('websocket');
  const { publicKey } = await Keys.generate();
  sealed.find('Sealed', publicKey);
  await sealed.gets('waiting');

  const raw = Buffer.from(publicKey, 'base64');
  const offTheCurve = Buffer.concat([raw.subarray(0, 64), Buffer.from([raw[64] ^ 1])]);
  const compressed = Buffer.concat([Buffer.from([2 + (raw[64] & 1)]), raw.subarray(1, 33)]);
  const unusable = [
    '',
    'no key',
    offTheCurve.toString('base64'),
    compressed.toString('base64'),
    raw.subarray(0, 64).toString('base64'),
    raw.toString('hex'),
    ` ${publicKey}`,
    publicKey.replace('=', ''),
  ];
  for (const key of unusable) {
    const [open, other] = [await purrrChat('websocket'), await purrrChat('websocket')];
    open.find('Open', key);
    await open.gets('waiting');
    other.emit('find_partner');
    await other.gets('waiting');
    // A client with an unusable key is paired with one without a key, although a client with a key has waited longer.
    await open.gets('matched', STRANGER);
    await other.gets('matched', { partnerName: 'Open', partnerPk: key });
  }

  const second = await Keys.generate();
  const partner = await purrrChat('polling');
  partner.find('Partner', second.publicKey);
  await partner.gets('waiting');
  await sealed.gets('matched', { partnerName: 'Partner', partnerPk: second.publicKey });
  await partner.gets('matched', { partnerName: 'Sealed', partnerPk: publicKey });
});

/** Holds back the connections made through it until it is opened. */
class Gate extends Agent {
  #opened = new Promise((resolve) => (this.open = resolve));

  createConnection(options, connected) {
    this.#opened.then(() => connected(null, super.createConnection(options)));
  }
}

/** Writing that careless code alters: other scripts, marks that combine or turn the direction, NUL, and long names. */
const WRITING = [
  'Zoë Ω Ж 猫 かな 한글',
  '👩‍👩‍👧‍👦 🏳️‍🌈 🐈‍⬛',
  'مرحبا ‮abc‬ ‏שלום',
  'a\u0000b\u0000',
  '\u0001\u001e\u001f\u007f\u0085\u2028\u2029',
  'z̷̢̛͓̪̗̓͒a̴̡l̵g̶o̷',
  '\u200b\ufeff zero \u2060width',
  '"quoted" \\ \\u0041 {"json":[1,2]} 42["send_message"]',
  '<b onmouseover="alert(1)">&lt;</b>',
  '  spaces and\ttabs\r\nand lines  ',
  'x'.repeat(256),
  '🐈'.repeat(256),
];
