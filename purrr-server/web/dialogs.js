// The dialogs of a chat: a link before it is opened, a report to the operators, and a picture by itself.

import { byId, element } from './dom.js';
import { say, t } from './i18n.js';

const linkDialog = byId('link');
const open = byId('link-open');

byId('link-cancel').addEventListener('click', () => linkDialog.close());
open.addEventListener('click', () => linkDialog.close());

/** Asks whether to open a link, with the name of the site apart from the rest. */
export function follow(url) {
  byId('link-host').textContent = url.host;
  byId('link-url').textContent = url.href;
  open.href = url.href;
  linkDialog.showModal();
  byId('link-cancel').focus();
}

const REASONS = ['spam', 'harassment', 'sexual', 'minor', 'other'];

/** `partner()` names the partner of the chat, and `send({reason, note})` sends a report. */
export function beginReports(partner, send) {
  const dialog = byId('report');
  const reason = byId('report-reason');
  const note = byId('report-note');
  reason.append(...REASONS.map((value) => element('option', { value, textContent: t(`report-${value}`) })));
  byId('report-now').addEventListener('click', () => {
    say(byId('report-title'), 'report-title', { name: partner() });
    note.value = '';
    dialog.showModal();
  });
  byId('report-cancel').addEventListener('click', () => dialog.close());
  byId('report-send').addEventListener('click', () => {
    dialog.close();
    send({ reason: reason.value, note: note.value.trim() || undefined });
  });
}

const viewer = byId('viewer');
const image = byId('viewer-image');
/** The address of the picture that is shown. */
let source = null;

byId('viewer-close').addEventListener('click', () => viewer.close());
byId('viewer-zoom').addEventListener('click', () => {
  const large = viewer.classList.toggle('large');
  byId('viewer-zoom').ariaPressed = String(large);
});
viewer.addEventListener('close', clear);

/** Shows the picture of a message. */
export function view({ picture }) {
  clear();
  source = URL.createObjectURL(picture);
  image.src = source;
  const save = byId('viewer-save');
  save.href = source;
  save.download = `purrr.${picture.type.split('/')[1]}`;
  viewer.showModal();
}

function clear() {
  viewer.classList.remove('large');
  byId('viewer-zoom').ariaPressed = 'false';
  image.removeAttribute('src');
  if (source) {
    URL.revokeObjectURL(source);
    source = null;
  }
}
