// What one does in a chat beside writing: times and states, emoji, pictures, the camera, fingers, and a copy of it all.

import assert from 'node:assert/strict';
import { PHONE, PHOTOGRAPH, acquainted, focused, give, pageStory } from './support/page.mjs';

const FILE = { name: 'IMG_1.jpg', mimeType: 'image/jpeg', buffer: PHOTOGRAPH };

pageStory('messages_have_times_and_say_once_how_far_they_have_come', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit, { locale: 'en-GB', timezoneId: 'Asia/Tokyo' });
  const said = (wanted) =>
    ann.page.waitForFunction((wanted) => {
      const states = [...document.querySelectorAll('.mine .state')].filter((state) => state.checkVisibility());
      return states.map(({ textContent }) => textContent).join() === wanted;
    }, wanted);
  await bob.look(false);
  for (const text of ['one', 'two', 'three']) {
    await ann.say(text);
  }
  await said('Delivered');
  await bob.look(true);
  await said('Read');
  await bob.look(false);
  await ann.say('four');
  await said('Read,Delivered');

  const times = await ann.page.locator('.mine time').evaluateAll((all) =>
    all.map(({ dateTime, textContent }) => ({ age: Date.now() - Date.parse(dateTime), dateTime, textContent })),
  );
  assert.equal(times.length, 4);
  const clock = new Intl.DateTimeFormat('en-GB', { timeStyle: 'short', timeZone: 'Asia/Tokyo' });
  for (const { age, dateTime, textContent } of times) {
    assert.ok(age >= 0 && age < 120_000, `said ${age} ms ago`);
    assert.equal(textContent, clock.format(new Date(dateTime)));
  }
});

pageStory('emoji_are_picked_by_pointer_and_keyboard_and_shown_large', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  const { keyboard } = ann.page;
  await ann.the('emoji-toggle').click();
  await ann.the('emoji').getByRole('button', { name: '😂' }).click();
  assert.equal(await ann.the('text').inputValue(), '😂');
  await ann.the('emoji').getByRole('button').first().focus();
  await keyboard.press('ArrowDown');
  await keyboard.press('ArrowRight');
  await keyboard.press('Enter');
  assert.equal(await ann.the('text').inputValue(), '😂😴');
  await ann.the('emoji').getByRole('button').nth(9).focus();
  await keyboard.press('Escape');
  await ann.seesNo('emoji');
  assert.equal(await focused(ann), 'emoji-toggle');
  assert.equal(await ann.the('ask-leave').isVisible(), false, 'that was about the emoji');
  await ann.the('send').click();
  await ann.say('and words 😂');
  const size = async (text) => {
    const words = (await bob.hears(text)).locator('.words');
    return words.evaluate((words) => Number.parseFloat(getComputedStyle(words).fontSize));
  };
  assert.ok((await size('😂😴')) >= 2 * (await size('and words 😂')));
});

pageStory('picture_is_looked_at_in_its_full_size', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.the('file').setInputFiles(FILE);
  await ann.sees('preview');
  await ann.the('send').click();
  await bob.the('picture').click();
  await bob.the('zoom').click();
  const image = bob.the('viewer').locator('img');
  await image.evaluate((image) => image.decode());
  const shown = async () => {
    const { width, height } = await image.boundingBox();
    return [Math.round(width), Math.round(height)];
  };
  const { width, height } = bob.page.viewportSize();
  const [fitting] = [await shown()];
  assert.ok(fitting[0] < width && fitting[1] < height, `${fitting}`);
  await bob.the('viewer-zoom').click();
  assert.deepEqual(await shown(), [1536, 2048]);
  await bob.the('viewer-zoom').click();
  assert.deepEqual(await shown(), fitting);
  await bob.the('viewer-close').click();
  await bob.seesNo('viewer');
  assert.equal(await image.getAttribute('src'), null, 'it is given up');
});

pageStory('more_pictures_than_are_sent_at_once_are_owned_up_to', async ({ visit }) => {
  const [ann] = await acquainted(visit);
  for (let number = 0; number < 11; number += 1) {
    await give(ann, 'paste', 'image/png');
  }
  await ann.the('notice').getByText('10 pictures can be sent at once.').waitFor();
  assert.equal(await ann.the('preview').locator('li').count(), 10);
});

pageStory('photograph_is_taken_on_a_phone', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit, PHONE);
  assert.equal(await bob.the('camera').isVisible(), false, 'a desktop has none');
  const [chooser] = await Promise.all([ann.page.waitForEvent('filechooser'), ann.the('camera').tap()]);
  const asked = await chooser.element().evaluate((input) => ['capture', 'accept'].map((name) => input.getAttribute(name)));
  assert.deepEqual(asked, ['environment', 'image/*']);
  await chooser.setFiles(FILE);
  await ann.sees('preview');
  await ann.the('send').tap();
  const { width, height } = await bob.receivedPicture();
  assert.deepEqual([width, height], [1536, 2048]);
});

pageStory('long_press_shows_what_can_be_done_with_a_message', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit, PHONE);
  await bob.say('press me');
  const bubble = (await ann.hears('press me')).locator('.bubble');
  const touch = (type, y) =>
    bubble.dispatchEvent(type, { touches: type === 'touchend' ? [] : [{ identifier: 0, clientX: 50, clientY: y }] });
  // A finger that scrolls by is no long press.
  await touch('touchstart', 50);
  await touch('touchmove', 150);
  await ann.page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 600)));
  assert.equal(await ann.page.locator('.message.active').count(), 0);
  await touch('touchend');
  await touch('touchstart', 50);
  await ann.page.locator('.message.active').waitFor();
  await touch('touchend');
  await ann.the('reply').tap();
  await ann.sees('replying');
});

pageStory('transcript_can_be_copied', async ({ visit }) => {
  const prepare = () => {
    navigator.clipboard.writeText = async (text) => (globalThis.copied = text);
  };
  const [ann, bob] = await acquainted(visit, { prepare });
  await ann.say('hello');
  await bob.hears('hello');
  await bob.say('hi');
  await ann.hears('hi');
  await give(bob, 'paste', 'image/png');
  await bob.sees('preview');
  await bob.the('send').click();
  await ann.sees('picture');
  await bob.the('leave').click();
  await bob.the('really-leave').click();
  await ann.the('copy-chat').click();
  await ann.the('copy-chat').getByText('Copied').waitFor();
  const copied = await ann.page.evaluate(() => globalThis.copied);
  const lines = copied.split('\n').map((line) => line.replace(/^\[[^\]]+\]/, '[time]'));
  assert.deepEqual(lines, [
    'You are chatting with Bob.',
    '[time] You: hello',
    '[time] Bob: hi',
    '[time] Bob: a picture',
  ]);
});
