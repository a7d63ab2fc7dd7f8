// The page. A person is at the start, waiting, in a chat, or at the end of one; this module holds which, and takes every
// step from one to another.

import { Question } from './ask.js';
import { Attention } from './attention.js';
import { CallView } from './call-view.js';
import { Chat } from './chat.js';
import { Chips } from './chips.js';
import { Composer } from './composer.js';
import { Connection } from './connection.js';
import { copyText } from './copy.js';
import { Identity, canEncrypt } from './crypto.js';
import { byId } from './dom.js';
import { watchGestures } from './gestures.js';
import { list, say, translate } from './i18n.js';
import { follow } from './links.js';
import { recall, remember } from './memory.js';
import { keepForLater } from './offline.js';
import { offerOpeners } from './openers.js';
import { keepToken, lastToken } from './session.js';
import { beginSettings } from './settings.js';
import { showSite, title } from './site.js';
import { beginReports } from './report.js';
import { Transcript } from './transcript.js';
import { Banner, clearNotice, hideNumbers, notice, show, showNumbers, showPartner } from './view.js';
import { view } from './viewer.js';
import { Waiting } from './waiting.js';

/** How often a waiting visitor is shown how many are online. */
const CENSUS_EVERY = 10_000;
/** For so long after a chat has ended no press starts another: a hand may be on its way to something else. */
const ARMED_AFTER = 1_000;

const ENDINGS = { left: 'over-left', next: 'over-next', lost: 'over-lost', ended: 'over-ended' };
/** What came too late for what happened meanwhile, a past that the server has forgotten, and a probe of an older server. */
const PASSED = ['already-paired', 'draining', 'not-paired', 'unknown-session', 'unknown-type'];

/** `start`, `waiting`, `chat`, or `over`: a chat that has ended and can still be read. */
let phase = 'start';
let chat = null;
/** Who this person is in the search that is under way, or the chat that came of it. */
let identity = null;
let limits = null;
/** By what the server knows this person again: the last connection's token, or the last visit's. */
let token = await lastToken();
/** Until the server has answered a `cancel`, a match from before it may still arrive. */
let cancelling = false;
let preparing = false;
/** The person has stopped asking for shared interests in this search. */
let anyone = false;

translate(document);
showSite();
const transcript = new Transcript(byId('log'), byId('newer'), {
  reply: answer,
  react: (emoji, message) => phase === 'chat' && chat.react(emoji, message),
  view,
  link: follow,
});
const composer = new Composer(transcript, {
  say(text, answered) {
    byId('openers').hidden = true;
    chat.say(text, answered);
  },
  show(picture, answered) {
    byId('openers').hidden = true;
    chat.show(picture, answered);
  },
  fits: (text) => chat.fits(text),
  typing: (on) => phase === 'chat' && chat.typing(on),
  pictureBytes: () => chat.pictureBytes,
  complain: notice,
  calm: clearNotice,
});
const attention = new Attention(title, () => chat?.seen());
const banner = new Banner(() => connection.check());
const waiting = new Waiting();
const calls = new CallView();
const question = new Question({ leave: () => leave(), next: find, block }, () => composer.focus());
const interests = new Chips(byId('chips'), byId('interest'), (items) => remember('interests', items));
const connection = new Connection(new URL('ws', document.baseURI), {
  frame: receive,
  lost,
  full: () => banner.full(),
});
begin();

function begin() {
  byId('name').value = recall('name', '');
  interests.items = recall('interests', []);
  say(byId('privacy'), canEncrypt ? 'private' : 'not-private');
  byId('privacy').classList.toggle('warning', !canEncrypt);
  byId('start-form').addEventListener('submit', (event) => {
    event.preventDefault();
    find();
  });
  const presses = {
    cancel,
    anyone: lookForAnyone,
    next: () => (chat.conversed ? question.ask('next', chat.name) : find()),
    leave: () => question.ask('leave', chat.name),
    'block-now': () => question.ask('block', chat.name),
    'block-last': blockLast,
    again: find,
    home: () => enter('start'),
    'copy-chat': () => copyText(byId('copy-chat'), 'copy-chat', transcript.text),
  };
  for (const [id, press] of Object.entries(presses)) {
    byId(id).addEventListener('click', press);
  }
  document.addEventListener('keydown', (event) => {
    const repeated = event.isComposing || event.repeat || event.defaultPrevented;
    if (event.key === 'Escape' && !repeated && !document.querySelector('dialog[open]')) {
      event.preventDefault();
      escape();
    }
  });
  window.addEventListener('pagehide', sayGoodbye);
  beginReports(
    () => chat?.name,
    (report) => {
      connection.send({ type: 'report', ...report });
      transcript.note('reported');
    },
  );
  watchGestures(byId('log'), transcript, answer);
  beginSettings();
  keepForLater();
  document.body.classList.add('ready');
  // Asking again while one waits changes nothing, and is answered by how many are here.
  setInterval(() => phase === 'waiting' && !preparing && !cancelling && seek('find'), CENSUS_EVERY);
}

/** Escape gives up what is being made, then asks whether to leave, then leaves, then searches. */
function escape() {
  if (phase === 'waiting') {
    cancel();
  } else if (phase === 'over') {
    if (!byId('again').disabled) {
      find();
    }
  } else if (phase === 'chat') {
    if (question.asked === 'leave') {
      leave();
    } else if (question.open) {
      question.close();
      composer.focus();
    } else if (byId('safety').open) {
      byId('safety').open = false;
    } else if (!composer.giveUp()) {
      question.ask('leave', chat.name);
    }
  }
}

function answer(message) {
  if (phase === 'chat') {
    composer.answer(message);
    composer.focus({ asked: true });
  }
}

/** Looks for a partner, leaving the one who is there. Without a connection, the search begins when there is one again. */
async function find() {
  if (preparing || cancelling || phase === 'waiting') {
    return;
  }
  remember('name', byId('name').value.trim());
  const newcomer = await prepare();
  const command = phase === 'chat' ? 'next' : 'find';
  anyone = false;
  enter('waiting');
  introduce(newcomer);
  seek(command);
}

/** A new identity, where there can be one. Nothing else changes meanwhile. */
async function prepare() {
  preparing = true;
  const newcomer = canEncrypt ? await Identity.create() : null;
  preparing = false;
  return newcomer;
}

function introduce(newcomer) {
  identity = newcomer;
  connection.send({ type: 'hello', name: recall('name', '') || undefined, publicKey: identity?.publicKey });
}

function seek(command) {
  connection.send(command === 'find' ? { type: command, ...wishes() } : { type: command });
}

/**
 * Whom one would like to meet. The browser's languages say who else might do if no client shares an interest; without interests
 * anybody does at once.
 */
function wishes() {
  const liked = anyone ? [] : interests.items;
  const languages = new Set(navigator.languages.map((tag) => tag.split('-')[0]));
  return { interests: liked, languages: liked.length > 0 ? [...languages].slice(0, limits?.languages) : [] };
}

/** Begins the search anew, without interests. The server answers `idle` and then `waiting`. */
function lookForAnyone() {
  anyone = true;
  waiting.widen();
  byId('cancel').focus();
  connection.send({ type: 'cancel' });
  seek('find');
}

function cancel() {
  // Without a connection there is nothing to wait for.
  cancelling = connection.open;
  connection.send({ type: 'cancel' });
  enter('start');
}

function leave(key = 'over-self') {
  connection.send({ type: 'leave' });
  endChat(key);
}

/** Leaves, and never meets this person again. */
function block() {
  connection.send({ type: 'block' });
  endChat('over-blocked');
  byId('block-last').hidden = true;
}

/** Never meets this person again, who has left already. */
function blockLast() {
  connection.send({ type: 'block' });
  withdrawBlock();
  notice('blocked', { name: chat.name });
}

/** The server knows whom the last chat was with for as long as the connection lasts, and no longer. */
function withdrawBlock() {
  const button = byId('block-last');
  if (document.activeElement === button) {
    byId('over').focus();
  }
  button.hidden = true;
}

/** A page that goes away says so; the partner need not wait for a line that was cut on purpose. */
function sayGoodbye() {
  if (phase === 'chat') {
    connection.send({ type: 'leave' });
  }
  connection.close();
}

/** Browsers ask only if a page listens, so it listens only while there is something to lose. */
function holdBack(event) {
  event.preventDefault();
  event.returnValue = '';
}

function receive(frame, bytes) {
  switch (frame.type) {
    case 'welcome':
      return arrive(frame);
    case 'waiting':
      return showNumbers(frame, phase === 'waiting' ? waiting.waitedMs : 0);
    case 'idle':
      cancelling = false;
      return allowFinding();
    case 'matched':
      return phase === 'waiting' ? meet(frame) : connection.send({ type: 'leave' });
    case 'draining':
      connection.holdOff(frame.retryAfterMs);
      return banner.say(phase === 'chat' ? 'banner-draining-chat' : 'banner-draining');
    case 'error':
      return fail(frame);
    default:
      chat?.handle(frame, bytes);
  }
}

async function arrive(welcome) {
  if (token) {
    connection.send({ type: 'hello', resume: token });
  }
  token = welcome.resume;
  keepToken(token);
  limits = welcome.limits;
  interests.limit = limits.interests;
  waiting.widens = welcome.search;
  calls.configure(welcome.calls, welcome.iceServers);
  byId('report-now').hidden = welcome.reports !== true;
  showNumbers(welcome);
  banner.hide();
  allowFinding();
  if (phase === 'waiting') {
    const newcomer = await prepare();
    if (phase === 'waiting') {
      introduce(newcomer);
      seek('find');
    }
  }
}

function lost(retryAt) {
  cancelling = false;
  allowFinding();
  hideNumbers();
  if (phase === 'chat') {
    endChat('over-lost-self');
  } else {
    withdrawBlock();
  }
  banner.retrying(retryAt);
}

function fail(error) {
  if (error.id !== undefined) {
    chat?.handle(error);
  } else if (error.code === 'unavailable' && phase === 'waiting') {
    enter('start');
    notice('search-unavailable');
  } else if (error.code === 'rate-limited' && phase === 'waiting') {
    // The partner who was to be left for another one may still be there.
    cancelling = connection.open;
    connection.send({ type: 'leave' });
    enter('start');
    notice('search-too-fast');
  } else if (!PASSED.includes(error.code)) {
    notice('server-refused', { why: error.message });
  }
}

function meet(matched) {
  chat = new Chat({
    matched,
    identity,
    connection,
    limits,
    transcript,
    hear: {
      typing: (on) => (byId('typing').hidden = !on),
      message: heard,
      secret: (code) => (byId('safety-code').textContent = code),
      signal: (frame) => calls.handle(frame),
      away: (on) => transcript.note(on ? 'partner-away' : 'partner-back', { name: chat.name }),
      left: (reason) => endChat(ENDINGS[reason] ?? ENDINGS.left),
      broken: () => leave('over-no-key'),
    },
  });
  enter('chat');
  if (!attention.here) {
    attention.announce('notify-here', { name: chat.name });
  }
}

function ring() {
  if (!attention.here) {
    attention.announce('notify-call', { name: chat.name });
  }
}

function refuseCall() {
  chat.signal('refuse');
  transcript.note('call-refused-here', { name: chat.name });
}

function heard() {
  byId('openers').hidden = true;
  if (attention.here) {
    chat.seen();
  } else {
    attention.add(chat.name);
  }
}

/** The chat is over; what was said can still be read. */
function endChat(key) {
  const values = { name: chat.name };
  calls.end();
  chat.end();
  transcript.settle();
  say(byId('over-title'), key, values);
  byId('block-last').hidden = !connection.open;
  enter('over');
  if (!attention.here) {
    attention.announce(key, values);
  }
}

/** The one place where a phase begins, and where everything of the last one goes. */
function enter(next) {
  phase = next;
  question.close();
  clearNotice();
  byId('typing').hidden = true;
  byId('over').hidden = next !== 'over';
  byId('actions').hidden = next !== 'chat';
  byId('openers').hidden = true;
  connection.attended = next === 'waiting' || next === 'chat';
  window[next === 'chat' ? 'addEventListener' : 'removeEventListener']('beforeunload', holdBack);
  waiting.end();
  if (next === 'start' || next === 'waiting') {
    composer.hide();
    calls.end();
    chat?.forget();
    chat = null;
    attention.clear();
  }
  show(next === 'over' ? 'chat' : next);
  ({ start: enterStart, waiting: enterWaiting, chat: enterChat, over: enterOver })[next]();
}

function enterStart() {
  allowFinding();
  // A button that is disabled until the server has answered takes no focus.
  (byId('find').disabled ? byId('start-title') : byId('find')).focus();
}

function enterWaiting() {
  waiting.begin(interests.items);
  byId('cancel').focus();
}

function enterChat() {
  transcript.open(chat.name);
  showPartner(chat);
  const shared = list(chat.shared);
  transcript.note(shared ? 'chatting-shared' : 'chatting', { name: chat.name, shared });
  transcript.settle();
  calls.begin(chat, { note: (key) => transcript.note(key, { name: chat.name }), ring, refuse: refuseCall });
  composer.open();
  offerOpeners((text) => {
    composer.focus();
    byId('openers').hidden = true;
    chat.say(text);
  });
  composer.focus();
}

/** Not the button: a person who is typing when the partner leaves would press it unawares. */
function enterOver() {
  const writing = composer.busy;
  composer.close();
  if (!writing) {
    byId('over').focus();
  }
  const again = byId('again');
  again.disabled = true;
  setTimeout(() => (again.disabled = false), ARMED_AFTER);
}

/** The search can begin once the server is there and has answered what came before. */
function allowFinding() {
  const find = byId('find');
  const focused = document.activeElement === byId('start-title');
  find.disabled = !connection.open || !limits || cancelling;
  if (focused && phase === 'start' && !find.disabled) {
    find.focus();
  }
}
