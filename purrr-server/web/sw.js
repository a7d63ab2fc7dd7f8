// The page without a network: what was loaded last time. With a network everything comes from the server, as ever.

const CACHE = 'purrr';

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
self.addEventListener('fetch', (event) => {
  const { request } = event;
  const ours = new URL(request.url).pathname.startsWith(new URL(self.registration.scope).pathname);
  const page = request.mode === 'navigate' || request.url.includes('/assets/');
  if (request.method === 'GET' && ours && page) {
    event.respondWith(answer(request));
  }
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) {
      await cache.put(request, response.clone());
    }
    return response;
  } catch (error) {
    const kept = await cache.match(request, { ignoreVary: true });
    if (kept) {
      return kept;
    }
    throw error;
  }
}
