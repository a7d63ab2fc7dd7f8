// Keys, as browsers really report them.

const INPUT_METHOD = 229;

/**
 * Returns true if a key belongs to an input method that is putting a character together.
 *
 * Safari ends the composition before it reports the Enter that confirmed it; only the old key code tells then.
 */
export function composing(event) {
  return event.isComposing || event.keyCode === INPUT_METHOD;
}

/** Returns true if a key would write something, here or through an input method. */
export function writes(event) {
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  return plain && ([...event.key].length === 1 || event.key === 'Process' || event.key === 'Dead');
}

export function isField(element) {
  return Boolean(element?.closest?.('input, textarea, select, [contenteditable]'));
}
