// What the page remembers from one visit to the next, in this browser only. Some browsers allow none of it.

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
