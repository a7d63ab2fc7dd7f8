// What this browser keeps: what the visitor chose, the session of this tab, and the page for times without a network. Some
// browsers allow none of it.


const PREFIX = 'purrr.';

export function recall(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Then it is asked for again next time.
  }
}

// By what the server knows this tab again after a reload or a lost connection: tokens, and the chat that it was in. Nothing that
// was said is kept.

const KEY = 'purrr.session';

/** The tokens of this tab's last connections and its chat, unless they belong to a tab that is still open and copied here. */
export async function lastSession() {
  const { tab = crypto.randomUUID?.(), ...last } = read();
  if (!navigator.locks || !tab) {
    return {};
  }
  const ours = await claim(tab);
  write(ours ? { tab, ...last } : { tab: crypto.randomUUID() });
  return ours ? last : {};
}

/** Keeps `tokens` or `chat` for the next time. */
export function keep(part) {
  const last = read();
  if (last.tab) {
    write({ ...last, ...part });
  }
}

/** Whether no other page has the name. It is then held for as long as the page is there. */
function claim(tab) {
  return new Promise((resolve) => {
    navigator.locks.request(`${KEY}.${tab}`, { ifAvailable: true }, (lock) => {
      resolve(Boolean(lock));
      return lock && new Promise(() => {});
    }).catch(() => resolve(false));
  });
}

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function write(session) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(session));
  } catch {
    // Then the visitor is a new person after a reload.
  }
}

/** After so long nothing else is being loaded, and a visitor who only looked in has gone. */
const SETTLED = 5_000;

/** Registers the service worker, which keeps what the page was made of. */
export function keepForLater() {
  if (navigator.serviceWorker && globalThis.caches) {
    setTimeout(register, SETTLED);
  }
}

async function register() {
  try {
    await navigator.serviceWorker.register(new URL('sw.js', import.meta.url), { scope: document.baseURI });
    const cache = await caches.open('purrr');
    const loaded = performance.getEntriesByType('resource').map(({ name }) => name);
    const own = loaded.filter((name) => name.startsWith(new URL('.', import.meta.url).href));
    await cache.addAll([document.baseURI, ...new Set(own)]);
  } catch {
    // Then there is no page without a network, as there is none in any other browser window.
  }
}
