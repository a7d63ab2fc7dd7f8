// Keeps the page for times without a network, and says so then.

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
