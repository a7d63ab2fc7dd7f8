// A chat outlives its connection: cut and held lines, an offline browser, reloads, and a second claim of the same session.

import assert from 'node:assert/strict';
import { Line } from './support/line.mjs';
import { Native } from './support/native.mjs';
import { LOST, acquainted, give, pageStory, withNative } from './support/page.mjs';

/** What a browser says of its own while connections fail in more ways than one. */
const ANY = /./;

/** Two visitors in a chat, of whom the first has a line that can be cut. */
async function onLine({ server, visit }, settings) {
  const line = await Line.to(server.port);
  const [ann, bob] = await acquainted(visit, { url: line.url, ...settings });
  ann.expect(LOST);
  return { line, ann, bob };
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const reload = (visitor) => {
  visitor.page.on('dialog', (dialog) => dialog.accept());
  return visitor.page.reload();
};
/** Keeps the page away until it is loaded anew. Runs in the browser. */
const staysAway = () => {
  globalThis.WebSocket = class extends WebSocket {
    constructor() {
      super('ws://127.0.0.1:9');
    }
  };
};
async function dropsAndStaysAway(visitor, line) {
  await visitor.page.evaluate(staysAway);
  await line.cut();
  await line.mend();
}
const session = ({ page }) => page.evaluate(() => sessionStorage.getItem('purrr.session'));

async function sendsPicture(visitor) {
  await give(visitor, 'paste', 'image/png');
  await visitor.sees('preview');
  await visitor.the('send').click();
}

/** Waits until the partner's transcript is exactly this; pictures have no words. */
async function hearsInOrder(visitor, texts, pictures = 0) {
  await visitor.hears(texts.at(-1));
  const lines = await visitor.page.locator('.theirs .words').allTextContents();
  assert.deepEqual(lines, texts);
  assert.equal(await visitor.page.locator('.theirs .picture').count(), pictures);
}

pageStory('cut_line_in_a_chat_is_resumed_and_what_was_typed_meanwhile_arrives_once', async (cast) => {
  const { line, ann, bob } = await onLine(cast);
  await ann.say('before');
  await bob.hears('before');
  await ann.the('text').pressSequentially('Hm');
  await bob.sees('typing');
  await line.cut();
  await bob.the('away').getByText('Ann’s connection dropped.').waitFor();
  assert.equal(await bob.the('typing').isVisible(), false, 'a partner who is away does not type');
  await ann.the('banner').getByText('Reconnecting.').waitFor();
  await ann.say('first');
  await sendsPicture(ann);
  await ann.say('second');
  await ann.knows('first', 'sending');
  await bob.say('are you there?');
  await line.mend();
  await ann.seesNo('banner');
  await bob.seesNo('away');
  await bob.the('log').getByText('Ann is back.').waitFor();
  await hearsInOrder(bob, ['before', 'first', 'second'], 1);
  await hearsInOrder(ann, ['are you there?']);
  await ann.knows('second', 'read');
  await bob.knows('are you there?', 'read');
  assert.equal(await ann.safetyCode(), await bob.safetyCode());
  assert.equal(await ann.the('over').isVisible(), false);
  await line.cut();
});

pageStory('short_drop_is_not_spoken_of', async (cast) => {
  const { line, ann, bob } = await onLine(cast);
  const shown = (visitor, id) =>
    visitor.page.evaluate((id) => {
      globalThis.shown = false;
      const place = document.getElementById(id);
      new MutationObserver(() => (globalThis.shown ||= !place.hidden)).observe(place, { attributes: true });
    }, id);
  await shown(ann, 'banner');
  await shown(bob, 'away');
  await line.cut();
  await line.mend();
  await ann.say('nothing happened');
  await bob.hears('nothing happened');
  for (const visitor of [ann, bob]) {
    assert.equal(await visitor.page.evaluate(() => globalThis.shown), false);
  }
  await line.cut();
});

pageStory('messages_written_into_a_dying_line_arrive_once_and_in_order', async (cast) => {
  const { line, ann, bob } = await onLine(cast);
  const texts = Array.from({ length: 12 }, (_, number) => `line ${number}`);
  for (const [number, text] of texts.entries()) {
    await ann.say(text);
    if (number % 4 === 3) {
      // Some of these were read by the server, and some were not.
      await line.cut();
      await line.mend();
    }
  }
  await hearsInOrder(bob, texts);
  await line.cut();
});

pageStory('W3: line_held_for_eight_seconds_keeps_the_chat', async (cast) => {
  const { line, ann, bob } = await onLine(cast);
  line.hold();
  await ann.say('into the tunnel');
  await bob.say('and out of it');
  await sleep(8_000);
  line.release();
  await bob.hears('into the tunnel');
  await ann.hears('and out of it');
  await hearsInOrder(bob, ['into the tunnel']);
  await ann.knows('into the tunnel', 'read');
  await line.cut();
});

pageStory('browser_that_goes_offline_and_comes_back_keeps_the_chat', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  ann.expect(ANY);
  const context = ann.page.context();
  await context.setOffline(true);
  await ann.sees('banner');
  await ann.say('in the tunnel');
  await ann.knows('in the tunnel', 'sending');
  await context.setOffline(false);
  await hearsInOrder(bob, ['in the tunnel']);
  await ann.seesNo('banner');
});

pageStory('picture_that_was_on_its_way_arrives_once', async (cast) => {
  const prepare = () => {
    const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function (data) {
      // The first picture goes nowhere, nor does what is behind it on that line.
      if (typeof data !== 'string') {
        globalThis.swallowed ??= this;
      }
      if (globalThis.swallowed !== this) {
        send.call(this, data);
      }
    };
  };
  const { line, ann, bob } = await onLine(cast, { prepare });
  await sendsPicture(ann);
  await ann.say('look at this');
  await ann.page.waitForFunction(() => Boolean(globalThis.swallowed));
  await line.cut();
  await line.mend();
  await hearsInOrder(bob, ['look at this'], 1);
  await ann.knows('look at this', 'read');
  await line.cut();
});

pageStory('reload_comes_back_to_the_same_stranger_with_a_new_safety_code', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.say('a secret');
  await bob.hears('a secret');
  await bob.say('another one');
  await ann.hears('another one');
  const code = await ann.safetyCode();
  await reload(ann);
  await ann.meets('Bob');
  for (const visitor of [ann, bob]) {
    await visitor.the('log').getByText('the safety code has changed').waitFor();
  }
  await ann.the('log').getByText('The conversation before the reload is not kept.').waitFor();
  assert.deepEqual(await ann.transcript(), []);
  const kept = await session(ann);
  assert.doesNotMatch(kept, /secret|another one|Bob/, 'nothing that was said is stored');

  await ann.say('here again');
  await hearsInOrder(bob, ['a secret', 'here again']);
  await bob.say('good');
  await hearsInOrder(ann, ['good']);
  await ann.knows('here again', 'read');
  assert.notEqual(await ann.safetyCode(), code);
  assert.equal(await ann.safetyCode(), await bob.safetyCode());
  // Ids go on where they were, so an answer quotes what it is for.
  const answer = await bob.hears('here again');
  await answer.hover();
  await answer.getByTestId('reply').click();
  await bob.say('finally');
  assert.equal(await (await ann.hears('finally')).locator('.quote').textContent(), 'here again');
  assert.equal(await bob.the('away').isVisible(), false);
  await bob.the('leave').click();
  await bob.the('really-leave').click();
  await ann.the('over-title').getByText('Bob left the chat.').waitFor();
  await reload(ann);
  await ann.page.locator('[data-testid=find]:enabled').waitFor();
});

pageStory('message_sealed_for_the_key_before_a_reload_is_sent_anew', async (cast) => {
  const { line, ann, bob } = await onLine(cast);
  ann.expect(ANY);
  await dropsAndStaysAway(ann, line);
  await bob.sees('away');
  await bob.say('which key is this for?');
  await sendsPicture(bob);
  await bob.say('and this?');
  await reload(ann);
  await ann.meets('Bob');
  await hearsInOrder(ann, ['which key is this for?', 'and this?'], 1);
  assert.equal(await ann.page.locator('.problem').count(), 0);
  await bob.knows('and this?', 'read');
  await line.cut();
});

pageStory('unsent_messages_of_before_a_reload_are_owned_up_to', async (cast) => {
  const { line, ann } = await onLine(cast);
  ann.expect(ANY);
  await line.cut();
  await ann.sees('banner');
  await ann.page.evaluate(staysAway);
  await ann.say('does not arrive');
  await line.mend();
  await reload(ann);
  await ann.meets('Bob');
  await ann.the('log').getByText('What you sent last did not arrive.').waitFor();
  await line.cut();
});

pageStory('page_copied_to_a_second_tab_is_a_new_visitor', async ({ visit, server }) => {
  const [ann, bob] = await acquainted(visit);
  const copied = await session(ann);
  const context = ann.page.context();
  const second = await context.newPage();
  await second.addInitScript((copied) => {
    if (!sessionStorage.getItem('purrr.session')) {
      sessionStorage.setItem('purrr.session', copied);
    }
  }, copied);
  await second.goto(server.url);
  await second.locator('[data-testid=find]:enabled').waitFor();
  await ann.say('still me');
  await bob.hears('still me');
  await second.close();
});

pageStory('session_that_another_connection_claims_is_said_to_be_taken_over', async ({ visit, server }) => {
  const [ann, bob] = await acquainted(visit);
  const { tokens, chat } = JSON.parse(await session(ann));
  const sockets = [];
  ann.page.on('websocket', (socket) => sockets.push(socket));
  const thief = await Native.connect(server.url);
  thief.send({ type: 'hello', name: 'Ann', resume: tokens.at(-1), chat: chat.chat, received: chat.received });
  assert.equal((await thief.next()).type, 'resumed');
  await ann.the('over-title').getByText('This goes on in another tab or window.').waitFor();
  await ann.the('banner').getByText('This goes on in another tab or window.').waitFor();
  await ann.page.evaluate(() => window.dispatchEvent(new Event('online')));
  await sleep(1_500);
  assert.equal(sockets.length, 0, 'it does not reconnect of its own accord');
  assert.equal(await bob.the('over').isVisible(), false, 'the chat goes on');
  thief.send({ type: 'leave' });
  await bob.sees('over');

  await ann.page.getByRole('button', { name: 'Try now' }).click();
  await ann.seesNo('banner');
  await ann.the('again').click();
  await bob.page.locator('[data-testid=again]:enabled').click();
  await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
  thief.close();
});

pageStory(
  'chat_that_expired_ends_with_the_true_reason',
  async (cast) => {
    const { line, ann, bob } = await onLine(cast);
    await line.cut();
    await ann.sees('banner');
    await ann.say('too late');
    await bob.the('over-title').getByText('Ann lost the connection.').waitFor();
    await line.mend();
    await ann.the('over-title').getByText('Your connection was lost, and the chat with it.').waitFor();
    await ann.knows('too late', 'failed');
    await ann.seesNo('banner');
    await line.cut();
  },
  { args: ['--resume-window', '2s'] },
);

pageStory(
  'server_that_resumes_nothing_ends_the_chat_with_the_connection',
  async (cast) => {
    const { line, ann, bob } = await onLine(cast);
    await line.cut();
    await bob.the('over-title').getByText('Ann lost the connection.').waitFor();
    await line.mend();
    await ann.the('over-title').getByText('Your connection was lost, and the chat with it.').waitFor();
    await line.cut();
  },
  { args: ['--resume-window', '0'] },
);

pageStory('partner_who_leaves_meanwhile_is_named_as_the_reason', async (cast) => {
  const { line, ann, bob } = await onLine(cast);
  await line.cut();
  await bob.sees('away');
  await bob.say('bye');
  await bob.the('leave').click();
  await bob.the('really-leave').click();
  await bob.sees('over');
  await line.mend();
  await ann.the('over-title').getByText('Bob left the chat.').waitFor();
  assert.deepEqual(await ann.transcript(), ['bye'], 'what came before it is read first');
  await ann.seesNo('banner');
  await line.cut();
});

for (const [kind, said, done] of [
  ['leave', 'You left the chat.', 'You left the chat.'],
  ['block-now', 'You left. Bob will be blocked once you are connected again.', 'You left, and won’t meet Bob again.'],
]) {
  pageStory(`${kind}_without_a_connection_is_done_at_once_and_told_later`, async (cast) => {
    const { line, ann, bob } = await onLine(cast);
    await line.cut();
    await ann.sees('banner');
    await ann.the(kind).click();
    await ann.the('really-leave').click();
    await ann.the('over-title').getByText(said).waitFor();
    assert.equal(await bob.the('over').isVisible(), false);
    await line.mend();
    await bob.the('over-title').getByText('Ann left the chat.').waitFor();
    await ann.the('over-title').getByText(done).waitFor();
    await ann.seesNo('banner');
    await line.cut();
  });
}

pageStory('block_without_a_connection_is_told_after_a_reload', async (cast) => {
  const { line, ann, bob } = await onLine(cast);
  ann.expect(ANY);
  await dropsAndStaysAway(ann, line);
  await ann.sees('banner');
  await ann.the('block-now').click();
  await ann.the('really-leave').click();
  await ann.sees('over');
  await reload(ann);
  await ann.the('notice').getByText('You won’t meet Bob again.').waitFor();
  await bob.the('over-title').getByText('Ann left the chat.').waitFor();
  await ann.page.locator('[data-testid=find]:enabled').click();
  await bob.page.locator('[data-testid=again]:enabled').click();
  await bob.the('online-waiting').getByText('2 people are here.').waitFor();
  const cleo = await cast.visit();
  await cleo.find('Cleo');
  await cleo.page.locator('#chat').waitFor();
  const { waiting } = await (await fetch(`${cast.server.url}/healthz`)).json();
  assert.equal(waiting, 1, 'two who blocked each other are not matched');
  await line.cut();
});

pageStory(
  'block_without_a_connection_for_too_long_is_owned_up_to',
  async (cast) => {
    const { line, ann, bob } = await onLine(cast);
    await line.cut();
    await ann.sees('banner');
    await ann.the('block-now').click();
    await ann.the('really-leave').click();
    await ann.the('over-title').getByText('Bob will be blocked once you are connected again.').waitFor();
    await bob.the('over-title').getByText('Ann lost the connection.').waitFor();
    await line.mend();
    await ann.the('over-title').getByText('Bob may not be blocked').waitFor();
    await ann.seesNo('banner');
    await line.cut();
  },
  { args: ['--resume-window', '2s'] },
);

pageStory('next_without_a_connection_searches_for_another', async (cast) => {
  const { line, ann, bob } = await onLine(cast);
  await line.cut();
  await ann.sees('banner');
  await ann.the('next').click();
  await ann.sees('cancel');
  const cleo = await cast.visit();
  await cleo.find('Cleo');
  await cleo.sees('cancel');
  await line.mend();
  await bob.sees('over');
  await Promise.all([ann.meets('Cleo'), cleo.meets('Ann')]);
  await line.cut();
});

pageStory(
  'hidden_page_is_waited_for_longer',
  async (cast) => {
    const { line, ann, bob } = await onLine(cast);
    await ann.look(false);
    await ann.page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 300)));
    await line.cut();
    await bob.sees('away');
    await sleep(2_500);
    await line.mend();
    await ann.look(true);
    await bob.seesNo('away');
    await ann.say('back from my pocket');
    await bob.hears('back from my pocket');
    await line.cut();
  },
  { args: ['--resume-window', '2s', '--background-window', '1m'] },
);

pageStory('acknowledgements_are_few_and_images_are_acknowledged_at_once', async (cast) => {
  const prepare = () => {
    globalThis.acks = [];
    const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function (data) {
      if (typeof data === 'string' && JSON.parse(data).type === 'ack') {
        globalThis.acks.push(JSON.parse(data).received);
      }
      send.call(this, data);
    };
  };
  const { ann, bob, secret } = await withNative(cast, { prepare });
  const acks = () => ann.page.evaluate(() => globalThis.acks);
  for (let id = 1; id <= 40; id += 1) {
    bob.send({ type: 'message', id, text: await secret.encrypt(`text ${id}`) });
  }
  await ann.hears('text 40');
  await ann.page.waitForFunction(() => globalThis.acks.at(-1) === 40);
  assert.ok((await acks()).length <= 8, `${await acks()}`);
  const before = (await acks()).length;
  const bytes = Buffer.from(await secret.encrypt('data:image/gif;base64,R0lGODlhAQABAAAAACw='));
  bob.send({ type: 'image', id: 41, mime: 'image/gif', size: bytes.length, encrypted: true }, bytes);
  await ann.page.waitForFunction(() => globalThis.acks.at(-1) === 41, undefined, { timeout: 1_500 });
  assert.equal((await acks()).length, before + 1);
});

pageStory('what_finds_no_room_while_the_partner_is_away_is_sent_when_it_is_back', async (cast) => {
  const { line, ann, bob } = await onLine(cast);
  await line.cut();
  await bob.sees('away');
  const texts = Array.from({ length: 30 }, (_, number) => `${number} ${'x'.repeat(900)}`);
  for (const text of texts) {
    await bob.say(text);
  }
  await line.mend();
  await ann.page.getByText('29 xxx').waitFor();
  const heard = await ann.page.locator('.theirs .words').allTextContents();
  assert.deepEqual(heard.map((text) => text.split(' ')[0]), texts.map((_, number) => String(number)));
  assert.equal(await bob.page.locator('.mine[data-state=failed]').count(), 0);
  await line.cut();
});

pageStory('call_goes_on_across_a_drop', async (cast) => {
  const { line, ann, bob } = await onLine(cast, { permissions: ['microphone', 'camera'] });
  const active = (visitor) => visitor.page.locator('#call-panel[data-state=active]').waitFor();
  await ann.the('call').click();
  await bob.the('call-accept').click();
  await Promise.all([active(ann), active(bob)]);
  await line.cut();
  await ann.sees('banner');
  await bob.sees('away');
  await Promise.all([active(ann), active(bob)]);
  await line.mend();
  await bob.seesNo('away');
  await Promise.all([active(ann), active(bob)]);
  await ann.the('call-hang-up').click();
  await bob.seesNo('call-panel');
  await line.cut();
});
