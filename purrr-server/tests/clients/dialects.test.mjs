// A person on the Purrr.chat frontend and one on the native dialect, in one chat: what either says reaches the other in
// its own words.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Keys } from './support/encryption.mjs';
import { TRANSPORTS } from './support/purrr-chat.mjs';
import { story } from './support/story.mjs';

// The beginning of a JPEG; the server looks no further.
const JPEG_START = Buffer.from([0xff, 0xd8, 0xff, 0xe0]);

for (const transport of Object.keys(TRANSPORTS)) {
  const told = (name, tell) => story(`${transport}: ${name}`, tell);

  told('texts and replies', async ({ purrrChat, native }) => {
    const [ann, ned] = await paired(purrrChat, native, transport);
    ann.say('first');
    await ned.gets({ type: 'message', id: 1, text: 'first' });
    ned.send({ type: 'message', id: 2, text: 'second', reply: 1 });
    await ann.gets('receive_message', { from: 'Ned', body: 'second', image: null, reply: 0 });
    await ned.gets({ type: 'delivered', id: 2 });
    ann.say('third', 1);
    await ned.gets({ type: 'message', id: 3, text: 'third', reply: 2 });
    // Ids may leap, and a reply may name a message of either side, or none that ever was.
    ned.send({ type: 'message', id: 40, text: 'fourth', reply: 2 });
    await ann.gets('receive_message', { from: 'Ned', body: 'fourth', image: null, reply: 1 });
    await ned.gets({ type: 'delivered', id: 40 });
    ned.send({ type: 'message', id: 41, text: 'fifth', reply: 7 });
    await ann.gets('receive_message', { from: 'Ned', body: 'fifth', image: null, reply: null });
    await ned.gets({ type: 'delivered', id: 41 });
    ann.say('sixth', 99);
    await ned.gets({ type: 'message', id: 42, text: 'sixth' });
    ned.send({ type: 'message', text: 'seventh, without an id' });
    await ann.gets('receive_message', { from: 'Ned', body: 'seventh, without an id', image: null, reply: null });
    ann.emit('chat message', { message: 'eighth', reply: 6 });
    const { reply, ...eighth } = await ned.next();
    assert.deepEqual(eighth, { type: 'message', id: 43, text: 'eighth' });
    assert.equal(reply, undefined, 'a message without an id cannot be named');
    ann.emit('chat message', 'ninth');
    await ned.gets({ type: 'message', id: 44, text: 'ninth' });
  });

  told('images: data URL and bytes', async ({ purrrChat, native }) => {
    const [ann, ned] = await paired(purrrChat, native, transport);
    const bytes = Buffer.concat([JPEG_START, randomBytes(100_000)]);
    const url = `data:image/jpeg;base64,${bytes.toString('base64')}`;
    ann.emit('send_message', { message: null, image: url, reply: null });
    await ned.gets({ type: 'image', id: 1, mime: 'image/jpeg', size: bytes.length });
    await ned.gets(bytes);

    ned.send({ type: 'image', id: 2, mime: 'image/jpeg', size: bytes.length, reply: 1 }, bytes);
    await ann.gets('receive_message', { from: 'Ned', body: null, image: url, reply: 0 });
    await ned.gets({ type: 'delivered', id: 2 });

    for (const payload of [url, { image: url }]) {
      ann.emit('image upload', payload);
      const { id, ...head } = await ned.next();
      assert.ok(Number.isInteger(id));
      assert.deepEqual(head, { type: 'image', mime: 'image/jpeg', size: bytes.length });
      await ned.gets(bytes);
    }

    // A text and a picture in one are two messages here, and the next one is counted after both.
    ann.emit('send_message', { message: 'look', image: url, reply: null });
    const text = await ned.next();
    assert.deepEqual({ ...text, id: 0 }, { type: 'message', id: 0, text: 'look' });
    const head = await ned.next();
    assert.deepEqual({ ...head, id: 0 }, { type: 'image', id: 0, mime: 'image/jpeg', size: bytes.length });
    await ned.gets(bytes);
    ann.say('nice?');
    const after = await ned.next();
    assert.ok(after.id > 4, 'ids go on increasing');
  });

  told('end-to-end encryption', async ({ purrrChat, native }) => {
    const [annKeys, nedKeys] = await Promise.all([Keys.generate(), Keys.generate()]);
    const [ann, ned] = await paired(purrrChat, native, transport, annKeys.publicKey, nedKeys.publicKey);
    const annSecret = await annKeys.secretWith(nedKeys.publicKey);
    const nedSecret = await nedKeys.secretWith(annKeys.publicKey);
    const photograph = `data:image/jpeg;base64,${randomBytes(300_000).toString('base64')}`;

    const greeting = await annSecret.encrypt('hello 🐈');
    ann.say(greeting);
    await ned.gets({ type: 'message', id: 1, text: greeting });
    assert.equal(await nedSecret.decrypt(greeting), 'hello 🐈');

    const answer = await nedSecret.encrypt('hi');
    ned.send({ type: 'message', id: 2, text: answer });
    await ann.gets('receive_message', { from: 'Ned', body: answer, image: null, reply: null });
    await ned.gets({ type: 'delivered', id: 2 });

    const sent = await annSecret.encrypt(photograph);
    ann.emit('send_message', { message: null, image: sent, reply: null });
    const { id, ...head } = await ned.next();
    assert.equal(id, 3);
    assert.deepEqual(head, { type: 'image', mime: 'application/octet-stream', size: sent.length, encrypted: true });
    const bytes = await ned.next();
    assert.ok((await nedSecret.decrypt(bytes.toString())) === photograph);

    const back = Buffer.from(await nedSecret.encrypt(photograph));
    ned.send({ type: 'image', id: 4, mime: 'image/jpeg', size: back.length, encrypted: true }, back);
    const [event, { image, ...rest }] = await ann.next();
    assert.deepEqual([event, rest], ['receive_message', { from: 'Ned', body: null, reply: null }]);
    assert.ok((await annSecret.decrypt(image)) === photograph);
  });

  told('typing and read marks', async ({ purrrChat, native }) => {
    const [ann, ned] = await paired(purrrChat, native, transport);
    ann.emit('typing_start');
    await ned.gets({ type: 'typing', on: true });
    ann.emit('typing_stop');
    await ned.gets({ type: 'typing', on: false });
    ned.send({ type: 'typing', on: true });
    await ann.gets('show_typing');
    ned.send({ type: 'typing', on: false });
    await ann.gets('hide_typing');

    ned.send({ type: 'message', id: 17, text: 'read this' });
    await ann.gets('receive_message', { from: 'Ned', body: 'read this', image: null, reply: null });
    await ned.gets({ type: 'delivered', id: 17 });
    ann.emit('read_message', { messageId: 0 });
    await ned.gets({ type: 'read', id: 17 });
    ann.say('and this');
    await ned.gets({ type: 'message', id: 18, text: 'and this' });
    ned.send({ type: 'read', id: 5 }, { type: 'read', id: 18 });
    await ann.gets('mark_as_read', { messageId: 1 });
  });

  told('call signals', async ({ purrrChat, native }) => {
    const [ann, ned] = await paired(purrrChat, native, transport);
    ann.emit('start_video_call', { offer: 'an offer' });
    await ned.gets({ type: 'signal', kind: 'offer', data: 'an offer' });
    ann.emit('accept_video_call', { answer: 'an answer' });
    await ned.gets({ type: 'signal', kind: 'answer', data: 'an answer' });
    ann.emit('refuse_video_call');
    await ned.gets({ type: 'signal', kind: 'refuse' });
    ann.emit('hang_video_call');
    await ned.gets({ type: 'signal', kind: 'hangup' });

    ned.send({ type: 'signal', kind: 'offer', data: 'an offer' });
    await ann.gets('recieve_video_call', { offer: 'an offer' });
    ned.send({ type: 'signal', kind: 'answer', data: 'an answer' });
    await ann.gets('accepted_video_call', { answer: 'an answer' });
    ned.send({ type: 'signal', kind: 'refuse' });
    await ann.gets('refused_video_calL');
    ned.send({ type: 'signal', kind: 'hangup' });
    await ann.gets('hanged_video_call');
    ned.send({ type: 'signal', kind: 'candidate', data: 'a candidate' });
    await ned.getsError('unsupported-by-partner');
  });

  told('left and partner_disconnected', async ({ purrrChat, native }) => {
    const [ann, ned] = await paired(purrrChat, native, transport);
    const again = async () => {
      ann.emit('find_partner');
      await ann.gets('waiting');
      ned.send({ type: 'find' });
      assert.equal((await ned.next()).type, 'waiting');
      await ann.gets('matched', { partnerName: 'Ned', partnerPk: '' });
      await ned.getsMatched('Ann');
    };
    const annIsLeft = async () => {
      await ann.gets('hide_typing');
      await ann.gets('partner_disconnected');
    };

    ann.emit('disconnect_partner');
    await annIsLeft();
    await ned.gets({ type: 'left', reason: 'left' });

    await again();
    ned.send({ type: 'leave' });
    await ned.gets({ type: 'idle' });
    await annIsLeft();

    await again();
    ned.send({ type: 'next' });
    assert.equal((await ned.next()).type, 'waiting');
    await annIsLeft();
    ann.emit('find_partner');
    await ann.gets('waiting');
    await ann.gets('matched', { partnerName: 'Ned', partnerPk: '' });
    await ned.getsMatched('Ann');

    ned.drop();
    await annIsLeft();

    const [bob, nora] = await paired(purrrChat, native, transport);
    bob.close();
    await nora.gets({ type: 'left', reason: 'lost' });
  });

  told('late events do not reach the next partner', async ({ purrrChat, native }) => {
    const [ann, ned] = await paired(purrrChat, native, transport);
    const bob = await purrrChat(transport);
    bob.find('Bob', '');
    await bob.gets('waiting');
    ann.emit('typing_start');
    await ned.gets({ type: 'typing', on: true });
    ann.say('first');
    await ned.gets({ type: 'message', id: 1, text: 'first' });
    // What the page sends after "Refresh" may still be about the partner it has just left.
    ann.emit('disconnect_partner');
    ann.emit('find_partner');
    await ned.gets({ type: 'left', reason: 'left' });
    await ann.gets('hide_typing');
    await ann.gets('partner_disconnected');
    await ann.gets('waiting');
    await ann.gets('matched', { partnerName: 'Bob', partnerPk: '' });
    await bob.gets('matched', { partnerName: 'Ann', partnerPk: '' });
    ann.emit('typing_stop');
    ann.emit('read_message', { messageId: 0 });
    ann.say('hello Bob');
    await bob.gets('receive_message', { from: 'Ann', body: 'hello Bob', image: null, reply: null });
  });
}

story('client without name', async ({ purrrChat, native }) => {
  const ann = await purrrChat('websocket');
  ann.emit('find_partner');
  await ann.gets('waiting');
  const ned = await native();
  await ned.find();
  await ann.gets('matched', { partnerName: 'Stranger', partnerPk: '' });
  await ned.getsMatched(undefined);
});

story('clients with and without key are not matched across dialects', async ({ purrrChat, native }) => {
  const sealedPurrr = await Keys.generate();
  const sealedNative = await Keys.generate();
  const [ann, bob] = [await purrrChat('websocket'), await purrrChat('websocket')];
  const [ned, nora] = [await native(), await native()];
  ann.find('Ann, sealed', sealedPurrr.publicKey);
  await ann.gets('waiting');
  await ned.find('Ned, open');
  await nora.find('Nora, sealed', sealedNative.publicKey);
  bob.find('Bob, open', '');
  await bob.gets('waiting');
  await ann.gets('matched', { partnerName: 'Nora, sealed', partnerPk: sealedNative.publicKey });
  await nora.getsMatched('Ann, sealed', sealedPurrr.publicKey);
  await bob.gets('matched', { partnerName: 'Ned, open', partnerPk: '' });
  await ned.getsMatched('Bob, open');
});

/** Ann on the frontend and Ned on the native dialect, paired. */
async function paired(purrrChat, native, transport, annsKey = '', nedsKey = undefined) {
  const [ann, ned] = [await purrrChat(transport), await native()];
  ann.find('Ann', annsKey);
  await ann.gets('waiting');
  await ned.find('Ned', nedsKey);
  await ann.gets('matched', { partnerName: 'Ned', partnerPk: nedsKey ?? '' });
  await ned.getsMatched('Ann', annsKey || undefined);
  return [ann, ned];
}
