// By what the server knows this tab again after a reload or a lost connection, so that blocked persons stay blocked.

const KEY = 'purrr.session';

/** The token of this tab's last connection, if it had one and is not still open in another tab that this is a copy of. */
export async function lastToken() {
  const { tab = crypto.randomUUID?.(), token } = read();
  if (!navigator.locks || !tab) {
    return undefined;
  }
  const ours = await claim(tab);
  write({ tab: ours ? tab : crypto.randomUUID() });
  return ours ? token : undefined;
}

/** Keeps the token for the next time. */
export function keepToken(token) {
  const { tab } = read();
  if (tab) {
    write({ tab, token });
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
