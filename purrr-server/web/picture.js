// A picture in the transcript. It is decoded while it is near to the visible part, and given up again beyond that.

import { button, element } from './dom.js';
import { t } from './i18n.js';

/** As near as this to the part that is seen, a picture is made ready. */
const NEAR = '400px';
/** What an image shows while its picture is given up: one transparent pixel. */
const BLANK = 'data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7';

const shown = new Map();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const picture = shown.get(target);
      if (isIntersecting) {
        picture?.load();
      } else {
        picture?.unload();
      }
    }
  },
  { rootMargin: NEAR },
);

/** Returns the element of a message's picture, and `release()`, which gives up what it holds. */
export function buildPicture(message, partner, view) {
  const { picture, mine, progress } = message;
  const alt = mine ? t('picture-yours') : t('picture-from', { name: partner });
  const image = element('img', { alt, decoding: 'async' });
  const frame = mine ? ownPicture(image, progress) : veiledPicture(image, alt);
  const zoom = button(
    { className: 'icon zoom', ariaLabel: t('picture-enlarge'), title: t('picture-enlarge'), textContent: '⤢' },
    () => view(message),
  );
  zoom.dataset.testid = 'zoom';
  const place = element('div', { className: 'picture-place' }, frame, zoom);
  const loading = loader(image, picture);
  shown.set(place, loading);
  watcher.observe(place);
  return {
    element: place,
    release() {
      watcher.unobserve(place);
      shown.delete(place);
      loading.unload();
    },
  };
}

/** Gives an image its source, and takes it away; its room on the page stays as it was. */
function loader(image, picture) {
  let source = null;
  image.addEventListener('load', () => {
    // So that the page does not move when it is given up and comes back.
    if (source) {
      [image.width, image.height] = [image.naturalWidth, image.naturalHeight];
    }
  });
  return {
    load() {
      source ??= URL.createObjectURL(picture);
      image.src = source;
    },
    unload() {
      if (source) {
        image.src = BLANK;
        URL.revokeObjectURL(source);
        source = null;
      }
    },
  };
}

function ownPicture(image, progress) {
  const bar = element('progress', { max: 1, value: progress ?? 1, ariaLabel: t('picture-progress') });
  return element('div', { className: 'picture' }, image, bar);
}

/** A stranger's picture is not seen without asking for it. */
function veiledPicture(image, alt) {
  image.alt = '';
  const label = element('span', { className: 'veil', textContent: t('picture-show') });
  const frame = button({ className: 'picture veiled', ariaPressed: 'false' }, () => {
    const veiled = frame.classList.toggle('veiled');
    frame.ariaPressed = String(!veiled);
    image.alt = veiled ? '' : alt;
    label.textContent = t(veiled ? 'picture-show' : 'picture-hide');
  });
  frame.dataset.testid = 'picture';
  frame.append(image, label);
  return frame;
}
