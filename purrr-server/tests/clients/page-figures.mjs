// Measures the page in Chromium: how much it loads, how long that takes, and how long it takes a key while 3,000 texts come in at once. Prints the
// tables of docs/benchmarks.md. `npm run figures`, with `PURRR_BIN` naming a release build.

import { gzipSync } from 'node:zlib';
import { Keys } from './support/encryption.mjs';
import { Visitor, launch } from './support/browser.mjs';
import { Native } from './support/native.mjs';
import { startServer } from './support/server.mjs';

const VISITS = Number(process.env.VISITS ?? 7);
const FLOODS = Number(process.env.FLOODS ?? 5);
const TEXTS = 3_000;
const KEY_EVERY = 30;
const VIEWPORT = { width: 390, height: 844 };
/** Name, bits per second and round trip in milliseconds. */
const NETWORKS = [
  ['loopback', -1, 0],
  ['9 Mbit/s, 60 ms', 9_000_000, 60],
  ['1.6 Mbit/s, 150 ms', 1_600_000, 150],
];

/** Collects long tasks and paints from the first line of the page on. Runs in the browser. */
function watch() {
  globalThis.figures = { tasks: [], delays: [], frames: [] };
  new PerformanceObserver((list) => {
    globalThis.figures.tasks.push(...list.getEntries().map(({ duration }) => duration));
  }).observe({ type: 'longtask', buffered: true });
  addEventListener(
    'keydown',
    ({ timeStamp }) => {
      globalThis.figures.delays.push(performance.now() - timeStamp);
      requestAnimationFrame(() => setTimeout(() => globalThis.figures.frames.push(performance.now() - timeStamp)));
    },
    true,
  );
}

async function load(browser, url, [, bits, latency]) {
  const context = await browser.newContext({ serviceWorkers: 'block', viewport: VIEWPORT });
  const page = await context.newPage();
  await context.addInitScript(watch);
  const tools = await context.newCDPSession(page);
  await tools.send('Network.enable');
  await tools.send('Network.setCacheDisabled', { cacheDisabled: true });
  await tools.send('Network.emulateNetworkConditions', {
    offline: false,
    latency,
    downloadThroughput: bits < 0 ? -1 : bits / 8,
    uploadThroughput: bits < 0 ? -1 : bits / 8,
  });
  const bodies = [];
  page.on('response', (response) => bodies.push(response.body()));
  await page.goto(url, { waitUntil: 'commit' });
  await page.locator('[data-testid=find]:enabled').waitFor();
  const figures = await page.evaluate(() => {
    const [{ loadEventEnd }] = performance.getEntriesByType('navigation');
    const { tasks } = globalThis.figures;
    return {
      paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime,
      load: loadEventEnd,
      ready: performance.now(),
      longest: Math.max(0, ...tasks),
      blocked: tasks.reduce((sum, task) => sum + task - 50, 0),
    };
  });
  const files = await Promise.all(bodies);
  await context.close();
  return { ...figures, files };
}

async function flood(browser, url) {
  const ann = await Visitor.arrive(browser, url, { viewport: VIEWPORT, prepare: watch });
  const [bob, keys] = [await Native.connect(url), await Keys.generate()];
  await ann.find('Ann');
  await ann.sees('cancel');
  await bob.find('Bob', keys.publicKey);
  const { partner } = await bob.next();
  const secret = await keys.secretWith(partner.publicKey);
  await ann.meets('Bob');
  const texts = await Promise.all(Array.from({ length: TEXTS }, (_, number) => secret.encrypt(`flood ${number}`)));
  await ann.the('text').focus();
  const tools = await ann.page.context().newCDPSession(ann.page);
  let pressed = 0;
  const typing = setInterval(() => {
    pressed += 1;
    tools.send('Input.dispatchKeyEvent', { type: 'keyDown', key: 'x', text: 'x' }).catch(() => {});
  }, KEY_EVERY);
  const began = performance.now();
  texts.forEach((text, at) => bob.send({ type: 'message', id: at + 1, text }));
  const ended = ann.the('over').waitFor({ timeout: 60_000 }).then(async () => {
    throw new Error(`the chat ended: ${await ann.the('over-title').textContent()}`);
  });
  ended.catch(() => {});
  const last = ann.page.getByText(`flood ${TEXTS - 1}`, { exact: true });
  await Promise.race([last.waitFor({ timeout: 60_000 }), ended]);
  const shown = performance.now() - began;
  clearInterval(typing);
  await ann.page.waitForFunction((pressed) => document.querySelector('#text').value.length >= pressed, pressed);
  const figures = await ann.page.evaluate(() => globalThis.figures);
  await ann.the('leave').click();
  const leaving = performance.now();
  await ann.the('really-leave').click();
  await ann.sees('over');
  const left = performance.now() - leaving;
  bob.close();
  await ann.page.context().close();
  return {
    shown,
    longest: Math.max(0, ...figures.tasks),
    delay: Math.max(...figures.delays),
    frame: Math.max(...figures.frames),
    left,
  };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const cells = (...values) => console.log(`| ${values.join(' | ')} |`);
const milliseconds = (value) => `${Math.round(value)} ms`;

const server = await startServer(['--connects-per-second', '1000', '--recent-partners', '0']);
const browser = await launch();
try {
  for (const network of NETWORKS) {
    const visits = [];
    for (let visit = 0; visit < VISITS; visit += 1) {
      visits.push(await load(browser, server.url, network));
    }
    const of = (name) => milliseconds(median(visits.map((visit) => visit[name])));
    if (network === NETWORKS[0]) {
      const [{ files }] = visits;
      const kilobytes = (sizes) => `${Math.round(sizes.reduce((sum, { length }) => sum + length, 0) / 1000)} KB`;
      console.log(`One visit: ${files.length} files, ${kilobytes(files)}, ${kilobytes(files.map((file) => gzipSync(file)))} with gzip\n`);
      cells('network', 'first paint', '`load`', 'ready to search', 'longest task', 'total blocking time');
    }
    cells(network[0], ...['paint', 'load', 'ready', 'longest', 'blocked'].map(of));
  }
  cells('', 'median', 'worst run');
  const floods = [];
  for (let run = 0; run < FLOODS; run += 1) {
    floods.push(await flood(browser, server.url));
  }
  for (const [name, words] of [
    ['shown', 'all shown after'],
    ['longest', 'longest task'],
    ['delay', 'longest input delay, until the page takes a key'],
    ['frame', 'longest time from a key until its frame is shown'],
    ['left', 'Leave confirmed, until the chat is over'],
  ]) {
    const values = floods.map((run) => run[name]);
    cells(words, milliseconds(median(values)), milliseconds(Math.max(...values)));
  }
} finally {
  await browser.close();
  await server.stop();
}
