// Stories with visitors of the page, and what they need.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before } from 'node:test';
import axe from 'axe-core';
import { Visitor, launch } from './browser.mjs';
import { Keys } from './encryption.mjs';
import { story } from './story.mjs';

export const PHOTOGRAPH = readFileSync(new URL('../fixtures/photograph.jpg', import.meta.url));
/** What a browser says of its own when a connection fails, and when it is asked why. */
export const LOST = /WebSocket connection to .* failed|ERR_(CONNECTION|EMPTY|SOCKET)|status of (426|503)/;
export const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** A story with visitors of the page, which ends by checking that nothing went wrong on any of their pages. */
export function pageStory(name, tell, options) {
  story(
    name,
    async (cast) => {
      const visitors = [];
      const visit = async ({ url = cast.server.url, ...settings } = {}) => {
        const visitor = await Visitor.arrive(browser, url, settings);
        visitors.push(visitor);
        return visitor;
      };
      try {
        await tell({ ...cast, visit });
        await Promise.all(visitors.map((visitor) => visitor.leave()));
      } finally {
        await Promise.all(visitors.map((visitor) => visitor.page.context().close()));
      }
    },
    options,
  );
}

/** Two visitors in a chat. */
export async function acquainted(visit, settings) {
  const [ann, bob] = await Promise.all([visit(settings), visit()]);
  await ann.find('Ann');
  await bob.find('Bob');
  await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
  return [ann, bob];
}

/** A visitor in a chat with a native client, and the secret of the two. */
export async function withNative({ visit, native }, { name = 'Bob', shown = name, ...settings } = {}) {
  const [ann, bob, keys] = [await visit(settings), await native(), await Keys.generate()];
  await ann.find('Ann');
  await ann.sees('cancel');
  await bob.find(name, keys.publicKey);
  const { partner } = await untilType(bob, 'matched');
  await ann.meets(shown);
  return { ann, bob, secret: await keys.secretWith(partner.publicKey) };
}

/** What axe finds wrong with the page as it stands. */
export async function violations({ page }) {
  if (!(await page.evaluate(() => 'axe' in globalThis))) {
    await page.evaluate(axe.source);
  }
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(', ')}`);
}

/** Makes the page wait for an answer ten times as long, so that a busy machine tests the same. Runs in the browser. */
export function patient() {
  const { setTimeout } = globalThis;
  globalThis.setTimeout = (step, after = 0, ...values) => setTimeout(step, after === 200 ? 2_000 : after, ...values);
}

/** The next event of this name, whatever comes before it. */
export async function until(peer, wanted) {
  for (;;) {
    const [event, payload] = await peer.next();
    if (event === wanted) {
      return payload;
    }
  }
}

/** The next frame of this type, whatever comes before it. */
export async function untilType(peer, wanted) {
  for (;;) {
    const frame = await peer.next();
    if (frame.type === wanted) {
      return frame;
    }
  }
}

/** Pastes or drops a file of this type: a picture of 30 by 20 pixels, or what only claims to be something else. */
export async function give(visitor, how, type) {
  await visitor.page.evaluate(
    async ([how, type]) => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 30, height: 20 });
      canvas.getContext('2d').fillRect(5, 5, 20, 10);
      const picture = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
      const content = type.startsWith('image/') ? picture : '<p>no picture</p>';
      const transfer = new DataTransfer();
      transfer.items.add(new File([content], 'file', { type }));
      const event =
        how === 'paste'
          ? new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true })
          : new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true });
      document.body.dispatchEvent(event);
    },
    [how, type],
  );
}

export function focused({ page }) {
  return page.evaluate(() => document.activeElement.dataset.testid);
}

/** Presses a key until the focus is on that part of the page. */
export async function tabTo(visitor, name, key) {
  for (let presses = 0; presses < 30; presses += 1) {
    await visitor.page.keyboard.press(key);
    if ((await focused(visitor)) === name) {
      return;
    }
  }
  assert.fail(`${key} does not lead to ${name}`);
}
