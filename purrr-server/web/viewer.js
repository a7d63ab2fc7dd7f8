// A picture by itself: as large as the screen, or as large as it is, and to be saved.

import { byId } from './dom.js';

const dialog = byId('viewer');
const image = byId('viewer-image');
let source = null;

byId('viewer-close').addEventListener('click', () => dialog.close());
byId('viewer-zoom').addEventListener('click', () => {
  const large = dialog.classList.toggle('large');
  byId('viewer-zoom').ariaPressed = String(large);
});
dialog.addEventListener('close', clear);

/** Shows the picture of a message. */
export function view({ picture }) {
  clear();
  source = URL.createObjectURL(picture);
  image.src = source;
  const save = byId('viewer-save');
  save.href = source;
  save.download = `purrr.${picture.type.split('/')[1]}`;
  dialog.showModal();
}

function clear() {
  dialog.classList.remove('large');
  byId('viewer-zoom').ariaPressed = 'false';
  image.removeAttribute('src');
  if (source) {
    URL.revokeObjectURL(source);
    source = null;
  }
}
