// What was said, as it stands on the page. Strangers' words get in as text and never as markup.

import { onItsWay } from './chat.js';

const STATES = { sending: 'Sending', sent: 'Sent', delivered: 'Delivered', read: 'Read', failed: 'Not sent' };
/** So near to its end, a transcript is being followed and scrolls along. */
const NEAR = 80;

export class Transcript {
  #log;
  #newer;
  #reply;
  #partner = '';
  #lines = new Map();
  #pictures = [];
  /** Whether the newest line is in sight, as the person left it. */
  #atEnd = true;
  /** How far the log was scrolled when it was last looked at. */
  #top = 0;

  /** `reply(message)` is called when the person wants to answer a message. */
  constructor(log, newer, reply) {
    this.#log = log;
    this.#newer = newer;
    this.#reply = reply;
    newer.addEventListener('click', () => this.#follow());
    log.addEventListener('scroll', () => {
      const { scrollHeight, scrollTop, clientHeight } = log;
      // A picture may have grown between the scrolling and this event; only the person goes up.
      const stayed = this.#atEnd && scrollTop >= this.#top;
      this.#atEnd = stayed || scrollHeight - scrollTop - clientHeight < NEAR;
      this.#top = scrollTop;
      newer.hidden ||= this.#atEnd;
    });
    // A keyboard that comes up, or a panel that opens, takes room below; whoever was at the end stays there.
    new ResizeObserver(() => this.#keepUp()).observe(log);
  }

  /** Begins anew, with this partner. */
  open(partner) {
    this.clear();
    this.#partner = partner;
  }

  clear() {
    this.#pictures.splice(0).forEach((url) => URL.revokeObjectURL(url));
    this.#lines.clear();
    this.#log.replaceChildren();
    this.#follow();
  }

  /** The messages, oldest first, that can be answered. */
  get answerable() {
    return [...this.#lines.keys()];
  }

  add(message) {
    const line = element('article', { className: `message ${message.mine ? 'mine' : 'theirs'}` });
    line.dataset.testid = 'message';
    line.append(element('span', { className: 'unseen', textContent: message.mine ? 'You: ' : `${this.#partner}: ` }));
    line.append(this.#bubble(message), this.#replyButton(message));
    if (message.mine) {
      line.append(element('p', { className: 'state' }));
    } else if (message.bare) {
      line.append(element('p', { className: 'state bare', textContent: 'Came without encryption' }));
    }
    this.#lines.set(message, line);
    this.update(message);
    this.#append(line, message.mine);
  }

  /** Shows how far a message of one's own has come. */
  update(message) {
    const line = this.#lines.get(message);
    if (!line || !message.mine) {
      return;
    }
    const state = onItsWay(message) ? 'sending' : message.state;
    line.dataset.state = state;
    line.querySelector('.state').textContent = STATES[state] + (message.why ? `: ${message.why}` : '');
    const progress = line.querySelector('progress');
    if (progress) {
      progress.value = message.progress;
      progress.hidden = state !== 'sending';
    }
  }

  /** Something the page itself has to say. */
  note(text) {
    this.#append(element('p', { className: 'note', textContent: text }), false);
  }

  /** Marks the message that is about to be answered; none unmarks. */
  mark(marked) {
    for (const [message, line] of this.#lines) {
      line.classList.toggle('marked', message === marked);
    }
    this.#lines.get(marked)?.scrollIntoView({ block: 'nearest' });
  }

  #bubble(message) {
    const bubble = element('div', { className: 'bubble' });
    if (message.answered) {
      bubble.append(element('p', { className: 'quote', dir: 'auto', textContent: inBrief(message.answered) }));
    }
    if (message.problem) {
      bubble.append(element('p', { className: 'problem', textContent: message.problem }));
    } else if (message.picture) {
      bubble.append(this.#picture(message));
    } else {
      bubble.append(element('p', { className: 'words', dir: 'auto', textContent: message.text }));
    }
    return bubble;
  }

  #picture({ picture, mine, progress }) {
    const source = URL.createObjectURL(picture);
    this.#pictures.push(source);
    const alt = mine ? 'The picture you sent' : `A picture from ${this.#partner}`;
    const image = element('img', { src: source, alt, decoding: 'async' });
    image.addEventListener('load', () => this.#keepUp());
    if (mine) {
      const frame = element('div', { className: 'picture' });
      const bar = element('progress', { max: 1, value: progress, ariaLabel: 'How much of the picture is sent' });
      frame.append(image, bar);
      return frame;
    }
    // Nobody sees a stranger's picture without asking for it.
    image.alt = '';
    const frame = element('button', { type: 'button', className: 'picture veiled', ariaPressed: 'false' });
    frame.dataset.testid = 'picture';
    const label = element('span', { className: 'veil', textContent: 'Show picture' });
    frame.append(image, label);
    frame.addEventListener('click', () => {
      const veiled = frame.classList.toggle('veiled');
      frame.ariaPressed = String(!veiled);
      image.alt = veiled ? '' : alt;
      label.textContent = veiled ? 'Show picture' : 'Hide picture';
    });
    return frame;
  }

  #replyButton(message) {
    const label = message.mine ? 'Answer your own message' : `Answer ${this.#partner}`;
    const button = element('button', { type: 'button', className: 'icon reply', ariaLabel: label, title: 'Answer', textContent: '↩' });
    button.dataset.testid = 'reply';
    button.addEventListener('click', () => this.#reply(message));
    return button;
  }

  #append(line, mine) {
    this.#log.append(line);
    if (mine || this.#atEnd) {
      this.#follow();
    } else {
      this.#newer.hidden = false;
    }
  }

  /** A picture gets its height only when it is decoded; whoever was at the end stays there. */
  #keepUp() {
    if (this.#atEnd) {
      this.#follow();
    }
  }

  #follow() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#top = this.#log.scrollTop;
    this.#atEnd = true;
    this.#newer.hidden = true;
  }
}

/** A message in a line: what stands above an answer to it. */
export function inBrief({ text, picture }) {
  return text ?? (picture ? 'a picture' : 'a message');
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}
