// Visitors of the page, in a real browser.

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream',
];
const PATIENCE = 15_000;
const NO_WORKER = /Service Worker registration blocked/;

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGUMENTS });
}

/** A visitor of the page, in a browser profile of its own. Each error of the page is kept. */
export class Visitor {
  #problems = [];
  /** While the server is away, a failed connection is no fault of the page. */
  #expected = /^$/;

  static async arrive(browser, url, { prepare, ready = true, ...options } = {}) {
    // What the page keeps for later would be served to the next steps of a story.
    const context = await browser.newContext({ serviceWorkers: 'block', ...options });
    context.setDefaultTimeout(PATIENCE);
    const visitor = new Visitor(await context.newPage(), url);
    await context.addInitScript(keepBlobs);
    if (prepare) {
      await context.addInitScript(typeof prepare === "string" ? { content: prepare } : prepare);
    }
    await visitor.page.goto(url);
    if (ready) {
      await visitor.page.locator('[data-testid=find]:enabled').waitFor();
    }
    return visitor;
  }

  constructor(page, url) {
    this.page = page;
    const { host } = new URL(url);
    page.on('pageerror', (error) => this.#problems.push(`error: ${error.message}`));
    page.on('console', (message) => {
      const expected = this.#expected.test(message.text()) || NO_WORKER.test(message.text());
      if (['error', 'warning'].includes(message.type()) && !expected) {
        this.#problems.push(`console: ${message.text()}`);
      }
    });
    page.on('request', (request) => this.#watch(request.url(), host));
    page.on('websocket', (socket) => this.#watch(socket.url(), host));
  }

  #watch(url, host) {
    const request = new URL(url);
    if (!['blob:', 'data:'].includes(request.protocol) && request.host !== host) {
      this.#problems.push(`request to ${request.host}`);
    }
  }

  /** The part of the page with this `data-testid`. */
  the(name) {
    return this.page.getByTestId(name);
  }

  /** Waits until that part of the page can be seen. */
  async sees(name) {
    await this.the(name).waitFor();
  }

  /** Waits until that part of the page cannot be seen. */
  async seesNo(name) {
    await this.the(name).waitFor({ state: 'hidden' });
  }

  /** Searches from the start page. */
  async find(name, interests = '') {
    await this.the('name').fill(name);
    await this.the('interest').fill(interests);
    await this.the('find').click();
  }

  /** Waits until this visitor is in a chat with a partner of that name. */
  async meets(name) {
    await this.the('log').getByText(`You are chatting with ${name}.`).waitFor();
  }

  async say(text) {
    await this.the('text').fill(text);
    await this.the('text').press('Enter');
  }

  /** Waits for the partner's message of exactly this text, and returns it. */
  async hears(text) {
    const message = this.page.locator('.theirs').filter({ has: this.page.getByText(text, { exact: true }) });
    await message.waitFor();
    return message;
  }

  /** Waits until this visitor's own message of this text has come so far. */
  async knows(text, state) {
    await this.page.locator(`.mine[data-state=${state}]`, { hasText: text }).waitFor();
  }

  /** The safety code, once it is there. */
  async safetyCode() {
    const code = this.page.locator('[data-testid=safety-code]:not(:empty)');
    await code.waitFor({ state: 'attached' });
    return code.textContent();
  }

  /** Everything said so far, as it can be read. */
  async transcript() {
    return this.page.locator('.message .bubble').allInnerTexts();
  }

  /** The picture that the partner sent last, as this page has it: its bytes, and how large it is shown. */
  async receivedPicture() {
    const image = this.page.locator('.theirs .picture img[src^="blob:"]').last();
    await image.waitFor();
    const { base64, ...size } = await image.evaluate(async (element) => {
      await element.decode();
      const bytes = new Uint8Array(await globalThis.blobs.get(element.src).arrayBuffer());
      const base64 = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
      return { base64, width: element.naturalWidth, height: element.naturalHeight };
    });
    return { ...size, bytes: Buffer.from(base64, 'base64') };
  }

  /** Makes the page believe that the visitor looks elsewhere, or here again. */
  async look(here) {
    await this.page.evaluate((state) => {
      Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, here ? 'visible' : 'hidden');
  }

  /** Messages that match are no problem from now on. */
  expect(messages) {
    this.#expected = messages;
  }

  /** Checks that nothing went wrong on this page, and closes it. */
  async leave() {
    await this.page.context().close();
    assert.deepEqual(this.#problems, []);
  }
}

/** The page may not fetch what it shows, so the tests keep it on its way there. Runs in the browser, before the page. */
function keepBlobs() {
  globalThis.blobs = new Map();
  const create = URL.createObjectURL.bind(URL);
  URL.createObjectURL = (blob) => {
    const url = create(blob);
    globalThis.blobs.set(url, blob);
    return url;
  };
}
