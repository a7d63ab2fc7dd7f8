// Reactions, links, opening lines, notifications in a hidden tab, and a page that is there without a network.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { PHONE, acquainted, give, pageStory, untilType, withNative } from './support/page.mjs';
import { PrefixProxy } from './support/prefix.mjs';

const WEB = new URL('../../web/', import.meta.url);

pageStory('reaction_stands_at_its_message_and_is_a_text_elsewhere', async (cast) => {
  const [ann, bob] = await acquainted(cast.visit);
  await ann.say('I have a new cat');
  const heard = await bob.hears('I have a new cat');
  await heard.hover();
  await heard.getByTestId('react').click();
  await bob.the('reactions').getByRole('button').first().click();
  await ann.page.locator('.mine .reactions', { hasText: '👍' }).waitFor();
  await bob.page.locator('.theirs .reactions', { hasText: '👍' }).waitFor();
  assert.equal(await ann.page.locator('.theirs').count(), 0, 'it is no message of its own');
  await ann.say('🎉🎉');
  await bob.page.locator('.jumbo', { hasText: '🎉' }).waitFor();
  for (const visitor of [ann, bob]) {
    await visitor.page.goto('about:blank');
  }

  const { ann: cid, bob: dan, secret } = await withNative(cast, { name: 'Dan' });
  dan.send({ type: 'message', id: 1, text: await secret.encrypt('hello') });
  await (await cid.hears('hello')).hover();
  await cid.the('react').click();
  await cid.the('reactions').getByRole('button').nth(1).click();
  let frame;
  do {
    frame = await dan.next();
  } while (frame.type !== 'message');
  assert.deepEqual([await secret.decrypt(frame.text), frame.reply], ['❤️', 1]);
});

pageStory('links_open_after_a_warning', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await bob.say('look: https://user@example.org/a?b=c, and javascript:alert(1)');
  const link = ann.page.locator('.theirs a');
  await link.waitFor();
  assert.equal(await link.count(), 1);
  assert.equal(await link.getAttribute('href'), 'https://user@example.org/a?b=c');
  assert.equal(await link.getAttribute('rel'), 'noopener noreferrer nofollow');
  await link.click();
  await ann.sees('link');
  assert.equal(await ann.the('link-host').textContent(), 'example.org');
  assert.equal(await ann.the('link-open').getAttribute('rel'), 'noopener noreferrer');
  await ann.page.keyboard.press('Escape');
  await ann.seesNo('link');
  assert.equal(await ann.the('ask-leave').isVisible(), false, 'that was about the link');
});

pageStory('opening_line_is_sent_by_one_press', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  const opener = ann.the('openers').getByRole('button').first();
  const line = await opener.textContent();
  await opener.click();
  await bob.hears(line);
  await ann.seesNo('openers');
  await bob.seesNo('openers');
  const [cid, dee] = await acquainted(visit);
  await cid.sees('openers');
  await cid.say('words of my own');
  await cid.seesNo('openers');
  await dee.hears('words of my own');
});

pageStory('message_is_answered_by_a_swipe', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit, PHONE);
  await bob.say('swipe me');
  const heard = await ann.hears('swipe me');
  assert.equal(await ann.the('reply').evaluate((button) => getComputedStyle(button.parentElement).opacity), '0');
  const touch = async (type, x) => {
    const { x: left, y: top } = await heard.boundingBox();
    await heard.locator('.bubble').dispatchEvent(type, {
      touches: type === 'touchend' ? [] : [{ identifier: 0, clientX: left + x, clientY: top + 5 }],
    });
  };
  await touch('touchstart', 10);
  await touch('touchmove', 50);
  await touch('touchmove', 90);
  await touch('touchend');
  await ann.sees('replying');
  await ann.say('swiped');
  assert.equal(await (await bob.hears('swiped')).locator('.quote').textContent(), 'swipe me');
});

pageStory('picture_can_be_enlarged_and_saved', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await give(ann, 'paste', 'image/png');
  await ann.sees('preview');
  await ann.the('send').click();
  assert.equal(await bob.the('zoom').isVisible(), false, 'not before it is shown');
  await bob.the('picture').click();
  await bob.the('zoom').click();
  await bob.sees('viewer');
  const [download] = await Promise.all([bob.page.waitForEvent('download'), bob.the('viewer-save').click()]);
  assert.equal(download.suggestedFilename(), 'purrr.webp');
  await bob.page.keyboard.press('Escape');
  await bob.seesNo('viewer');
});

pageStory('hidden_tab_notifies_and_sounds_if_enabled', async ({ visit }) => {
  const prepare = () => {
    globalThis.notified = [];
    globalThis.Notification = class {
      static permission = 'default';
      static async requestPermission() {
        this.permission = 'granted';
        return 'granted';
      }
      constructor(text) {
        globalThis.notified.push(text);
      }
      addEventListener() {}
      close() {}
    };
  };
  const [ann, bob] = [await visit({ prepare }), await visit()];
  await ann.the('settings-open').click();
  await ann.the('sound').check();
  await ann.the('notifications').check();
  await ann.the('settings-close').click();
  await ann.find('Ann');
  await ann.sees('cancel');
  await ann.look(false);
  await bob.find('Bob');
  await ann.meets('Bob');
  assert.equal(await ann.page.title(), 'Bob is here · purrr');
  await bob.say('hello?');
  await ann.hears('hello?');
  assert.equal(await ann.page.title(), '(1) purrr');
  assert.match(await ann.page.locator('link[rel=icon]').getAttribute('href'), /favicon-new\.svg$/);
  await bob.the('leave').click();
  await bob.the('really-leave').click();
  await ann.the('over-title').getByText('Bob left the chat.').waitFor();
  assert.equal(await ann.page.title(), 'Bob left the chat. · purrr');
  const notified = await ann.page.evaluate(() => globalThis.notified);
  assert.deepEqual(notified, ['Bob is here', 'A message from Bob', 'Bob left the chat.']);
  await ann.look(true);
  assert.equal(await ann.page.title(), 'purrr');
});

/** Scripts with case, marks, compatibility forms or letters without a shape, as old as the oldest Unicode that is in use here. */
const SCRIPTS = [
  [0, 0x2bff],
  [0x3000, 0x318f],
  [0xa640, 0xa69f],
  [0xab70, 0xac20],
  [0xf900, 0xfb4f],
  [0xfe00, 0xffef],
  [0x10400, 0x1044f],
  [0x1d400, 0x1d4ff],
  [0x1e900, 0x1e943],
];
const AT_ONCE = 32;

/** Each character of these scripts alone, and as many texts of up to four of them. The same at every run. */
function spellings() {
  const known = SCRIPTS.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, at) => first + at))
    .map((code) => String.fromCodePoint(code))
    .filter((character) => !/[\p{Cn}\p{Cs}]/u.test(character));
  const marks = [...'\u0301\u0345\u0307\u0308\u0323\u200d #_ΣσςıİIi'];
  let state = 1;
  const one = (of) => {
    state = (state * 48_271) % 2_147_483_647;
    return of[state % of.length];
  };
  const texts = known.map(() => Array.from({ length: 1 + one([0, 1, 2, 3]) }, () => one(one([known, marks]))).join(''));
  return [...known, ...texts];
}

pageStory(
  'interests_have_the_normal_form_of_the_server',
  async ({ visit, native }) => {
    const ann = await visit();
    const peers = [await native(), await native()];
    const texts = spellings();
    assert.ok(texts.length > 20_000, `${texts.length} spellings`);
    const shown = await ann.page.evaluate(async (texts) => {
      const { normalForm } = await import('/assets/chips.js');
      return texts.map(normalForm);
    }, texts);
    for (let at = 0; at < texts.length; at += AT_ONCE) {
      const interests = texts.slice(at, at + AT_ONCE);
      for (const peer of peers) {
        peer.send({ type: 'find', interests });
      }
      const [{ shared }] = await Promise.all(peers.map((peer) => untilType(peer, 'matched')));
      const expected = new Set(shown.slice(at, at + AT_ONCE).filter(Boolean));
      assert.deepEqual([...shared].sort(), [...expected].sort(), JSON.stringify(interests));
      peers[0].send({ type: 'leave' });
      await Promise.all([untilType(peers[0], 'idle'), untilType(peers[1], 'left')]);
    }
  },
  { args: ['--rate-limits', 'off', '--anyone-after', '0s'] },
);

pageStory(
  'search_says_when_it_widens_and_can_be_widened_at_once',
  async ({ visit }) => {
    const [ann, bob] = [await visit(), await visit()];
    await ann.find('Ann', 'very rare interest');
    await ann.the('waiting-about').getByText('Somebody who likes very rare interest').waitFor();
    await ann.the('waiting-widens').getByText(/^The search widens in \d+ minutes\.$/).waitFor();
    await ann.the('waiting-time').getByText('You have been looking for 2 seconds.').waitFor();
    await bob.find('Bob');
    await bob.sees('cancel');
    await ann.the('anyone').click();
    await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
  },
  { args: ['--language-after', '10min', '--anyone-after', '20min'] },
);

pageStory(
  'page_says_what_the_operator_says',
  async ({ server, visit }) => {
    const ann = await visit();
    assert.equal(await ann.page.title(), 'Cats & "co"');
    assert.equal(await ann.page.getByRole('heading', { level: 1 }).textContent(), 'Cats & "co"');
    await ann.the('site-notice').getByText('Be <b>kind</b>.').waitFor();
    await ann.the('age').getByText('You must be at least 18 years old.').waitFor();
    const links = await ann.the('site-links').locator('a').evaluateAll((all) => all.map((link) => link.getAttribute('href')));
    assert.deepEqual(links, ['https://example.org/rules', '/privacy', 'mailto:cats@example.org']);
    const html = await (await fetch(server.url)).text();
    assert.match(html, /<title>Cats &amp; &quot;co&quot;<\/title>/);
    assert.match(html, /og:title" content="Cats &amp; &quot;co&quot;"/);
  },
  {
    args: [
      ...['--page-title', 'Cats & "co"', '--page-notice', 'Be <b>kind</b>.', '--minimum-age', '18'],
      ...['--terms-url', 'https://example.org/rules', '--privacy-url', '/privacy'],
      ...['--contact-url', 'mailto:cats@example.org'],
    ],
  },
);

pageStory('report_is_sent_as_the_protocol_has_it', async (cast) => {
  const plain = await cast.visit();
  assert.equal(await plain.the('report-now').isVisible(), false, 'this server takes no reports');
  await plain.page.goto('about:blank');
  // A server that takes them says so.
  const prepare = () => {
    const { parse } = JSON;
    JSON.parse = (text, ...rest) => {
      const value = parse(text, ...rest);
      return value?.type === 'welcome' ? { ...value, reports: true } : value;
    };
  };
  const { ann } = await withNative(cast, { prepare });
  const sent = ann.page.evaluate(
    () =>
      new Promise((resolve) => {
        const { send } = WebSocket.prototype;
        WebSocket.prototype.send = function (data) {
          if (String(data).includes('"report"')) {
            return resolve(JSON.parse(data));
          }
          return send.call(this, data);
        };
      }),
  );
  await ann.the('report-now').click();
  await ann.the('report-reason').selectOption('spam');
  await ann.the('report-note').fill('sells something');
  await ann.the('report-send').click();
  assert.deepEqual(await sent, { type: 'report', reason: 'spam', note: 'sells something' });
  await ann.the('log').getByText('Your report was sent.').waitFor();
});

pageStory('theme_and_language_are_chosen_and_kept', async ({ visit }) => {
  const ann = await visit({ colorScheme: 'light' });
  const ground = () => ann.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await ann.the('settings-open').click();
  await ann.the('theme').selectOption('dark');
  assert.notEqual(await ground(), light);
  await Promise.all([ann.page.waitForEvent('load'), ann.the('language').selectOption('fr')]);
  await ann.the('find').getByText('Trouver quelqu’un').waitFor();
  assert.notEqual(await ground(), light, 'also after a reload');
});

pageStory(
  'page_is_there_without_a_network_and_says_so',
  async ({ server, visit }) => {
    const ann = await visit({ serviceWorkers: 'allow' });
    ann.expect(/./);
    await ann.page.evaluate(async () => {
      while (!(await caches.match(document.baseURI))) {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    });
    await ann.page.evaluate(() => navigator.serviceWorker.ready);
    await server.stop('SIGKILL');
    await ann.page.context().setOffline(true);
    await ann.page.reload();
    await ann.the('banner').getByText('You are offline.').waitFor();
    assert.equal(await ann.the('find').textContent(), 'Find someone');
    const manifest = JSON.parse(readFileSync(new URL('purrr.webmanifest', WEB), 'utf8'));
    assert.deepEqual([manifest.start_url, manifest.display], ['../', 'standalone']);
  },
  { stopped: true, killed: true },
);

for (const [name, at, headers, args] of [
  ['relative_base', '/', {}, []],
  ['base_path', '', {}, ['--base-path', '/chat/']],
  ['forwarded_prefix', '', { 'x-forwarded-prefix': '/chat' }, ['--trusted-proxy', '127.0.0.1']],
]) {
  pageStory(
    `page_below_a_stripped_path: ${name}`,
    async ({ server, visit }) => {
      const proxy = await PrefixProxy.to(server.port, '/chat', headers);
      const refused = [];
      const ann = await visit({ url: proxy.url + at, serviceWorkers: 'allow' });
      const bob = await visit({ url: proxy.url + at, locale: 'de' });
      ann.page.on('response', (response) => response.ok() || refused.push(response.url()));
      const manifest = await ann.page.evaluate(async () => {
        const link = document.querySelector('link[rel=manifest]').href;
        const { start_url, scope, icons } = await (await fetch(link)).json();
        const icon = await fetch(new URL(icons[1].src, link));
        return [start_url, scope].map((path) => new URL(path, link).pathname).concat(icon.headers.get('content-type'));
      });
      assert.deepEqual(manifest, ['/chat/', '/chat/', 'image/png']);
      await ann.find('Ann');
      await bob.find('Bob');
      await ann.meets('Bob');
      await bob.the('log').getByText('Du chattest mit Ann.').waitFor();
      await ann.say('below a path');
      await bob.hears('below a path');

      const scope = await ann.page.evaluate(async () => {
        while (!(await caches.match(document.baseURI))) {
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
        const [{ scope }] = await navigator.serviceWorker.getRegistrations();
        return new URL(scope).pathname;
      });
      assert.equal(scope, '/chat/');
      assert.deepEqual([proxy.strays, refused], [[], []], 'everything is asked for below the path, and is there');

      // The address that the installed page opens, without a network.
      [ann, bob].forEach((visitor) => visitor.expect(/./));
      await ann.page.goto(`${proxy.url}/`);
      await ann.page.evaluate(() => navigator.serviceWorker.ready);
      await proxy.close();
      await server.stop('SIGKILL');
      await ann.page.context().setOffline(true);
      await ann.page.goto(`${proxy.url}/`);
      await ann.the('banner').getByText('You are offline.').waitFor();
    },
    { args, stopped: true, killed: true },
  );
}

test('page_has_at_most_120_kb_compressed', () => {
  const files = readdirSync(WEB, { recursive: true }).filter((name) => /\.\w+$/.test(name));
  const bytes = files.map((name) => gzipSync(readFileSync(new URL(name, WEB))).length);
  const total = bytes.reduce((sum, size) => sum + size, 0);
  assert.ok(total <= 120_000, `${total} bytes`);
});

test('every_module_is_preloaded', () => {
  const markup = readFileSync(new URL('index.html', WEB), 'utf8');
  const preloaded = [...markup.matchAll(/rel="modulepreload" href="assets\/([^"]+)"/g)].map(([, name]) => name);
  const other = ['app.js', 'sw.js', 'theme.js'];
  const modules = readdirSync(WEB).filter((name) => name.endsWith('.js') && !other.includes(name));
  assert.deepEqual(preloaded, modules.sort());
});
