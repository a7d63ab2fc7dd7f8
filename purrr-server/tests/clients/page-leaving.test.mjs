// Leaving is never kept: not by a server, a partner or a line that does not answer.

import assert from 'node:assert/strict';
import { Line } from './support/line.mjs';
import { LOST, acquainted, pageStory, patient } from './support/page.mjs';

/** Two visitors in a chat, of whom the first has a line that can be held. */
async function onLine({ server, visit }, settings) {
  const line = await Line.to(server.port);
  const [ann, bob] = await acquainted(visit, { url: line.url, ...settings });
  ann.expect(LOST);
  return { line, ann, bob };
}

async function leave(visitor) {
  await visitor.the('leave').click();
  await visitor.the('really-leave').click();
}

pageStory('X5: leave_is_said_once_the_server_has_answered', async (cast) => {
  const { line, ann, bob } = await onLine(cast, { prepare: patient });
  line.hold();
  await leave(ann);
  await ann.the('leaving').getByText('Leaving…').waitFor();
  assert.equal(await ann.the('over').isVisible(), false, 'the server has not answered');
  assert.equal(await ann.the('text').evaluate(({ form }) => form.inert), true, 'nothing more can be said');
  line.release();
  await ann.the('over-title').getByText('You left the chat.').waitFor();
  await ann.seesNo('leaving');
  assert.equal(await ann.the('banner').isVisible(), false, 'the connection stays');
  await bob.the('over-title').getByText('Ann left the chat.').waitFor();
  await line.cut();
});

for (const [kind, said] of [
  ['leave', 'You left the chat.'],
  ['block-now', 'You left. Bob will be blocked once you are connected again.'],
]) {
  pageStory(`X5: ${kind}_without_an_answer_closes_the_connection_and_reconnects`, async (cast) => {
    const { line, ann, bob } = await onLine(cast);
    line.hold();
    await ann.the(kind).click();
    const pressed = Date.now();
    await ann.the('really-leave').click();
    await ann.the('over-title').getByText(said).waitFor();
    const took = Date.now() - pressed;
    assert.ok(took >= 800, `${took} ms: the server cannot have answered`);
    await ann.sees('banner');
    assert.equal(await ann.the('block-last').isVisible(), false, 'the server may not know of whom');
    line.release();
    await bob.sees('over');
    await ann.seesNo('banner');
    await ann.page.locator('[data-testid=again]:enabled').click();
    await ann.sees('cancel');
    await line.cut();
  });
}

pageStory('X5: next_searches_once_the_server_has_answered', async (cast) => {
  const { line, ann, bob } = await onLine(cast, { prepare: patient });
  line.hold();
  await ann.the('next').click();
  await ann.sees('leaving');
  assert.equal(await ann.the('cancel').isVisible(), false);
  line.release();
  await ann.sees('cancel');
  await bob.the('over-title').getByText('Ann moved on to somebody else.').waitFor();
  await line.cut();
});

pageStory('X5: next_without_an_answer_searches_on_a_new_connection', async (cast) => {
  const { line, ann, bob } = await onLine(cast);
  line.hold();
  await ann.the('next').click();
  await ann.sees('cancel');
  await ann.sees('banner');
  line.release();
  await ann.seesNo('banner');
  await bob.sees('over');
  await bob.the('again').click();
  await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
  await line.cut();
});

pageStory('X5: cancel_without_an_answer_closes_the_connection_and_reconnects', async ({ server, visit }) => {
  const line = await Line.to(server.port);
  const ann = await visit({ url: line.url });
  ann.expect(LOST);
  await ann.find('Ann');
  await ann.sees('cancel');
  line.hold();
  await ann.the('cancel').click();
  await ann.sees('banner');
  assert.equal(await ann.the('find').isEnabled(), false);
  line.release();
  await ann.seesNo('banner');
  await ann.page.locator('[data-testid=find]:enabled').waitFor();
  await line.cut();
});

pageStory('partner_who_leaves_at_the_same_moment_changes_nothing_about_next', async (cast) => {
  const { line, ann, bob } = await onLine(cast);
  line.hold();
  await leave(bob);
  await bob.sees('over');
  await ann.the('next').click();
  line.release();
  await ann.sees('cancel');
  await bob.page.locator('[data-testid=again]:enabled').click();
  await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
  await line.cut();
});

pageStory(
  'next_that_is_refused_leaves_the_chat_as_it_is',
  async ({ visit }) => {
    const [ann, bob] = await Promise.all([visit(), visit()]);
    // The server reads its clock only for a bucket that is empty, so the first search counts from long ago.
    await ann.find('Ann');
    await ann.the('cancel').click();
    await ann.page.waitForTimeout(1_000);
    await bob.find('Bob');
    await bob.sees('cancel');
    await ann.the('find').click();
    await ann.meets('Bob');
    await ann.the('next').click();
    await ann.the('notice').getByText('That was too fast.').waitFor();
    await ann.say('then I stay');
    await bob.hears('then I stay');
  },
  { args: ['--find-rate', '1+1'] },
);
