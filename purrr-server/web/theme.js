// Sets the chosen theme before the first paint. A classic script, because a module runs too late for that.

try {
  document.documentElement.dataset.theme = JSON.parse(localStorage.getItem('purrr.theme')) ?? 'system';
} catch {
  // A browser that remembers nothing has the system's theme.
}
