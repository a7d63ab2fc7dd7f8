// Every state of the page, looked at by axe: on a phone and on a desktop, light and dark, left to right and right to left.
// `PURRR_SCREENSHOTS` names a folder for a picture of each.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { Keys } from './support/encryption.mjs';
import { Line } from './support/line.mjs';
import { Native } from './support/native.mjs';
import { LOST, PHONE, PHOTOGRAPH, give, pageStory, patient, untilType, violations } from './support/page.mjs';

const SCREENSHOTS = process.env.PURRR_SCREENSHOTS;
const SITE = [
  ...['--page-title', 'Cats & co'],
  ...['--page-notice', 'Be kind. Moderators are here from 9 to 17.'],
  ...['--terms-url', 'https://example.org/rules'],
  ...['--privacy-url', '/privacy'],
  ...['--contact-url', 'mailto:cats@example.org'],
  ...['--minimum-age', '18'],
];
const DESKTOP = { viewport: { width: 1280, height: 800 } };

for (const [name, settings] of [
  ['phone_light', { ...PHONE, colorScheme: 'light' }],
  ['phone_dark_right_to_left', { ...PHONE, colorScheme: 'dark', locale: 'ar' }],
  ['desktop_dark', { ...DESKTOP, colorScheme: 'dark', locale: 'de' }],
  ['desktop_light_right_to_left', { ...DESKTOP, colorScheme: 'light', locale: 'ar' }],
]) {
  pageStory(
    `axe_finds_no_violation: ${name}`,
    async ({ server, visit, native }) => {
      const line = await Line.to(server.port);
      const ann = await visit({ ...settings, url: line.url, reducedMotion: 'reduce' });
      ann.expect(LOST);
      const seen = new Set();
      const look = async (state) => {
        assert.deepEqual(await violations(ann), [], state);
        seen.add(state);
        if (SCREENSHOTS) {
          mkdirSync(SCREENSHOTS, { recursive: true });
          await ann.page.screenshot({ path: `${SCREENSHOTS}/${name}-${String(seen.size).padStart(2, '0')}-${state}.png` });
        }
      };
      const press = (test) => ann.the(test).click();

      await look('start');
      await press('settings-open');
      await look('settings');
      await press('settings-close');
      await ann.the('name').fill('Ann');
      await ann.the('interest').fill('tea,a rather long interest that goes on and on,猫,');
      await look('start-filled');
      await press('find');
      await ann.the('anyone').waitFor();
      await look('waiting');

      const [bob, keys] = [await native(), await Keys.generate()];
      bob.send({ type: 'hello', name: 'Bob Ü.', publicKey: keys.publicKey }, { type: 'find', interests: ['tea'] });
      const { partner } = await untilType(bob, 'matched');
      const secret = await keys.secretWith(partner.publicKey);
      let id = 0;
      const say = async (text, reply) => {
        id += 1;
        bob.send({ type: 'message', id, text: await secret.encrypt(text), reply });
      };
      await ann.sees('openers');
      await look('chat-empty');
      await say('Hello! Have you seen https://example.org/a-long-path/of-a-page ?');
      await ann.page.locator('.theirs a').waitFor();
      await ann.say('Hi Bob! Not yet.');
      await ann.knows('Hi Bob!', 'delivered');
      const { id: own } = await untilType(bob, 'message');
      await say('👍', own);
      await say('🐈🐈‍⬛');
      await say(`${'a wall '.repeat(400)}`);
      await ann.sees('show-all');
      bob.send({ type: 'typing', on: true });
      await ann.sees('typing');
      await look('chat');
      const url = `data:image/jpeg;base64,${PHOTOGRAPH.toString('base64')}`;
      const picture = Buffer.from(await secret.encrypt(url));
      bob.send({ type: 'image', id: (id += 1), mime: 'image/jpeg', size: picture.length, encrypted: true }, picture);
      await ann.page.locator('.theirs img[src^="blob:"]').waitFor();
      await look('picture-veiled');
      await press('picture');
      await look('picture-shown');
      await press('zoom');
      await ann.sees('viewer');
      await look('viewer');
      await press('viewer-zoom');
      await look('viewer-full-size');
      await press('viewer-close');
      await say('plain words');
      bob.send({ type: 'message', id: (id += 1), text: 'not encrypted' });
      await ann.page.locator('.bare').last().waitFor();
      await ann.page.locator('.theirs .bubble').last().click();
      await ann.the('react').last().click();
      await ann.sees('reactions');
      await look('reactions');
      await ann.page.keyboard.press('Escape');
      await ann.the('reply').last().click();
      await give(ann, 'paste', 'image/png');
      await ann.sees('preview');
      await give(ann, 'drop', 'text/html');
      await ann.sees('notice');
      await look('composing');
      await ann.the('safety').locator('summary').click();
      await look('safety-code');
      await ann.the('safety').locator('summary').click();
      if (await ann.the('emoji-toggle').isVisible()) {
        await press('emoji-toggle');
        await look('emoji');
        await press('emoji-toggle');
      }
      await ann.page.locator('.theirs a').click();
      await ann.sees('link');
      await look('link');
      await ann.page.keyboard.press('Escape');

      bob.send({ type: 'signal', kind: 'offer', data: JSON.stringify({ type: 'offer', sdp: 'v=0\r\n' }) });
      await ann.sees('call-accept');
      await look('call-incoming');
      await press('call-refuse');
      await press('call');
      await ann.sees('call-hang-up');
      await look('call-calling');
      await press('call-hang-up');

      for (const [button, state] of [['leave', 'ask-leave'], ['next', 'ask-next'], ['block-now', 'ask-block']]) {
        await press(button);
        await look(state);
        await press('stay');
      }
      await ann.the('text').fill('half a thought');
      bob.send({ type: 'leave' });
      await ann.page.locator('[data-testid=again]:enabled').waitFor();
      await look('over-with-draft');
      await line.cut();
      await ann.sees('banner');
      await look('connection-lost');
      await line.mend();
      await ann.page.evaluate(() => window.dispatchEvent(new Event('online')));
      await ann.seesNo('banner');
      await press('home');
      await look('start-again');

      const other = await Line.to(server.port);
      const dora = await visit({ url: other.url });
      dora.expect(LOST);
      await ann.the('find').click();
      await ann.the('anyone').waitFor();
      await dora.find('Dora', 'tea');
      await Promise.all([ann, dora].map((visitor) => visitor.sees('call')));
      await press('call');
      await dora.the('call-accept').click();
      await ann.page.locator('#call-panel[data-state=active]').waitFor();
      await dora.the('call-camera').click();
      await press('call-camera');
      await ann.page.waitForFunction(() => document.querySelector('#call-theirs').videoWidth > 0);
      await look('call-active');
      await press('call-devices');
      await ann.the('choose-microphone').locator('option').first().waitFor({ state: 'attached' });
      await look('call-devices');
      await press('call-hang-up');
      await ann.seesNo('call-panel');
      await look('call-over');

      await dora.say('One moment, a tunnel.');
      await ann.page.locator('.theirs').waitFor();
      await other.cut();
      await ann.sees('away');
      await look('partner-away');
      await other.mend();
      await ann.seesNo('away');
      await look('partner-back');
      await line.cut();
      await ann.sees('banner');
      await ann.say('Now it is my turn.');
      await look('reconnecting');
      await line.mend();
      await ann.seesNo('banner');
      await dora.hears('Now it is my turn.');
      ann.page.once('dialog', (dialog) => dialog.accept());
      await ann.page.reload();
      await ann.page.locator('.note').nth(2).waitFor();
      await ann.safetyCode();
      await look('reloaded');

      await ann.page.evaluate(patient);
      line.hold();
      await press('leave');
      await press('really-leave');
      await ann.sees('leaving');
      await look('leaving');
      assert.equal(await ann.the('leaving').isVisible(), true, 'the server has not answered yet');
      line.release();
      await ann.page.locator('[data-testid=again]:enabled').waitFor();
      await look('over-left');

      await press('again');
      await dora.page.locator('[data-testid=again]:enabled').click();
      await ann.sees('openers');
      const { tokens, chat } = JSON.parse(await ann.page.evaluate(() => sessionStorage.getItem('purrr.session')));
      const second = await Native.connect(server.url);
      second.send({ type: 'hello', resume: tokens.at(-1), ...chat });
      await ann.sees('over');
      await ann.page.locator('[data-testid=again]:enabled').waitFor();
      await look('taken-over');
      second.close();
      await other.cut();
      await line.cut();
    },
    { args: SITE },
  );
}
