// What was said, as it stands on the page. New lines are put there once a frame, and only as many as can be looked at: a
// partner who sends thousands must not stop the page.

import { onItsWay } from './chat.js';
import { byId } from './dom.js';
import { t } from './i18n.js';
import { buildMessage, buildNote, inBrief } from './message.js';

/** So near to its end, in pixels, a transcript is being followed and scrolls along. */
const NEAR = 80;
/** So many lines are on the page at least, and twice as many at most. */
const SHOWN = 100;
/** So many lines are kept, and so many bytes of texts and pictures; older ones are dropped. */
const KEPT = 3_000;
const KEPT_BYTES = 64 * 1024 * 1024;
/** The states of own messages that say something of earlier messages too. */
const RANKS = { sent: 1, delivered: 2, read: 3 };
/** A hidden page is given no frames. */
const HIDDEN_FRAME = 100;
/** After a costly frame the next one waits for so many times its cost, so that the rest of the page has its turn. */
const REST = 4;
const COSTLY = 8;
/** The cost is measured by a clock, which also runs while a busy machine does something else. */
const LONGEST_REST = 400;
/** More lines than this in one frame come without being animated. */
const ANIMATED = 5;

export class Transcript {
  #log;
  #newer;
  #earlier;
  #acts;
  #partner = '';
  /** Every line that is kept, oldest first: what was said, what it weighs, and its element if it has one. */
  #lines = [];
  #of = new Map();
  /** Which of the lines are on the page: from the first up to, and without, the second. */
  #from = 0;
  #to = 0;
  /** Whether the newest line was on the page after the last frame. */
  #tail = true;
  #bytes = 0;
  /** The frame that new lines wait for: how to run it now, and how to drop it. */
  #frame = null;
  /** No frame comes before this time. */
  #rests = 0;
  #marked = null;
  /** Whether the newest line is in sight, as the person left it. */
  #atEnd = true;
  /** How far the log was scrolled, and how tall it was, when it was last looked at. */
  #top = 0;
  #height = 0;

  /**
   * `acts` says what the person can do with a message: `reply(message)`, `react(emoji, message)`, `view(message)`, and
   * `link(url)` to follow a link.
   */
  constructor(log, newer, acts) {
    this.#log = log;
    this.#newer = newer;
    this.#earlier = byId('earlier');
    this.#acts = acts;
    newer.addEventListener('click', () => this.#follow());
    this.#earlier.addEventListener('click', () => this.#showEarlier());
    log.addEventListener('scroll', () => {
      const { scrollHeight, scrollTop, clientHeight } = log;
      // A picture may have grown between the scrolling and this event; only the person goes up. A log that has got taller
      // is moved by the browser.
      const stayed = this.#atEnd && (scrollTop >= this.#top || clientHeight !== this.#height);
      this.#atEnd = this.#tail && (stayed || scrollHeight - scrollTop - clientHeight < NEAR);
      [this.#top, this.#height] = [scrollTop, clientHeight];
      newer.hidden ||= this.#atEnd;
      if (!this.#tail && scrollHeight - scrollTop - clientHeight < NEAR) {
        this.#showLater();
      }
    });
    // A keyboard that comes up, or a panel that opens, takes room below; a reader at the end stays there.
    new ResizeObserver(() => this.#keepUp()).observe(log);
    // A picture gets its height only when it is decoded.
    log.addEventListener('load', () => this.#keepUp(), true);
    // The timers of a hidden page may run once a minute.
    document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && this.settle());
  }

  /** Begins anew, with this partner. */
  open(partner) {
    this.clear();
    this.#partner = partner;
  }

  clear() {
    for (const line of this.#lines) {
      line.built?.release();
    }
    this.#lines = [];
    this.#of.clear();
    [this.#from, this.#to, this.#bytes, this.#marked] = [0, 0, 0, null];
    this.#frame?.cancel();
    [this.#frame, this.#rests] = [null, 0];
    this.#earlier.hidden = true;
    this.#log.replaceChildren();
    this.#follow();
  }

  /** The messages, oldest first, that can be answered. */
  get answerable() {
    return this.#lines.map(({ message }) => message).filter(Boolean);
  }

  /** The message that stands in this line. */
  messageOf(element) {
    return this.#lines.find(({ built }) => built?.element === element)?.message;
  }

  add(message) {
    const line = { message, reactions: new Map(), bytes: weigh(message) };
    this.#of.set(message, line);
    this.#keep(line);
    if (message.mine) {
      // A person who pressed Send looks for the text, and there is no flood of these.
      this.settle();
    }
  }

  /** Puts everything on the page at once that still waits for a frame. */
  settle() {
    this.#frame?.flush();
  }

  /** Says something in the page's own words. */
  note(key, values) {
    this.#keep({ note: { key, values }, bytes: 100 });
  }

  /** Shows how far a message of this side has come. */
  update(message) {
    this.#of.get(message)?.built?.update(message);
    this.#schedule();
  }

  /** Shows what was added to a message. */
  amend(message) {
    const line = this.#of.get(message);
    if (line) {
      this.#bytes += weigh(message) - line.bytes;
      line.bytes = weigh(message);
      if (line.built) {
        this.#replace(line);
      }
      this.#schedule();
    }
  }

  /** Shows an emoji at a message; null takes it away. */
  react(message, mine, emoji) {
    const line = this.#of.get(message);
    if (emoji) {
      line?.reactions.set(mine, emoji);
    } else {
      line?.reactions.delete(mine);
    }
    line?.built?.react(line.reactions, this.#partner);
    this.#keepUp();
  }

  /** Marks the message that is about to be answered; none unmarks. */
  mark(message) {
    this.#of.get(this.#marked)?.built?.element.classList.remove('marked');
    this.#marked = message;
    const element = this.#of.get(message)?.built?.element;
    element?.classList.add('marked');
    element?.scrollIntoView({ block: 'nearest' });
  }

  /** Everything that was said, as plain text. */
  get text() {
    return this.#lines
      .map(({ message, note }) => {
        if (note) {
          return t(note.key, note.values);
        }
        const who = message.mine ? t('you') : this.#partner;
        return `[${message.at.toLocaleTimeString()}] ${who}: ${inBrief(message)}`;
      })
      .join('\n');
  }

  #keep(line) {
    this.#lines.push(line);
    this.#bytes += line.bytes;
    // What is dropped goes at once, so that a burst between two frames is bounded as well.
    while (this.#lines.length > KEPT || (this.#bytes > KEPT_BYTES && this.#lines.length > 1)) {
      this.#drop();
    }
    this.#schedule();
  }

  #drop() {
    const line = this.#lines.shift();
    this.#bytes -= line.bytes;
    this.#of.delete(line.message);
    if (line.built) {
      this.#unbuild(line);
    }
    this.#from = Math.max(0, this.#from - 1);
    this.#to = Math.max(0, this.#to - 1);
  }

  #schedule() {
    if (this.#frame) {
      return;
    }
    const flush = () => {
      cancel();
      this.#frame = null;
      const began = performance.now();
      this.#flush();
      const ended = performance.now();
      const cost = ended - began;
      this.#rests = ended + (cost > COSTLY ? Math.min(cost * REST, LONGEST_REST) : 0);
    };
    const cancel = () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
    };
    const rest = Math.max(0, this.#rests - performance.now());
    const frame = rest > 0 ? 0 : requestAnimationFrame(flush);
    const timer = setTimeout(flush, rest || HIDDEN_FRAME);
    this.#frame = { flush, cancel };
  }

  /** Puts the lines on the page that came since the last frame. */
  #flush() {
    const fresh = this.#lines.slice(this.#to);
    this.#log.classList.toggle('still', fresh.length > ANIMATED);
    if (this.#atEnd || fresh.some(({ message }) => message?.mine)) {
      this.#follow();
    } else if (fresh.length > 0) {
      this.#newer.hidden = false;
      // A reader further up gets a little more below, and the rest on the way down.
      this.#show(this.#from, Math.min(this.#lines.length, this.#from + 2 * SHOWN));
    }
    this.#sayOnce();
  }

  #showEarlier() {
    const { scrollHeight, scrollTop } = this.#log;
    const from = Math.max(0, this.#from - SHOWN);
    this.#atEnd = false;
    this.#show(from, Math.min(this.#to, from + 2 * SHOWN));
    this.#log.scrollTop = scrollTop + this.#log.scrollHeight - scrollHeight;
    this.#newer.hidden = false;
    this.#sayOnce();
    this.#log.focus();
  }

  #showLater() {
    const to = Math.min(this.#lines.length, this.#to + SHOWN);
    this.#show(Math.max(this.#from, to - 2 * SHOWN), to);
    this.#sayOnce();
  }

  /** Makes exactly these lines stand on the page. */
  #show(from, to) {
    const wanted = this.#lines.slice(from, to);
    const stays = new Set(wanted);
    for (const line of this.#lines.slice(this.#from, this.#to)) {
      if (line.built && !stays.has(line)) {
        this.#unbuild(line);
      }
    }
    this.#place(wanted);
    [this.#from, this.#to, this.#tail] = [from, to, to === this.#lines.length];
    this.#earlier.hidden = from === 0;
  }

  /** Builds what is not there yet, before or behind what is. */
  #place(wanted) {
    const before = document.createDocumentFragment();
    const behind = document.createDocumentFragment();
    let target = before;
    for (const line of wanted) {
      if (line.built) {
        target = behind;
      } else {
        target.append(this.#build(line));
      }
    }
    if (target === before) {
      this.#log.append(before);
    } else {
      this.#log.prepend(before);
      this.#log.append(behind);
    }
  }

  #build(line) {
    const { message, note } = line;
    line.built = note ? buildNote(note) : buildMessage(message, this.#partner, this.#acts);
    if (message) {
      line.built.react(line.reactions, this.#partner);
      line.built.element.classList.toggle('marked', message === this.#marked);
    }
    return line.built.element;
  }

  #unbuild(line) {
    line.built.element.remove();
    line.built.release();
    line.built = null;
  }

  #replace(line) {
    const old = line.built;
    old.element.replaceWith(this.#build(line));
    old.release();
  }

  /** How far messages have come stands at the newest one it is true of, and at no other. */
  #sayOnce() {
    let said = 0;
    for (const { message, built } of this.#lines.slice(this.#from, this.#to).reverse()) {
      if (message?.mine && built) {
        const rank = onItsWay(message) ? 0 : (RANKS[message.state] ?? 0);
        built.quiet(rank > 0 && rank <= said);
        said = Math.max(said, rank);
      }
    }
  }

  /** A reader at the end stays there. */
  #keepUp() {
    if (this.#atEnd) {
      this.#scrollDown();
    }
  }

  #follow() {
    const to = this.#lines.length;
    const enough = to - this.#from <= 2 * SHOWN && this.#from <= to;
    this.#show(enough ? this.#from : Math.max(0, to - SHOWN), to);
    this.#atEnd = true;
    this.#newer.hidden = true;
    this.#scrollDown();
  }

  #scrollDown() {
    this.#log.scrollTop = this.#log.scrollHeight;
    [this.#top, this.#height] = [this.#log.scrollTop, this.#log.clientHeight];
  }
}

function weigh({ text, picture }) {
  return 200 + (text?.length ?? 0) * 2 + (picture?.size ?? 0);
}
