// A link is opened only after the person has seen where it leads.

import { byId } from './dom.js';

const dialog = byId('link');
const open = byId('link-open');

byId('link-cancel').addEventListener('click', () => dialog.close());
open.addEventListener('click', () => dialog.close());

/** Asks whether to open a link, with the name of the site apart from the rest. */
export function follow(url) {
  byId('link-host').textContent = url.host;
  byId('link-url').textContent = url.href;
  open.href = url.href;
  dialog.showModal();
  byId('link-cancel').focus();
}
