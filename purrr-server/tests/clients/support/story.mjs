// One test, one server: no client is left over from another test.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Native } from './native.mjs';
import { PurrrChat } from './purrr-chat.mjs';
import { startServer } from './server.mjs';

/**
 * Declares a test that is told with a server of its own, and ends by checking that the server is well: it still answers,
 * stops when asked to, and nothing in it panicked.
 *
 * `tell` is given `purrrChat(transport, options)` and `native()` for letting people in, and the `server` itself. `drain`
 * is how long the server lets chats finish, `recentPartners` how many of the last partners are avoided (none,
 * since most stories bring the same two together over and over), and `stopped` says that the story itself ends with the server's end.
 */
export function story(name, tell, { args = [], drain = '2s', stopped = false, killed = false, timeout = 90_000, recentPartners = '0' } = {}) {
  test(name, { timeout }, async () => {
    const server = await startServer(['--drain', drain, '--recent-partners', recentPartners, ...args]);
    const people = [];
    const enter = async (arriving) => {
      const person = await arriving;
      people.push(person);
      return person;
    };
    try {
      await tell({
        server,
        purrrChat: (transport, options) => enter(PurrrChat.connect(server.url, transport, options)),
        native: () => enter(Native.connect(server.url)),
      });
      if (!stopped) {
        assert.equal((await fetch(`${server.url}/livez`)).status, 200);
        people.forEach((person) => person.close());
      }
      if (!killed) {
        assert.equal(await server.stop(), 0, 'the server stops in order');
      }
      assert.doesNotMatch(server.logs(), /panicked/);
    } catch (error) {
      throw new Error(`${error.message}\nThe server said:\n${server.logs()}`, { cause: error });
    } finally {
      people.forEach((person) => person.close());
      await server.stop('SIGKILL');
    }
  });
}

/** Two clients like the Purrr.chat frontend, without keys, paired. */
export async function paired(purrrChat, transport, other = transport) {
  const [ann, bob] = await Promise.all([purrrChat(transport), purrrChat(other)]);
  ann.find('Ann', '');
  await ann.gets('waiting');
  bob.find('Bob', '');
  await bob.gets('waiting');
  await ann.gets('matched', { partnerName: 'Bob', partnerPk: '' });
  await bob.gets('matched', { partnerName: 'Ann', partnerPk: '' });
  return [ann, bob];
}

/** Checks that nothing is on its way between the two: the next thing either gets is what the other sends now. */
export async function quiet(ann, bob) {
  ann.emit('start_video_call', { offer: 'nothing before this' });
  await bob.gets('recieve_video_call', { offer: 'nothing before this' });
  bob.emit('accept_video_call', { answer: 'nor before this' });
  await ann.gets('accepted_video_call', { answer: 'nor before this' });
}
