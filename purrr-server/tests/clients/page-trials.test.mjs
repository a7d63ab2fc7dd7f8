// Dead lines, floods, accidents, browsers with habits, and hostile partners. The titles begin with the rows of the trials that
// they answer.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Line } from './support/line.mjs';
import { LOST, PHONE, PHOTOGRAPH, acquainted, give, pageStory, until, untilType, withNative } from './support/page.mjs';
import { Keys } from './support/encryption.mjs';
import { animatedGif, animatedWebp, pngHeader } from './support/pictures.mjs';

const NOTICED = 15_000;
const CHECKED = 3_000;

pageStory('W1: dead_line_in_a_chat_is_noticed_and_reconnected', async ({ server, visit }) => {
  const line = await Line.to(server.port);
  const [ann, bob] = await acquainted(visit, { url: line.url });
  ann.expect(LOST);
  line.hold();
  await ann.say('does this arrive?');
  await ann.the('banner').waitFor({ timeout: NOTICED });
  await ann.knows('does this arrive?', 'sending');
  line.release();
  await ann.seesNo('banner');
  await bob.hears('does this arrive?');
  await ann.knows('does this arrive?', 'read');
  assert.equal(await bob.page.locator('.theirs').count(), 1);
  await line.cut();
});

pageStory('W1: dead_line_while_waiting_is_noticed_and_the_search_goes_on', async ({ server, visit }) => {
  const line = await Line.to(server.port);
  const ann = await visit({ url: line.url });
  ann.expect(LOST);
  await ann.find('Ann');
  await ann.the('online-waiting').getByText('only one here').waitFor();
  line.hold();
  await ann.the('banner').waitFor({ timeout: NOTICED });
  // W22: without a connection no number is known.
  assert.equal(await ann.the('online-waiting').textContent(), '');
  line.release();
  await ann.seesNo('banner');
  const bob = await visit();
  await bob.find('Bob');
  await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
  await line.cut();
});

for (const [name, happen] of [
  ['online', () => window.dispatchEvent(new Event('online'))],
  ['visibilitychange', () => document.dispatchEvent(new Event('visibilitychange'))],
]) {
  pageStory(`W1: ${name}_probes_the_line_at_once`, async ({ server, visit }) => {
    const line = await Line.to(server.port);
    const ann = await visit({ url: line.url });
    ann.expect(LOST);
    line.hold();
    await ann.page.evaluate(() => {
      globalThis.noticed = new Promise((resolve) => {
        const began = performance.now();
        const banner = document.querySelector('#banner');
        const look = () => banner.hidden || resolve(performance.now() - began);
        new MutationObserver(look).observe(banner, { attributes: true });
      });
    });
    await ann.page.evaluate(happen);
    const took = await ann.page.evaluate(() => globalThis.noticed);
    assert.ok(took < CHECKED, `noticed after ${took} ms`);
    line.release();
    await ann.seesNo('banner');
    await line.cut();
  });
}

pageStory(
  'W2: frozen_page_is_not_matched',
  async ({ server, visit, native }) => {
    const ann = await visit();
    await ann.find('Ann');
    await ann.sees('cancel');
    // The script stands still; the browser still answers pings of its own accord.
    const frozen = ann.page.evaluate(() => {
      const end = performance.now() + 6_000;
      while (performance.now() < end);
    });
    const waiting = async () => (await (await fetch(`${server.url}/healthz`)).json()).waiting;
    while ((await waiting()) > 0);
    const [bob, cleo] = [await native(), await native()];
    bob.send({ type: 'hello', publicKey: (await Keys.generate()).publicKey }, { type: 'find' });
    await untilType(bob, 'waiting');
    await cleo.find('Cleo', (await Keys.generate()).publicKey);
    const { partner } = await untilType(bob, 'matched');
    assert.equal(partner.name, 'Cleo');
    await frozen;
    // Heard of again, it is found by the next one.
    const dan = await native();
    dan.send({ type: 'hello', publicKey: (await Keys.generate()).publicKey }, { type: 'find' });
    assert.equal((await untilType(dan, 'matched')).partner.name, 'Ann');
  },
  { args: ['--chat-ping-interval', '200ms', '--chat-ping-timeout', '15s'] },
);

pageStory('W4: flood_of_3000_texts_leaves_the_page_usable', async (cast) => {
  const { ann, bob, secret } = await withNative(cast);
  await ann.page.evaluate(() => {
    globalThis.longest = 0;
    new PerformanceObserver((list) => {
      globalThis.longest = Math.max(globalThis.longest, ...list.getEntries().map(({ duration }) => duration));
    }).observe({ type: 'longtask' });
  });
  const texts = await Promise.all(
    Array.from({ length: 3_000 }, (_, number) => secret.encrypt(`flood ${number}`)),
  );
  // The processor time of the page, since other programs may take the rest of the time.
  const tools = await ann.page.context().newCDPSession(ann.page);
  await tools.send('Performance.enable', { timeDomain: 'threadTicks' });
  const spent = async () => {
    const { metrics } = await tools.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'TaskDuration').value * 1_000;
  };
  const before = await spent();
  const started = Date.now();
  texts.forEach((text, at) => bob.send({ type: 'message', id: at + 1, text }));
  await ann.page.getByText('flood 2999', { exact: true }).waitFor({ timeout: 15_000 });
  const [took, busy] = [Date.now() - started, (await spent()) - before];
  const { longest, lines } = await ann.page.evaluate(() => ({
    longest: globalThis.longest,
    lines: document.querySelectorAll('.message').length,
  }));
  const within = took < 5_000 || busy < 3_000;
  assert.ok(within, `all shown after ${took} ms, of which the page worked ${busy} ms`);
  assert.ok(longest < 1_000, `the page stood still for ${longest} ms`);
  assert.ok(lines <= 300, `${lines} lines are on the page`);

  await ann.the('earlier').click();
  await ann.page.getByText('flood 2800', { exact: true }).waitFor({ state: 'attached' });
  await ann.the('leave').click();
  await ann.the('really-leave').click();
  await ann.sees('over');
});

pageStory('W4: typing_measures_nothing_and_the_field_grows', async (cast) => {
  const prepare = () => {
    globalThis.measured = 0;
    const { get } = Object.getOwnPropertyDescriptor(Element.prototype, 'scrollHeight');
    Object.defineProperty(HTMLTextAreaElement.prototype, 'scrollHeight', {
      get() {
        globalThis.measured += 1;
        return get.call(this);
      },
    });
  };
  const { ann } = await withNative(cast, { prepare, ...PHONE });
  const height = async () => (await ann.the('text').boundingBox()).height;
  const empty = await height();
  await ann.the('text').pressSequentially('a line that is longer than this field is wide, so it wraps');
  const wrapped = await height();
  assert.ok(wrapped > empty, `${wrapped} px`);
  await ann.the('text').fill('word '.repeat(400));
  const full = await height();
  assert.ok(full > wrapped && full <= 160, `${full} px`);
  await ann.the('text').press('Enter');
  assert.equal(await height(), empty);
  assert.equal(await ann.page.evaluate(() => globalThis.measured), 0, 'a key forces no layout');
});

pageStory('flood_of_pictures_keeps_few_decoded', async (cast) => {
  const { ann, bob, secret } = await withNative(cast);
  const url = `data:image/gif;base64,${animatedGif(1, 'small').toString('base64')}`;
  const bytes = Buffer.from(await secret.encrypt(url));
  for (let id = 1; id <= 250; id += 1) {
    bob.send({ type: 'image', id, mime: 'image/gif', size: bytes.length, encrypted: true }, bytes);
  }
  bob.send({ type: 'message', id: 251, text: await secret.encrypt('that was it') });
  await ann.hears('that was it');
  await ann.page.locator('.theirs img[src^="blob:"]').last().waitFor();
  const { lines, decoded } = await ann.page.evaluate(() => ({
    lines: document.querySelectorAll('.message').length,
    decoded: document.querySelectorAll('img[src^="blob:"]').length,
  }));
  assert.ok(lines <= 200 && decoded <= 12, `${decoded} of ${lines} pictures are decoded`);
});

pageStory('W5: partner_who_leaves_takes_no_draft_and_no_tap', async ({ visit }) => {
  for (const settings of [{}, PHONE]) {
    const [ann, bob] = await acquainted(visit, settings);
    await bob.say('hi');
    await ann.hears('hi');
    await ann.the('text').fill('half a thought');
    const places = await Promise.all(['send', 'text'].map((name) => ann.the(name).boundingBox()));
    await bob.the('leave').click();
    await bob.the('really-leave').click();
    await ann.sees('over');
    for (const { x, y, width, height } of places) {
      await ann.page.mouse.click(x + width / 2, y + height / 2);
    }
    await ann.page.keyboard.press('Enter');
    await ann.sees('over');
    assert.equal(await ann.the('text').inputValue(), 'half a thought');
    assert.deepEqual(await ann.transcript(), ['hi']);

    await ann.the('again').click();
    await bob.the('again').click();
    await ann.meets('Bob');
    assert.equal(await ann.the('text').inputValue(), '');
    await ann.the('draft-use').click();
    assert.equal(await ann.the('text').inputValue(), 'half a thought');
    for (const visitor of [ann, bob]) {
      await visitor.page.goto('about:blank');
    }
  }
});

pageStory('next_asks_once_there_was_a_conversation', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.say('hello');
  await bob.hears('hello');
  await bob.say('hello!');
  await ann.hears('hello!');
  await ann.the('next').click();
  await ann.the('ask-leave').getByText('Move on to someone new?').waitFor();
  await ann.the('stay').click();
  await ann.seesNo('ask-leave');
  await ann.the('next').click();
  await ann.the('really-leave').click();
  await ann.sees('cancel');
});

pageStory('W6: leaving_the_page_in_a_chat_is_asked_about', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  const dialogs = [];
  ann.page.on('dialog', (dialog) => {
    dialogs.push(dialog.type());
    return dialogs.length === 1 ? dialog.dismiss() : dialog.accept();
  });
  await ann.the('text').click();
  const asked = once(ann.page, 'dialog');
  await ann.page.evaluate(() => void setTimeout(() => location.reload()));
  await asked;
  await ann.say('still here');
  await bob.hears('still here');
  assert.notEqual(await ann.page.evaluate(() => getComputedStyle(document.body).overscrollBehaviorY), 'auto');

  await ann.page.evaluate(() => void setTimeout(() => location.reload()));
  await ann.the('log').getByText('The conversation before the reload is not kept.').waitFor();
  await ann.say('here again');
  await bob.hears('here again');
  assert.deepEqual(dialogs, ['beforeunload', 'beforeunload']);
  await ann.the('leave').click();
  await ann.the('really-leave').click();
  await ann.page.locator('[data-testid=again]:enabled').waitFor();
  await ann.the('home').click();
  await ann.page.locator('[data-testid=find]:enabled').waitFor();

  // At the start there is nothing to lose.
  await ann.the('name').click();
  await ann.page.reload();
  // The console tells of a page that is closed while it connects.
  await ann.page.locator('[data-testid=find]:enabled').waitFor();
  assert.equal(dialogs.length, 2);
});

pageStory('W7: enter_of_an_input_method_sends_nothing', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.the('text').fill('にほん');
  await ann.the('text').evaluate((field) => {
    const enter = { key: 'Enter', keyCode: 229, isComposing: false, bubbles: true, cancelable: true };
    field.dispatchEvent(new KeyboardEvent('keydown', enter));
  });
  assert.equal(await ann.the('text').inputValue(), 'にほん');
  await ann.say('日本');
  await bob.hears('日本');
  assert.equal(await bob.page.locator('.theirs').count(), 1);
});

pageStory('W8: browser_that_returns_noise_sends_no_picture', async ({ visit }) => {
  const prepare = () => {
    const { getImageData } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.getImageData = function (...place) {
      const image = getImageData.apply(this, place);
      crypto.getRandomValues(image.data);
      return image;
    };
  };
  const [ann, bob] = await acquainted(visit, { prepare });
  await give(ann, 'paste', 'image/png');
  await ann.the('notice').getByText('Your browser hides pictures from pages').waitFor();
  await ann.say('no picture');
  await bob.hears('no picture');
  assert.equal(await bob.page.locator('.theirs').count(), 1);
});

pageStory('W9: browser_that_cannot_turn_bitmaps_sends_pictures_upright', async ({ visit }) => {
  const prepare = () => {
    const create = globalThis.createImageBitmap;
    globalThis.createImageBitmap = (source, options) =>
      options?.imageOrientation === 'from-image' ? Promise.reject(new TypeError('from-image')) : create(source, options);
  };
  const [ann, bob] = await acquainted(visit, { prepare });
  await ann.the('file').setInputFiles({ name: 'IMG_1.jpg', mimeType: 'image/jpeg', buffer: PHOTOGRAPH });
  await ann.sees('preview');
  await ann.the('send').click();
  const { width, height } = await bob.receivedPicture();
  assert.deepEqual([width, height], [1536, 2048]);
});

pageStory('W10: browser_without_webp_sends_a_photograph_as_jpeg', async ({ visit }) => {
  const prepare = () => {
    const { toBlob } = HTMLCanvasElement.prototype;
    HTMLCanvasElement.prototype.toBlob = function (done, type, quality) {
      return toBlob.call(this, done, type === 'image/webp' ? 'image/png' : type, quality);
    };
  };
  const [ann, bob] = await acquainted(visit, { prepare });
  await ann.page.evaluate(async (photograph) => {
    // Twelve megapixels of a photograph, with the grain of a real camera, as a kind that is not JPEG.
    const bytes = Uint8Array.from(atob(photograph), (letter) => letter.charCodeAt(0));
    const grain = Object.assign(document.createElement('canvas'), { width: 256, height: 256 });
    const noise = new ImageData(256, 256);
    crypto.getRandomValues(noise.data.subarray(0, 65_536));
    noise.data.copyWithin(65_536, 0, 65_536);
    noise.data.copyWithin(131_072, 0, 131_072);
    for (let at = 3; at < noise.data.length; at += 4) {
      noise.data[at] = 24;
    }
    grain.getContext('2d').putImageData(noise, 0, 0);
    const canvas = Object.assign(document.createElement('canvas'), { width: 4000, height: 3000 });
    const context = canvas.getContext('2d');
    context.drawImage(await createImageBitmap(new Blob([bytes])), 0, 0, 4000, 3000);
    context.fillStyle = context.createPattern(grain, 'repeat');
    context.fillRect(0, 0, 4000, 3000);
    const png = await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.95));
    const transfer = new DataTransfer();
    transfer.items.add(new File([png], 'file', { type: 'image/png' }));
    document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true }));
  }, PHOTOGRAPH.toString('base64'));
  // Twelve megapixels take their time on a busy machine.
  await ann.the('preview').waitFor({ timeout: 60_000 });
  await ann.the('send').click();
  const { bytes, width } = await bob.receivedPicture();
  assert.deepEqual([bytes.readUInt16BE(0), width], [0xffd8, 2048]);
  assert.ok(bytes.length < 600_000, `${bytes.length} bytes`);
});

pageStory('W11: moving_pictures_move_and_lose_their_metadata', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  const still = await ann.page.evaluate(async () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 16, height: 16 });
    canvas.getContext('2d').fillRect(2, 2, 8, 8);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/webp', 0.8));
    return [...new Uint8Array(await blob.arrayBuffer())];
  });
  const cases = [
    ['image/gif', animatedGif(20, 'taken at home')],
    ['image/webp', animatedWebp(Buffer.from(still), 20, 'taken at home')],
  ];
  for (const [index, [mimeType, buffer]] of cases.entries()) {
    assert.ok(buffer.includes('taken at home'));
    await ann.the('file').setInputFiles({ name: 'moving', mimeType, buffer });
    await ann.sees('preview');
    await ann.the('send').click();
    await bob.page.locator('.theirs .picture img[src^="blob:"]').nth(index).waitFor();
    const { bytes } = await bob.receivedPicture();
    assert.ok(!bytes.includes('taken at home'), `${mimeType} without its metadata`);
    const frames = await bob.page.evaluate(
      async ([data, type]) => {
        const decoder = new ImageDecoder({ data: Uint8Array.from(data), type });
        await decoder.tracks.ready;
        return decoder.tracks.selectedTrack.frameCount;
      },
      [[...bytes], mimeType],
    );
    assert.equal(frames, 20, mimeType);
  }
});

pageStory('W12: text_with_a_picture_of_it_is_pasted_as_text', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  const paste = (target, withText) =>
    ann.page.evaluate(
      ([target, withText]) => {
        const transfer = new DataTransfer();
        if (withText) {
          transfer.setData('text/plain', 'a cell');
          transfer.setData('text/html', '<table><td>a cell</table>');
        }
        transfer.items.add(new File([new Uint8Array(8)], 'picture', { type: 'image/png' }));
        const event = new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true });
        document.querySelector(`[data-testid=${target}]`).dispatchEvent(event);
        return event.defaultPrevented;
      },
      [target, withText],
    );
  assert.equal(await paste('text', true), false, 'the browser puts the text into the field');
  assert.equal(await paste('log', true), true);
  assert.equal(await ann.the('text').inputValue(), 'a cell');
  await ann.say('and this');
  await bob.hears('a celland this').catch(() => bob.hears('and this'));
  assert.equal(await bob.page.locator('.theirs .picture').count(), 0);
  assert.equal(await paste('text', false), true, 'a picture alone is taken');
});

pageStory('W13: several_pictures_are_sent_and_links_are_not_followed', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  const file = { name: 'IMG_1.jpg', mimeType: 'image/jpeg', buffer: PHOTOGRAPH };
  await ann.the('file').setInputFiles([file, file]);
  await ann.the('preview').locator('li').nth(1).waitFor();
  await ann.the('send').click();
  await bob.page.locator('.theirs .picture').nth(1).waitFor();
  const prevented = (target) =>
    ann.page.evaluate((target) => {
      const transfer = new DataTransfer();
      transfer.setData('text/uri-list', 'https://example.org/');
      transfer.setData('text/plain', 'https://example.org/');
      return ['dragover', 'drop'].map((type) => {
        const event = new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true });
        document.querySelector(target).dispatchEvent(event);
        return event.defaultPrevented;
      });
    }, target);
  assert.deepEqual(await prevented('[data-testid=log]'), [true, true]);
  assert.equal(await ann.the('text').inputValue(), 'https://example.org/');
  assert.deepEqual(await prevented('[data-testid=text]'), [false, false]);
});

pageStory('W14: names_that_turn_the_writing_or_are_blank_are_strangers', async (cast) => {
  for (const name of ['\u202egnp.exe si gnipyt', '\u3164', '\u2800\u200b', ' \u2067x\u2069']) {
    const { ann, bob } = await withNative(cast, { name, shown: 'Stranger' });
    assert.equal(await ann.the('partner').locator('bdi').textContent(), 'Stranger');
    bob.send({ type: 'leave' });
    await ann.sees('over');
    await ann.page.goto('about:blank');
    bob.close();
  }
});

pageStory('W15: walls_of_text_are_folded_and_stacked_marks_clipped', async (cast) => {
  const { ann, bob, secret } = await withNative(cast);
  const zalgo = `a${'\u0301\u0316\u0334'.repeat(200)} b`;
  bob.send({ type: 'message', id: 1, text: await secret.encrypt(zalgo) });
  bob.send({ type: 'message', id: 2, text: await secret.encrypt(`top${'\n'.repeat(3_000)}end`) });
  bob.send({ type: 'message', id: 3, text: await secret.encrypt('afterwards') });
  await ann.hears('afterwards');
  const stacked = ann.page.locator('.theirs .bubble').nth(0);
  assert.ok((await stacked.textContent()).length < 20, 'more marks than any language stacks are left out');
  assert.equal(await stacked.evaluate((bubble) => getComputedStyle(bubble).overflowY), 'clip');
  const wall = ann.page.locator('.theirs .bubble').nth(1);
  const height = async () => (await wall.boundingBox()).height;
  assert.ok((await height()) < 720, `${await height()} pixels`);
  await ann.the('show-all').click();
  assert.match(await wall.textContent(), /end$/);
  assert.ok((await height()) < 720, `${await height()} pixels once all is shown`);
});

pageStory('W16: interests_are_parted_by_the_commas_of_any_script', async ({ visit }) => {
  const ann = await visit();
  await ann.the('interest').fill('猫，电影、音乐');
  await ann.the('interest').press('Enter');
  assert.deepEqual(await ann.the('chips').locator('bdi').allTextContents(), ['猫', '电影', '音乐']);
});

pageStory('W17: text_of_200_percent_fits_on_a_phone', async ({ visit }) => {
  const [ann] = await acquainted(visit, PHONE);
  await ann.page.evaluate(() => (document.documentElement.style.fontSize = '200%'));
  const found = await ann.page.evaluate(() => ({
    header: document.querySelector('.chat header').getBoundingClientRect().height,
    sideways: document.documentElement.scrollWidth - innerWidth,
    outside: [...document.querySelectorAll('#chat button, #chat textarea')]
      .filter((element) => element.checkVisibility({ visibilityProperty: true }))
      .filter((element) => {
        const { left, right } = element.getBoundingClientRect();
        return left < 0 || right > innerWidth;
      })
      .map(({ id }) => id),
    field: document.querySelector('#text').clientHeight >= document.querySelector('#text').scrollHeight - 1,
  }));
  assert.ok(found.header <= 120, `the header is ${found.header} pixels tall`);
  assert.deepEqual({ ...found, header: 0 }, { header: 0, sideways: 0, outside: [], field: true });
});

pageStory('W18: what_is_typed_beside_the_field_goes_into_it', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await give(bob, 'paste', 'image/png');
  await bob.sees('preview');
  await bob.the('send').click();
  await ann.the('picture').click();
  await ann.page.keyboard.type('ok then');
  assert.equal(await ann.the('text').inputValue(), 'ok then');
  assert.equal(await ann.the('picture').getAttribute('aria-pressed'), 'true');
  await ann.the('text').fill('');
  await ann.the('log').focus();
  await ann.page.keyboard.type(' more');
  assert.match(await ann.the('text').inputValue(), /more$/);
  // The space bar still presses what was reached by keyboard.
  await ann.page.keyboard.press('Shift+Tab');
  await ann.the('picture').focus();
  await ann.page.keyboard.press('Space');
  assert.equal(await ann.the('picture').getAttribute('aria-pressed'), 'false');
});

pageStory(
  'W19: server_that_is_full_says_so_at_the_first_visit',
  async ({ visit, native }) => {
    const peer = await native();
    const ann = await visit({ ready: false });
    ann.expect(LOST);
    await ann.the('banner').getByText('The server is full just now.').waitFor();
    peer.close();
    await ann.seesNo('banner');
  },
  { args: ['--max-connections', '1'] },
);

pageStory('W20: notice_covers_neither_the_draft_nor_the_ending', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.the('text').fill('a draft');
  await give(ann, 'drop', 'text/html');
  await ann.sees('notice');
  const apart = async (one, other) => {
    const [a, b] = await Promise.all([ann.the(one).boundingBox(), ann.the(other).boundingBox()]);
    return a.y + a.height <= b.y || b.y + b.height <= a.y;
  };
  assert.ok(await apart('notice', 'text'));
  await ann.the('text').press('x');
  await ann.seesNo('notice');
  await give(ann, 'drop', 'text/html');
  await ann.sees('notice');
  await bob.page.goto('about:blank');
  await ann.sees('over-title');
  assert.equal(await ann.the('notice').isVisible(), false, 'it goes with the chat that it was about');
});

pageStory('W21: cancel_leads_back_to_find', async ({ visit }) => {
  const ann = await visit();
  await ann.find('Ann');
  await ann.the('cancel').click();
  await ann.page.waitForFunction(() => document.activeElement.id === 'find');
});

pageStory('W22: estimate_that_has_passed_is_not_said', async ({ visit }) => {
  const prepare = () => {
    const { parse } = JSON;
    JSON.parse = (text, ...rest) => {
      const value = parse(text, ...rest);
      return value?.type === 'waiting' ? { ...value, online: 3, estimateMs: 3_000 } : value;
    };
  };
  const ann = await visit({ prepare });
  await ann.find('Ann');
  await ann.the('online-waiting').getByText('3 people are here. It has lately taken 3 seconds').waitFor();
  // Sooner than the page asks again.
  await ann.the('online-waiting').getByText(/^3 people are here\.$/).waitFor({ timeout: 6_000 });
});

pageStory('W22: blocked_partner_is_not_counted', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.the('block-now').click();
  await ann.the('really-leave').click();
  await ann.the('over-title').getByText('You left, and won’t meet Bob again.').waitFor();
  await bob.page.locator('[data-testid=again]:enabled').click();
  await bob.sees('cancel');
  await ann.the('home').click();
  assert.equal(await ann.the('online').textContent(), '');
  await ann.the('find').click();
  await ann.sees('cancel');
  await bob.the('online-waiting').getByText('2 people are here.').waitFor();
  assert.equal(await ann.the('online-waiting').textContent(), '');
});

pageStory('W23: page_speaks_the_language_of_the_browser_and_counts_in_it', async ({ visit }) => {
  const cases = [
    ['de-AT', 'ltr', 'Jemanden finden', '16.000'],
    ['ar-EG', 'rtl', 'ابحث عن شخص', null],
    ['nl-NL', 'ltr', 'Find someone', '16,000'],
    ['zh-TW', 'ltr', '找人聊天', '16,000'],
  ];
  for (const [locale, dir, find, number] of cases) {
    const ann = await visit({ locale });
    assert.equal(await ann.the('find').textContent(), find);
    const { lang, direction, formatted } = await ann.page.evaluate(async () => {
      const { number } = await import(new URL('assets/i18n.js', document.baseURI));
      const { lang, dir } = document.documentElement;
      return { lang, direction: dir, formatted: number(16_000) };
    });
    assert.equal(direction, dir);
    const expected = number ?? new Intl.NumberFormat('ar').format(16_000);
    assert.equal(formatted, expected, `in ${lang}`);
  }
});

pageStory('safety_code_reads_left_to_right_in_arabic_as_well', async ({ visit }) => {
  const settings = [{ locale: 'ar-EG' }, {}];
  const [ann, bob] = await Promise.all(settings.map(visit));
  await ann.find('Ann');
  await bob.find('Bob');
  await bob.meets('Ann');
  assert.equal(await ann.safetyCode(), await bob.safetyCode());
  await ann.the('safety').locator('summary').click();
  // The order in which the groups stand, by where they are.
  const groups = await ann.the('safety-code').evaluate((code) => {
    const range = document.createRange();
    return [...code.textContent.matchAll(/\d+/g)].map(({ 0: group, index }) => {
      range.setStart(code.firstChild, index);
      range.setEnd(code.firstChild, index + group.length);
      return range.getBoundingClientRect().left;
    });
  });
  assert.deepEqual(groups, [...groups].sort((a, b) => a - b));
});

pageStory('W24: forced_colours_keep_borders', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit, { forcedColors: 'active' });
  await bob.say('hi');
  const heard = await ann.hears('hi');
  const width = await heard.locator('.bubble').evaluate((bubble) => getComputedStyle(bubble).borderTopWidth);
  assert.equal(width, '1px');
});

pageStory('W25: picture_and_caption_of_one_message_stand_together', async ({ visit, purrrChat }) => {
  const [ann, bob, keys] = [await visit(), await purrrChat('websocket'), await Keys.generate()];
  await ann.find('Ann');
  await ann.sees('cancel');
  bob.find('Bob', keys.publicKey);
  const { partnerPk } = await until(bob, 'matched');
  const secret = await keys.secretWith(partnerPk);
  const url = `data:image/jpeg;base64,${PHOTOGRAPH.toString('base64')}`;
  bob.emit('send_message', { message: await secret.encrypt('Me, today'), image: await secret.encrypt(url), reply: null });
  bob.emit('send_message', { message: await secret.encrypt('and then'), image: null, reply: 0 });
  await ann.hears('and then');
  const together = ann.page.locator('.theirs').filter({ hasText: 'Me, today' }).first();
  await together.locator('.picture').waitFor();
  assert.equal(await ann.page.locator('.theirs').count(), 2);
});

pageStory('X12: partner_with_the_last_id_of_all_stops_nobody', async (cast) => {
  const { ann, bob, secret } = await withNative(cast);
  bob.send({ type: 'message', id: 2 ** 53 - 1, text: await secret.encrypt('the last') });
  bob.send({ type: 'message', text: await secret.encrypt('are you there?') });
  await ann.hears('are you there?');
  for (const text of ['one', 'two']) {
    await ann.say(text);
    const frame = await untilType(bob, 'message');
    assert.equal(await secret.decrypt(frame.text), text);
  }
  await ann.knows('two', 'delivered');
});

pageStory('X13: picture_of_too_many_pixels_is_not_decoded', async (cast) => {
  const { ann, bob, secret } = await withNative(cast);
  const png = `data:image/png;base64,${pngHeader(16_000, 16_000).toString('base64')}`;
  const bytes = Buffer.from(await secret.encrypt(png));
  bob.send({ type: 'image', id: 1, mime: 'image/png', size: bytes.length, encrypted: true }, bytes);
  await ann.the('message').getByText('A picture of 16,000 × 16,000 pixels came.').waitFor();
  assert.equal(await ann.page.locator('.theirs img').count(), 0);
});
