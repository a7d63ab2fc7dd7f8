// What the operator says about this site: its name, a notice, the rules, and where to turn to.

import { byId, element } from './dom.js';
import { say, t } from './i18n.js';

const DEFAULT_TITLE = 'purrr';
const LINKS = [['termsUrl', 'link-terms'], ['privacyUrl', 'link-privacy'], ['contactUrl', 'link-contact']];

const site = read();

export const title = site.title || DEFAULT_TITLE;

/** Shows it on the start page. */
export function showSite() {
  document.title = title;
  byId('start-title').textContent = title;
  byId('site-notice').textContent = site.notice ?? '';
  byId('site-notice').hidden = !site.notice;
  if (site.minimumAge) {
    say(byId('age'), 'minimum-age', { age: site.minimumAge });
  }
  byId('age').hidden = !site.minimumAge;
  const links = LINKS.filter(([field]) => site[field]).map(([field, key]) =>
    element('a', { href: site[field], target: '_blank', rel: 'noopener', textContent: t(key) }),
  );
  byId('site-links').append(...links);
}

function read() {
  try {
    return JSON.parse(document.querySelector('meta[name=purrr-site]').content);
  } catch {
    return {};
  }
}
