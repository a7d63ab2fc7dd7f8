// One line of the transcript: a message with what can be done with it, or a note of the page. A partner's words get in as text
// and never as markup.

import { onItsWay } from './chat.js';
import { button, element } from './dom.js';
import { say, t, timeOfDay } from './i18n.js';
import { calm, emojiCount, fold, linkify } from './text.js';

export const QUICK_REACTIONS = ['👍', '❤️', '😂', '😮', '😢', '🙏'];
/** An answer quotes no more of a message than this. */
const QUOTED = 200;
/** Why a message was refused, for the codes that a person can do something about. */
const REASONS = ['rate-limited', 'too-long', 'too-large', 'overloaded', 'unsupported-by-partner', 'unsupported-type'];

/** Returns the line of a note. */
export function buildNote({ key, values }) {
  const line = element('p', { className: 'note' });
  say(line, key, values);
  return { element: line, release() {}, update() {}, quiet() {} };
}

/** Returns the line of a message: its element, and what can be changed about it. */
export function buildMessage(message, partner, acts) {
  const line = element('article', { className: `message ${message.mine ? 'mine' : 'theirs'}` });
  line.dataset.testid = 'message';
  const sender = element('span', { className: 'unseen' });
  say(sender, message.mine ? 'you-said' : 'partner-said', { name: partner });
  const { bubble, release } = buildBubble(message, partner, acts);
  const meta = buildMeta(message);
  const reactions = element('p', { className: 'reactions', hidden: true });
  line.append(sender, ' ', bubble, buildActions(message, partner, acts, line), reactions, meta.element);
  meta.update(message);
  return {
    element: line,
    release,
    update: (changed) => meta.update(changed, line),
    quiet: (on) => line.classList.toggle('said', on),
    react: (given, name) => showReactions(reactions, given, name),
  };
}

/** A message in a line: what stands above an answer to it. */
export function inBrief({ text, picture }) {
  return text ?? t(picture ? 'brief-picture' : 'brief-message');
}

function buildBubble(message, partner, acts) {
  const bubble = element('div', { className: 'bubble' });
  let release = () => {};
  if (message.answered) {
    const quote = calm(inBrief(message.answered)).slice(0, QUOTED);
    bubble.append(element('p', { className: 'quote', dir: 'auto', textContent: quote }));
  }
  if (message.problem) {
    const problem = element('p', { className: 'problem' });
    say(problem, message.problem.key, message.problem.values);
    bubble.append(problem);
  }
  if (message.picture) {
    const picture = buildPicture(message, partner, acts.view);
    release = picture.release;
    bubble.append(picture.element);
  }
  if (message.text !== undefined) {
    bubble.append(...buildWords(message.text, acts.link));
  }
  return { bubble, release };
}

/** A text, folded if it is a wall. What is folded away is not even laid out. */
function buildWords(text, link) {
  const words = element('p', { className: 'words', dir: 'auto' });
  words.classList.toggle('jumbo', emojiCount(text) > 0);
  const beginning = fold(text);
  words.append(...withLinks(beginning ?? text, link));
  if (beginning === null) {
    return [words];
  }
  const more = button({ className: 'quiet more', textContent: t('show-all') }, () => {
    words.replaceChildren(...withLinks(text, link));
    words.classList.add('wall');
    words.tabIndex = 0;
    words.focus();
    more.remove();
  });
  more.dataset.testid = 'show-all';
  return [words, more];
}

function withLinks(text, follow) {
  return linkify(calm(text)).map((piece) => {
    if (typeof piece === 'string') {
      return piece;
    }
    const link = element('a', {
      href: piece.url.href,
      target: '_blank',
      rel: 'noopener noreferrer nofollow',
      textContent: piece.text,
    });
    // The middle button would open it without a word.
    for (const press of ['click', 'auxclick']) {
      link.addEventListener(press, (event) => {
        event.preventDefault();
        follow(piece.url);
      });
    }
    return link;
  });
}

/** When a message was said, and how far it has come. */
function buildMeta(message) {
  const time = element('time', { dateTime: message.at.toISOString(), textContent: timeOfDay(message.at) });
  const state = element('span', { className: 'state' });
  const meta = element('p', { className: 'meta' }, time, ' ', state);
  const update = ({ mine, bare, why, progress, ...changed }, line = meta.parentElement) => {
    if (!mine) {
      state.textContent = bare ? t('state-bare') : '';
      state.classList.toggle('bare', Boolean(bare));
      return;
    }
    const now = onItsWay({ ...changed, progress }) ? 'sending' : changed.state;
    line.dataset.state = now;
    const reason = REASONS.includes(why) ? ` ${t(`refused-${why}`)}` : '';
    state.textContent = t(`state-${now}`) + reason;
    const bar = line.querySelector('progress');
    if (bar) {
      bar.value = progress;
      bar.hidden = now !== 'sending';
    }
  };
  return { element: meta, update };
}

function buildActions(message, partner, acts, line) {
  const label = message.mine ? t('answer-own') : t('answer-partner', { name: partner });
  const reply = button(
    { className: 'icon reply', ariaLabel: label, title: t('answer'), textContent: '↩' },
    () => acts.reply(message),
  );
  reply.dataset.testid = 'reply';
  const actions = element('div', { className: 'line-actions' }, reply);
  if (!message.mine && message.id !== undefined && !message.problem) {
    const react = button(
      { className: 'icon', ariaLabel: t('react'), title: t('react'), textContent: '☺' },
      () => toggleReactions(line, actions, (emoji) => acts.react(emoji, message)),
    );
    react.dataset.testid = 'react';
    actions.prepend(react);
  }
  return actions;
}

function toggleReactions(line, actions, choose) {
  const open = line.querySelector('.quick');
  if (open) {
    open.remove();
    return;
  }
  const close = () => {
    bar.remove();
    actions.querySelector('button').focus();
  };
  const emoji = QUICK_REACTIONS.map((textContent) =>
    button({ className: 'icon', textContent }, () => {
      close();
      choose(textContent);
    }),
  );
  const bar = element('div', { className: 'quick', role: 'group', ariaLabel: t('react') }, ...emoji);
  bar.dataset.testid = 'reactions';
  bar.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      event.stopPropagation();
      close();
    }
  });
  line.append(bar);
  bar.scrollIntoView({ block: 'nearest' });
  emoji[0].focus();
}

function showReactions(place, given, partner) {
  place.hidden = given.size === 0;
  place.replaceChildren(
    ...[...given].map(([mine, emoji]) => {
      const label = mine ? t('reacted-you', { emoji }) : t('reacted-partner', { emoji, name: partner });
      return element('span', { role: 'img', ariaLabel: label, title: label, textContent: emoji });
    }),
  );
}

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
