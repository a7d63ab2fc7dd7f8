// A report to the operators of the server: what is wrong, and a word about it. The chat goes on.

import { byId, element } from './dom.js';
import { say, t } from './i18n.js';

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
