// What the person chooses for this browser: language, theme, sound, notifications.

import { playSound } from './attention.js';
import { byId, element } from './dom.js';
import { LANGUAGES, language } from './i18n.js';
import { recall, remember } from './memory.js';

export function beginSettings() {
  const dialog = byId('settings');
  for (const opener of document.querySelectorAll('[data-opens=settings]')) {
    opener.addEventListener('click', () => dialog.showModal());
  }
  byId('settings-close').addEventListener('click', () => dialog.close());
  chooseLanguage();
  chooseTheme();
  chooseSound();
  chooseNotifications();
}

function chooseLanguage() {
  const select = byId('language');
  for (const [value, textContent] of Object.entries(LANGUAGES)) {
    select.append(element('option', { value, textContent, lang: value }));
  }
  select.value = language;
  select.addEventListener('change', () => {
    remember('language', select.value);
    location.reload();
  });
}

function chooseTheme() {
  const select = byId('theme');
  select.value = recall('theme', 'system');
  select.addEventListener('change', () => {
    remember('theme', select.value);
    document.documentElement.dataset.theme = select.value;
  });
}

function chooseSound() {
  const box = byId('sound');
  box.checked = recall('sound', false);
  box.addEventListener('change', () => {
    remember('sound', box.checked);
    if (box.checked) {
      playSound();
    }
  });
}

function chooseNotifications() {
  const box = byId('notifications');
  const possible = 'Notification' in globalThis;
  byId('notifications-row').hidden = !possible;
  box.checked = possible && Notification.permission === 'granted' && recall('notifications', false);
  box.addEventListener('change', async () => {
    const allowed = box.checked && (await Notification.requestPermission()) === 'granted';
    byId('notifications-refused').hidden = !box.checked || allowed;
    box.checked = allowed;
    remember('notifications', allowed);
  });
}
