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
