// The page in a real browser: with another visitor, with the Purrr.chat frontend's client, and with the native dialect.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Keys } from './support/encryption.mjs';
import { Line } from './support/line.mjs';
import {
  LOST,
  PHONE,
  PHOTOGRAPH,
  acquainted,
  focused,
  give,
  pageStory,
  tabTo,
  until,
  untilType,
} from './support/page.mjs';

pageStory('two_pages_chat', async ({ visit }) => {
  const [ann, bob] = await Promise.all([visit(), visit()]);
  await ann.find('Ann', 'cats, Rainy  Days');
  await ann.sees('cancel');
  await bob.find('Bob', 'rainy days,tea');
  await ann.the('log').getByText('You are chatting with Bob. You both like rainy days.').waitFor();
  await bob.meets('Ann');

  await ann.say('Hello Bob');
  await bob.hears('Hello Bob');
  await bob.say('Hello Ann, 你好 🐈');
  await ann.hears('Hello Ann, 你好 🐈');
  await ann.knows('Hello Bob', 'read');

  for (let number = 0; number < 40; number += 1) {
    await (number % 2 ? ann : bob).say(`line ${number}`);
  }
  await ann.hears('line 38');
  await bob.hears('line 39');
  const said = (lines, odd) => lines.filter((line) => /^line/.test(line) && Number(line.slice(5)) % 2 === odd);
  for (const visitor of [ann, bob]) {
    const lines = await visitor.transcript();
    for (const odd of [0, 1]) {
      assert.deepEqual(said(lines, odd), Array.from({ length: 20 }, (_, at) => `line ${2 * at + odd}`));
    }
    assert.equal(lines.length, 42);
  }
});

pageStory(
  'partners_without_shared_interest_match_by_language',
  async ({ visit }) => {
    const [carl, ann, bob] = await Promise.all([visit({ locale: 'de-AT' }), visit({ locale: 'en-GB' }), visit()]);
    await carl.find('Carl', 'tea');
    await ann.find('Ann', 'cats');
    await bob.find('Bob', 'trains');
    await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
    await carl.sees('cancel');
  },
  { args: ['--language-after', '500ms', '--anyone-after', '1h'] },
);

pageStory('typing_indicator_ends_with_the_message', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.the('text').pressSequentially('Hm');
  await bob.sees('typing');
  await ann.the('text').fill('');
  await bob.seesNo('typing');
  await ann.the('text').pressSequentially('Well');
  await bob.sees('typing');
  await ann.the('text').press('Enter');
  await bob.hears('Well');
  await bob.seesNo('typing');
});

pageStory('unread_messages_are_counted_in_the_title', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await bob.look(false);
  await ann.say('one');
  await ann.say('two');
  await bob.hears('two');
  await ann.knows('two', 'delivered');
  assert.equal(await bob.page.title(), '(2) purrr');
  await bob.look(true);
  await ann.knows('one', 'read');
  await ann.knows('two', 'read');
  assert.equal(await bob.page.title(), 'purrr');
});

pageStory('safety_code_matches_and_changes_with_the_partner', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  const code = await ann.safetyCode();
  assert.match(code, /^\d{5} \d{5} \d{5} \d{5}$/);
  assert.equal(await bob.safetyCode(), code);
  await ann.the('next').click();
  await bob.the('again').click();
  await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
  assert.notEqual(await ann.safetyCode(), code);
});

pageStory('reply_quotes_its_message', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.say('Tea or coffee?');
  await ann.say('And with milk?');
  const question = await bob.hears('Tea or coffee?');
  await bob.hears('And with milk?');
  await question.hover();
  await question.getByTestId('reply').click();
  await bob.say('Tea.');
  assert.equal(await (await ann.hears('Tea.')).locator('.quote').textContent(), 'Tea or coffee?');

  // By keyboard, and to the visitor's own message.
  await bob.the('text').press('ArrowUp');
  await bob.say('Green tea.');
  assert.equal(await (await ann.hears('Green tea.')).locator('.quote').textContent(), 'Tea.');
  await ann.say('I see.');
  assert.equal(await (await bob.hears('I see.')).locator('.quote').count(), 0);
});

pageStory('photograph_is_upright_without_metadata_and_blurred', async ({ visit }) => {
  assert.deepEqual(metadata(PHOTOGRAPH), ['APP1', 'COM']);
  const [ann, bob] = await acquainted(visit);
  await ann.the('file').setInputFiles({ name: 'IMG_1.jpg', mimeType: 'image/jpeg', buffer: PHOTOGRAPH });
  await ann.sees('preview');
  await ann.the('send').click();
  await ann.seesNo('preview');

  const { bytes, width, height } = await bob.receivedPicture();
  // It lies on its side in the file, 2400 by 1800, and is taller than what is sent.
  assert.deepEqual([width, height], [1536, 2048]);
  assert.deepEqual(metadata(bytes), []);
  assert.ok(!bytes.includes('Exif') && !bytes.includes('Whisker 3000') && !bytes.includes('48.8582'));

  const picture = bob.the('picture');
  const blur = () => picture.locator('img').evaluate((image) => getComputedStyle(image).filter);
  assert.match(await blur(), /blur\(28px\)/);
  await picture.click();
  assert.equal(await blur(), 'none');
  assert.equal(await picture.locator('img').getAttribute('alt'), 'A picture from Ann');
  await picture.click();
  assert.match(await blur(), /blur\(28px\)/);

  await ann.page.locator('.mine[data-state=read] .picture').waitFor();
  await ann.page.locator('.mine progress').waitFor({ state: 'hidden' });
});

pageStory('scroll_position_follows_only_at_the_end', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit, PHONE);
  for (let number = 0; number < 20; number += 1) {
    await bob.say(`line ${number}`);
  }
  await ann.hears('line 19');
  // A picture that is decoded grows just before the page hears that it has scrolled.
  await ann.the('log').evaluate((log) => {
    log.lastElementChild.style.minHeight = '600px';
    log.dispatchEvent(new Event('scroll'));
  });
  const below = () => ann.the('log').evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight);
  await bob.say('at the end');
  await ann.hears('at the end');
  assert.ok((await below()) <= 1, `${await below()} pixels are out of sight`);

  await ann.the('log').evaluate((log) => {
    log.scrollTop = 0;
    return new Promise((resolve) => log.addEventListener('scroll', resolve, { once: true }));
  });
  await bob.say('further down');
  const newer = ann.page.getByRole('button', { name: 'New messages' });
  await newer.waitFor();
  assert.equal(await ann.the('log').evaluate((log) => log.scrollTop), 0);
  await newer.tap();
  await newer.waitFor({ state: 'hidden' });
  assert.ok((await below()) <= 1, `${await below()} pixels are out of sight`);
});

pageStory('image_upload_progress', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit, { prepare: slowNetwork });
  await give(ann, 'paste', 'image/png');
  await ann.sees('preview');
  await ann.the('send').click();
  const progress = ann.page.locator('.mine progress');
  await progress.waitFor();
  await ann.page.waitForFunction(() => document.querySelector('progress').value > 0);
  assert.ok((await progress.evaluate((bar) => bar.value)) < 0.5, 'the head is on its way, and the picture is not');
  assert.equal(await ann.page.locator('.mine .state').textContent(), 'Sending');
  await ann.page.evaluate(() => globalThis.release());
  await progress.waitFor({ state: 'hidden' });
  await bob.sees('picture');
});

pageStory('image_paste_drop_cancel_and_caption', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await give(ann, 'paste', 'image/png');
  await ann.sees('preview');
  await ann.the('preview-cancel').click();
  await ann.seesNo('preview');

  await give(ann, 'drop', 'image/png');
  await ann.sees('preview');
  await ann.say('Look at this');
  await bob.hears('Look at this');
  const { bytes, width, height } = await bob.receivedPicture();
  assert.deepEqual([width, height, bytes.toString('latin1', 8, 12)], [30, 20, 'WEBP']);
  assert.equal(await bob.page.locator('.theirs').count(), 2, 'only what was not given up is sent');

  await give(ann, 'drop', 'text/html');
  await ann.the('notice').getByText('This browser cannot open that as a picture.').waitFor();
});

pageStory('next_clears_the_last_chat', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.say('a secret');
  await (await bob.hears('a secret')).hover();
  await bob.the('reply').click();
  await bob.the('text').fill('half an answ');
  await ann.sees('typing');
  await bob.look(false);
  await ann.say('and another');
  await bob.hears('and another');
  await give(ann, 'paste', 'image/png');
  await ann.sees('preview');

  await ann.the('next').click();
  await ann.sees('cancel');
  await bob.the('over-title').getByText('Ann moved on to somebody else.').waitFor();
  assert.deepEqual((await bob.transcript()).slice(0, 2), ['a secret', 'and another'], 'what was said can still be read');
  await bob.look(true);
  await bob.page.locator('[data-testid=again]:enabled').waitFor();
  await bob.page.keyboard.press('Escape');
  await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
  for (const visitor of [ann, bob]) {
    assert.deepEqual(await visitor.transcript(), []);
    assert.equal(await visitor.the('text').inputValue(), '');
    assert.equal(await visitor.page.title(), 'purrr');
    for (const part of ['typing', 'replying', 'preview', 'over', 'ask-leave']) {
      assert.equal(await visitor.the(part).isVisible(), false, part);
    }
  }
  await ann.say('hello again');
  await bob.hears('hello again');
});

pageStory(
  'blocked_partner_is_not_matched_after_a_reload',
  async ({ visit }) => {
    const [ann, bob] = await acquainted(visit);
    await ann.page.keyboard.press('Escape');
    await ann.the('block').click();
    await ann.the('over-title').getByText('You left, and won’t meet Bob again.').waitFor();
    await bob.the('over-title').getByText('Ann left the chat.').waitFor();
    await Promise.all([ann.page.reload(), bob.page.reload()]);
    await ann.find('Ann');
    await ann.sees('cancel');
    await bob.find('Bob');
    await bob.sees('cancel');
    const cid = await visit();
    await cid.find('Cid');
    await Promise.all([ann.meets('Cid'), cid.meets('Ann')]);
    const dee = await visit();
    await dee.find('Dee');
    await Promise.all([bob.meets('Dee'), dee.meets('Bob')]);
  },
);

pageStory('block_after_left', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await bob.the('leave').click();
  await bob.the('really-leave').click();
  await ann.the('block-last').click();
  await ann.the('notice').getByText('You won’t meet Bob again.').waitFor();
  await ann.seesNo('block-last');
  await ann.the('again').click();
  await ann.sees('cancel');
  await bob.the('again').click();
  await bob.sees('cancel');
  const cid = await visit();
  await cid.find('Cid');
  await Promise.all([ann.meets('Cid'), cid.meets('Ann')]);
});

pageStory('duplicated_tab_is_another_person', async ({ visit }) => {
  const ann = await visit();
  await ann.the('find').waitFor();
  const [copy] = await Promise.all([
    ann.page.waitForEvent('popup'),
    ann.page.evaluate(() => void window.open(location.href)),
  ]);
  await ann.find('Ann');
  await copy.getByTestId('find').click();
  await ann.sees('log');
  await copy.getByTestId('log').waitFor();
});

pageStory('escape_asks_leaves_and_searches', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await bob.say('hi');
  await ann.hears('hi');
  await ann.the('text').press('ArrowUp');
  await ann.sees('replying');
  await ann.page.keyboard.press('Escape');
  await ann.seesNo('replying');
  assert.equal(await ann.the('ask-leave').isVisible(), false, 'the first gives up the answer');

  await ann.page.keyboard.press('Escape');
  await ann.sees('ask-leave');
  await ann.page.keyboard.press('Enter');
  await ann.seesNo('ask-leave');
  await ann.say('I stay');
  await bob.hears('I stay');

  await ann.page.keyboard.press('Escape');
  await ann.the('ask-leave').getByText('What was said can be read until you go on.').waitFor();
  await ann.page.keyboard.press('Escape');
  await ann.the('over-title').getByText('You left the chat.').waitFor();
  assert.deepEqual(await ann.transcript(), ['hi', 'I stay']);
  assert.equal(await ann.page.locator('.keys:visible').textContent(), 'Esc finds someone new.');
  await ann.page.locator('[data-testid=again]:enabled').waitFor();
  await bob.the('over-title').getByText('Ann left the chat.').waitFor();
  await ann.page.keyboard.press('Escape');
  await ann.sees('cancel');
  await ann.page.keyboard.press('Escape');
  await ann.sees('find');
  await bob.the('home').click();
  await bob.sees('find');
});

pageStory('transcript_is_complete_when_a_chat_ends_before_the_next_frame', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  // A window that is covered is given no frames, and its timers are late.
  await ann.page.evaluate(() => {
    const { setTimeout } = globalThis;
    globalThis.requestAnimationFrame = () => 0;
    globalThis.setTimeout = (step, after = 0, ...values) => setTimeout(step, after === 100 ? 60_000 : after, ...values);
  });
  await ann.say('I go');
  await bob.hears('I go');
  await ann.page.keyboard.press('Escape');
  await ann.page.keyboard.press('Escape');
  await ann.sees('over');
  assert.deepEqual(await ann.transcript(), ['I go']);

  await ann.page.locator('[data-testid=again]:enabled').click();
  await bob.page.locator('[data-testid=again]:enabled').click();
  await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
  await bob.say('one last word');
  await bob.the('leave').click();
  await bob.the('really-leave').click();
  await ann.the('over-title').getByText('Bob left the chat.').waitFor();
  assert.deepEqual(await ann.transcript(), ['one last word']);
});

pageStory('leave_button_tells_the_partner', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.the('leave').click();
  await ann.the('really-leave').click();
  await bob.the('over-title').getByText('Ann left the chat.').waitFor();
  assert.equal(await bob.the('text').isVisible(), false);
});

pageStory('closed_tab_tells_the_partner', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.page.goto('about:blank');
  // It might be a reload, which comes back within some seconds.
  await bob.sees('away');
  await bob.the('over-title').getByText('Ann lost the connection.').waitFor();
});

pageStory('cancelled_search_is_not_matched', async ({ visit }) => {
  const [ann, bob, cleo] = await Promise.all([visit(), visit(), visit()]);
  await ann.find('Ann');
  await ann.the('cancel').click();
  await ann.sees('find');
  await bob.find('Bob');
  await bob.sees('cancel');
  await cleo.find('Cleo');
  await Promise.all([bob.meets('Cleo'), cleo.meets('Bob')]);
  assert.equal(await ann.the('find').isVisible(), true);
});

pageStory('chat_with_the_purrr_chat_frontend', async ({ visit, purrrChat }) => {
  const [ann, bob, keys] = [await visit(), await purrrChat('upgrade'), await Keys.generate()];
  await ann.find('Ann');
  await ann.sees('cancel');
  bob.find('Bob', keys.publicKey);
  const { partnerName, partnerPk } = await until(bob, 'matched');
  assert.equal(partnerName, 'Ann');
  const secret = await keys.secretWith(partnerPk);
  await ann.meets('Bob');
  assert.equal(await ann.safetyCode(), safetyCode(keys.publicKey, partnerPk));

  await ann.say('Grüße aus der Seite 🐾');
  await until(bob, 'show_typing');
  const text = await until(bob, 'receive_message');
  assert.deepEqual({ ...text, body: await secret.decrypt(text.body) }, {
    from: 'Ann',
    body: 'Grüße aus der Seite 🐾',
    image: null,
    reply: null,
  });
  bob.emit('read_message', { messageId: 0 });
  await ann.knows('Grüße', 'read');

  bob.emit('typing_start');
  await ann.sees('typing');
  bob.emit('typing_stop');
  await ann.seesNo('typing');
  bob.say(await secret.encrypt('And from over here'), 0);
  const answer = await ann.hears('And from over here');
  assert.equal(await answer.locator('.quote').textContent(), 'Grüße aus der Seite 🐾');
  assert.deepEqual(await until(bob, 'mark_as_read'), { messageId: 1 });

  const url = `data:image/jpeg;base64,${PHOTOGRAPH.toString('base64')}`;
  bob.emit('send_message', { message: await secret.encrypt('Me, today'), image: await secret.encrypt(url), reply: null });
  await ann.hears('Me, today');
  assert.deepEqual((await ann.receivedPicture()).bytes, PHOTOGRAPH);

  await ann.the('file').setInputFiles({ name: 'IMG_1.jpg', mimeType: 'image/jpeg', buffer: PHOTOGRAPH });
  await ann.sees('preview');
  await ann.the('send').click();
  const { image, body } = await until(bob, 'receive_message');
  const [type, base64] = (await secret.decrypt(image)).split(',');
  assert.deepEqual([body, type], [null, 'data:image/jpeg;base64']);
  assert.deepEqual(metadata(Buffer.from(base64, 'base64')), []);

  // No description of a session: there is nothing to accept.
  bob.emit('start_video_call', { offer: 'sdp' });
  await until(bob, 'refused_video_calL');

  bob.emit('disconnect_partner');
  await ann.the('over-title').getByText('Bob left the chat.').waitFor();
});

pageStory('markup_is_shown_as_text', async ({ visit }) => {
  const markup = '<img src=x onerror="document.title=1"><b>bold</b>';
  const [ann, bob] = await Promise.all([visit(), visit()]);
  await ann.find(markup, '<i>tags</i>,');
  await bob.find('Bob', '<i>tags</i>,');
  await bob.meets(markup);
  await ann.meets('Bob');
  await ann.say(markup);
  const heard = await bob.hears(markup);
  assert.equal(await heard.locator('.words').innerHTML(), markup.replaceAll('<', '&lt;').replaceAll('>', '&gt;'));
  assert.equal(await bob.the('partner').textContent(), markup);
  assert.equal(await bob.page.locator('#chat img[src=x], #chat b, #chat i:not(.dots i)').count(), 0);
});

pageStory('undecryptable_message_is_reported', async ({ visit, native }) => {
  const [ann, bob, keys] = [await visit(), await native(), await Keys.generate()];
  await bob.find('Bob', keys.publicKey);
  await ann.find('Ann');
  const { partner } = await untilType(bob, 'matched');
  const secret = await keys.secretWith(partner.publicKey);
  await ann.meets('Bob');

  const stranger = await (await Keys.generate()).secretWith(partner.publicKey);
  bob.send({ type: 'message', id: 1, text: await stranger.encrypt('not for you') });
  await ann.the('message').nth(0).getByText('A message came that could not be opened.').waitFor();
  bob.send({ type: 'message', id: 2, text: 'no secret at all' });
  await (await ann.hears('no secret at all')).getByText('Came without encryption').waitFor();
  const svg = Buffer.from(await secret.encrypt('data:image/svg+xml;base64,PHN2Zy8+'));
  bob.send({ type: 'image', id: 3, mime: 'image/jpeg', size: svg.length, encrypted: true }, svg);
  await ann.the('message').nth(2).getByText('That was a kind of picture that is not shown here.').waitFor();
  bob.send({ type: 'message', id: 4, text: await secret.encrypt('well?') });
  await ann.hears('well?');

  await ann.say('well.');
  const { id, text } = await untilType(bob, 'message');
  assert.deepEqual([id <= 2, await secret.decrypt(text)], [true, 'well.']);
});

pageStory('text_over_the_limit_stays_in_the_field', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  const long = 'x'.repeat(200_000);
  await ann.say(long);
  await ann.the('notice').getByText('That is too long to be sent at once.').waitFor();
  assert.equal(await ann.the('text').inputValue(), long);
  await ann.say(long.slice(0, 190_000));
  await bob.the('show-all').click();
  await bob.hears(long.slice(0, 190_000));
});

pageStory('page_without_cryptography_meets_peers_without_key', async ({ visit, native }) => {
  const prepare = () => Object.defineProperty(Crypto.prototype, 'subtle', { value: undefined });
  const [ann, keyed, bob] = [await visit({ prepare }), await visit(), await native()];
  await ann.the('privacy').getByText('your browser cannot encrypt').waitFor();
  await ann.find('Ann');
  await keyed.find('Keyed');
  await keyed.sees('cancel');
  await bob.find('Bob');
  const { partner } = await untilType(bob, 'matched');
  assert.deepEqual(partner, { name: 'Ann' });
  await ann.meets('Bob');
  await ann.page.getByText('Not encrypted', { exact: true }).waitFor();

  await ann.say('plain');
  assert.equal((await untilType(bob, 'message')).text, 'plain');
  bob.send({ type: 'message', id: 2, text: '{"ciphertext":"","iv":""}' });
  await ann.hears('{"ciphertext":"","iv":""}');
  bob.send({ type: 'image', id: 3, mime: 'image/jpeg', size: PHOTOGRAPH.length }, PHOTOGRAPH);
  assert.deepEqual((await ann.receivedPicture()).bytes, PHOTOGRAPH);
  await give(ann, 'paste', 'image/png');
  await ann.sees('preview');
  await ann.the('send').click();
  const { mime, size } = await untilType(bob, 'image');
  const bytes = await bob.next();
  assert.deepEqual([mime, size, bytes.toString('latin1', 8, 12)], ['image/webp', bytes.length, 'WEBP']);
});

pageStory('lost_connection_reconnects_with_countdown', async ({ server, visit }) => {
  const line = await Line.to(server.port);
  const [ann, bob] = await acquainted(visit, { url: line.url, prepare: slowNetwork });
  ann.expect(LOST);
  await give(ann, 'paste', 'image/png');
  await ann.sees('preview');
  await ann.the('send').click();
  await ann.page.locator('.mine progress').waitFor();
  await line.cut();
  await ann.the('banner').getByText('Reconnecting. What you write is sent afterwards.').waitFor();
  await ann.page.locator('.mine[data-state=sending]').waitFor();
  await ann.the('countdown').getByText(/^Trying again/).waitFor();
  await bob.the('away').getByText('Ann’s connection dropped.').waitFor();
  assert.equal(await ann.the('over').isVisible(), false);
  await ann.the('leave').click();
  await ann.the('really-leave').click();
  await ann.the('over-title').getByText('You left the chat.').waitFor();
  await ann.page.locator('.mine[data-state=failed]').waitFor();
  await ann.the('banner').getByText('The connection is lost.').waitFor();
  // The waits grow, so after some attempts there are whole seconds to count.
  await ann.the('countdown').getByText(/^Trying again in [2-9] s$/).waitFor();

  // A search that begins meanwhile is sent once the line is there again.
  await ann.page.locator('[data-testid=again]:enabled').waitFor();
  await ann.page.keyboard.press('Escape');
  await ann.sees('cancel');
  await line.mend();
  await ann.page.getByRole('button', { name: 'Try now' }).click();
  await ann.seesNo('banner');
  await bob.the('again').click();
  await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);

  // The server knows the last partner only as long as the line holds, so the page offers no block after that.
  await bob.the('leave').click();
  await bob.the('really-leave').click();
  await ann.the('over-title').getByText('Bob left the chat.').waitFor();
  await tabTo(ann, 'block-last', 'Tab');
  await line.cut();
  await ann.seesNo('block-last');
  assert.equal(await focused(ann), 'over');
  await line.mend();
  await ann.page.getByRole('button', { name: 'Try now' }).click();
  await ann.seesNo('banner');
  assert.equal(await ann.the('block-last').isVisible(), false);
  await line.cut();
});

pageStory(
  'draining_server_shows_a_banner_and_lets_the_chat_finish',
  async ({ server, visit }) => {
    const [ann, bob] = await acquainted(visit);
    for (const visitor of [ann, bob]) {
      visitor.expect(LOST);
    }
    const stopped = server.stop();
    await ann.the('banner').getByText('The server is about to restart.').waitFor();
    await ann.say('one last thing');
    await bob.hears('one last thing');
    await bob.the('leave').click();
    await bob.the('really-leave').click();
    await ann.the('over-title').getByText('Bob left the chat.').waitFor();
    await ann.the('banner').getByText('The connection is lost.').waitFor();
    assert.equal(await stopped, 0);
  },
  { drain: '20s', stopped: true },
);

pageStory('keyboard_only_use', async ({ visit }) => {
  const [ann, bob] = await Promise.all([visit(), visit()]);
  const { keyboard } = ann.page;
  await keyboard.press('Tab');
  await keyboard.type('Ann');
  await keyboard.press('Tab');
  await keyboard.type('tea');
  await keyboard.press('Enter');
  await keyboard.type('cats');
  await keyboard.press('Enter');
  await keyboard.press('Backspace');
  assert.deepEqual(await ann.the('chips').locator('bdi').allTextContents(), ['tea']);
  await keyboard.press('Enter');
  await ann.sees('cancel');
  assert.equal(await focused(ann), 'cancel');
  await bob.find('Bob', 'tea,');
  await ann.meets('Bob');
  assert.equal(await focused(ann), 'text');
  await keyboard.type('first');
  await keyboard.press('Shift+Enter');
  await keyboard.type('second');
  await keyboard.press('Enter');
  await bob.hears('first\nsecond');
  assert.equal(await focused(ann), 'text', 'one can go on writing');

  await give(bob, 'paste', 'image/png');
  await bob.sees('preview');
  await bob.page.keyboard.press('Enter');
  await ann.sees('picture');
  await tabTo(ann, 'picture', 'Shift+Tab');
  await keyboard.press('Enter');
  assert.equal(await ann.the('picture').getAttribute('aria-pressed'), 'true');
  await tabTo(ann, 'reply', 'Tab');
  await keyboard.press('Enter');
  await ann.sees('replying');
  assert.equal(await focused(ann), 'text');
  await keyboard.type('nice');
  await keyboard.press('Enter');
  assert.equal(await (await bob.hears('nice')).locator('.quote').textContent(), 'a picture');

  await bob.the('next').click();
  await bob.the('really-leave').click();
  await ann.sees('over');
  assert.equal(await focused(ann), 'over');
  // A visitor who was typing just then does not start a search by it.
  await keyboard.press('Enter');
  assert.equal(await ann.the('over').isVisible(), true);
  await ann.page.locator('[data-testid=again]:enabled').waitFor();
  await tabTo(ann, 'again', 'Tab');
  await keyboard.press('Enter');
  await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
});

pageStory('screen_reader_announcements', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  const log = ann.page.getByRole('log', { name: 'Messages' });
  await bob.say('hello');
  assert.match(await (await ann.hears('hello')).textContent(), /^Bob: hello/);
  await log.getByText('You are chatting with Bob.').waitFor();
  await ann.page.getByRole('textbox', { name: 'Message' }).waitFor();
  for (const name of ['Next', 'Leave', 'Send a picture', 'Send']) {
    await ann.page.getByRole('button', { name, exact: true }).waitFor();
  }
  await ann.page.keyboard.press('Escape');
  await ann.page.getByRole('alertdialog', { name: 'Leave this chat?' }).waitFor();
});

pageStory('name_is_optional_and_remembered', async ({ visit }) => {
  const [ann, bob] = await Promise.all([visit(), visit()]);
  await ann.find('Ann', 'tea,');
  await ann.page.reload();
  await ann.page.locator('[data-testid=find]:enabled').waitFor();
  assert.equal(await ann.the('name').inputValue(), 'Ann');
  assert.deepEqual(await ann.the('chips').locator('bdi').allTextContents(), ['tea']);
  await bob.find('', 'tea,');
  await ann.the('find').click();
  await Promise.all([ann.meets('Stranger'), bob.meets('Ann')]);
});

for (const colorScheme of ['light', 'dark']) {
  pageStory(`phone_layout_and_contrast_${colorScheme}`, async ({ visit, native }) => {
    const [ann, bob, keys] = [await visit({ ...PHONE, colorScheme }), await native(), await Keys.generate()];
    const fits = async (part) => {
      const found = await ann.page.evaluate(examine);
      assert.deepEqual(found, { sideways: 0, small: [], faint: [] }, part);
    };
    await ann.the('interest').fill('cats,a rather long interest that goes on and on,');
    await fits('start');
    await ann.the('find').click();
    await ann.sees('cancel');
    await fits('waiting');
    const name = 'W'.repeat(256);
    bob.send({ type: 'hello', name, publicKey: keys.publicKey }, { type: 'find', interests: ['cats'] });
    const { partner } = await untilType(bob, 'matched');
    const secret = await keys.secretWith(partner.publicKey);
    await ann.meets(name);
    bob.send({ type: 'message', id: 1, text: await secret.encrypt('m'.repeat(500)) });
    await ann.hears('m'.repeat(500));
    bob.send({ type: 'typing', on: true });
    await ann.sees('typing');
    await ann.page.locator('.theirs .bubble').tap();
    await ann.the('reply').last().tap();
    await ann.say('x'.repeat(500));
    await ann.knows('xxx', 'delivered');
    await ann.the('text').press('ArrowUp');
    await give(ann, 'paste', 'image/png');
    await ann.sees('preview');
    await ann.the('safety').locator('summary').tap();
    await ann.page.locator('.mine').evaluate((line) => Promise.all(line.getAnimations().map(({ finished }) => finished)));
    await fits('chat');
    await ann.the('leave').tap();
    await fits('question');
    await ann.the('really-leave').tap();
    await fits('end');
    assert.equal(await ann.page.locator('.keys:visible').count(), 0, 'a phone is told of no keys');
  });
}

/** The names of the segments of a JPEG that could tell something about the photographer; a colour profile does not. */
function metadata(jpeg) {
  assert.equal(jpeg.readUInt16BE(0), 0xffd8, 'this is a JPEG');
  const names = [];
  for (let at = 2; jpeg[at + 1] !== 0xda; at += 2 + jpeg.readUInt16BE(at + 2)) {
    assert.equal(jpeg[at], 0xff);
    const marker = jpeg[at + 1];
    const colours = jpeg.toString('latin1', at + 4, at + 15) === 'ICC_PROFILE';
    if (marker > 0xe0 && marker <= 0xef && !colours) {
      names.push(`APP${marker - 0xe0}`);
    } else if (marker === 0xfe) {
      names.push('COM');
    }
  }
  return names;
}

/** The safety code of two keys, computed apart from the page. */
function safetyCode(...publicKeys) {
  const keys = publicKeys.map((key) => Buffer.from(key, 'base64')).sort(Buffer.compare);
  const digest = createHash('sha256').update(Buffer.concat(keys)).digest();
  return [0, 8, 16, 24].map((at) => String(digest.readBigUInt64BE(at) % 100_000n).padStart(5, '0')).join(' ');
}

/** Pictures stay in the browser, as on a slow network, until `release()`. Runs in the browser, before the page. */
function slowNetwork() {
  const { prototype } = WebSocket;
  const { send } = prototype;
  const { get } = Object.getOwnPropertyDescriptor(prototype, 'bufferedAmount');
  const held = [];
  prototype.send = function (data) {
    if (typeof data === 'string') {
      send.call(this, data);
    } else {
      held.push({ socket: this, data });
    }
  };
  Object.defineProperty(prototype, 'bufferedAmount', {
    get() {
      return get.call(this) + held.reduce((sum, { data }) => sum + data.byteLength, 0);
    },
  });
  globalThis.release = () => held.splice(0).forEach(({ socket, data }) => send.call(socket, data));
}

/**
 * What is wrong with the page as it stands: by how much it is wider than the screen, what is too small to be hit, and which
 * words stand out too little (WCAG 2.2 AA). Runs in the browser.
 */
function examine() {
  const shown = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest('.unseen');
  const channels = (color) => {
    const context = document.createElement('canvas').getContext('2d');
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value <= 10 ? value / 3295 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, alpha] = channels(getComputedStyle(at).backgroundColor);
      if (alpha === 255) {
        return [r, g, b];
      }
    }
    return [255, 255, 255];
  };
  const contrast = (element) => {
    const [light, dark] = [channels(getComputedStyle(element).color).slice(0, 3), behind(element)]
      .map(luminance)
      .sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const hasWords = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const all = [...document.body.querySelectorAll('*')].filter(shown);
  const name = (element) => element.dataset.testid || element.id || element.className;
  return {
    sideways: document.documentElement.scrollWidth - innerWidth,
    small: all
      .filter((element) => element.matches('button, input, textarea'))
      .filter((element) => {
        const { width, height } = element.getBoundingClientRect();
        return width < 44 || height < 44;
      })
      .map(name),
    faint: all
      .filter((element) => hasWords(element) && !element.matches(':disabled, noscript, svg *') && contrast(element) < 4.5)
      .map((element) => `${name(element)}: ${contrast(element).toFixed(1)}`),
  };
}
