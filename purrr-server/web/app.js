// The page. A person is at the start, waiting, in a chat, or at the end of one; this module holds which, and takes every
// step from one to another.

import { Attention } from './attention.js';
import { CallView } from './call-view.js';
import { Chat } from './chat.js';
import { Composer } from './composer.js';
import { Connection } from './connection.js';
import { askBeforeUnload, beginControls, copyText } from './controls.js';
import { beginReports, follow, view } from './dialogs.js';
import { byId } from './dom.js';
import { Departure, Ending, Parting, Question, whyLeft } from './ending.js';
import { watchGestures } from './gestures.js';
import { list, t, translate } from './i18n.js';
import { keep, keepForLater } from './memory.js';
import { Search } from './search.js';
import { beginSettings } from './settings.js';
import { Start, showSite, title } from './start.js';
import { Transcript } from './transcript.js';
import {
  Banner,
  clearNotice,
  countBlocked,
  hideNumbers,
  notice,
  offerOpeners,
  show,
  showAway,
  showNumbers,
  showPartner,
} from './view.js';
import { Waiting } from './waiting.js';

/** How often a waiting visitor is shown how many are online. */
const CENSUS_EVERY = 10_000;
/** What came too late for what happened meanwhile, and a probe of an older server. */
const PASSED = ['already-paired', 'draining', 'unknown-type'];

/** `start`, `waiting`, `chat`, or `over`: a chat that has ended and can still be read. */
let phase = 'start';
let chat = null;

translate(document);
showSite();
const transcript = new Transcript(byId('log'), byId('newer'), {
  reply: answer,
  react: (emoji, message) => phase === 'chat' && chat.react(emoji, message),
  view,
  link: follow,
});
const composer = new Composer(transcript, {
  say: (text, answered) => chat.say(text, answered),
  show: (picture, answered) => chat.show(picture, answered),
  fits: (text) => chat.fits(text),
  hasRoom: () => chat.hasRoom,
  typing: (on) => phase === 'chat' && chat.typing(on),
  pictureBytes: () => chat.pictureBytes,
  complain: notice,
  calm: clearNotice,
});
const attention = new Attention(title, () => chat?.seen());
const banner = new Banner(() => connection.check());
const waiting = new Waiting();
const calls = new CallView();
const ending = new Ending();
const answers = { leave: () => depart('leave'), next: find, block: () => depart('block') };
const question = new Question(answers, () => composer.focus());
const start = new Start(find);
const connection = new Connection(new URL('ws', document.baseURI), {
  frame: receive,
  lost,
  full: () => banner.full(),
  takenOver,
});
const search = new Search(connection, () => start.interests);
/** Until the server has answered a `cancel`, a match from before it may still arrive. */
const departure = new Departure(() => connection.restart());
const parting = new Parting(search.parted, (frame) => connection.send(frame), parted);
begin();

function begin() {
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
  beginControls(presses, { escape, goodbye: sayGoodbye, hide });
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
  // Asking again while waiting changes nothing. The answer says how many are here.
  setInterval(() => phase === 'waiting' && !search.preparing && search.seek(), CENSUS_EVERY);
}

/** Escape gives up what is being made, then asks whether to leave, then leaves, then searches. */
function escape() {
  if (phase === 'waiting') {
    cancel();
  } else if (phase === 'over' && ending.armed) {
    find();
  } else if (phase === 'chat' && !departure.kind) {
    if (question.asked === 'leave') {
      depart('leave');
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
  if (search.preparing || departure.kind || phase === 'waiting') {
    return;
  }
  if (!connection.open) {
    connection.check();
  }
  start.keepName();
  search.introduce(await search.prepare());
  if (phase === 'chat') {
    depart('next');
  } else {
    search.begin();
    enter('waiting');
  }
}

function lookForAnyone() {
  search.widen();
  waiting.widen();
  byId('cancel').focus();
}

function cancel() {
  // Without a connection there is nothing to wait for.
  if (connection.open) {
    depart('cancel');
  }
  enter('start');
}

/** Asks the server to end the search or the chat. The page says that it has ended once the server says so. */
function depart(kind) {
  if (kind === 'block') {
    countBlocked();
  }
  question.close();
  calls.hangUp();
  if (phase === 'chat' && !connection.open) {
    part(kind);
    return;
  }
  connection.send({ type: kind });
  departure.begin(kind);
  allowFinding();
}

/** The chat ends here at once. The server is told when there is a connection. */
function part(kind) {
  parting.begin({ position: chat.position, type: kind === 'next' ? 'leave' : kind, name: chat.name });
  if (kind === 'next') {
    enter('waiting');
  } else {
    endChat(kind === 'block' ? 'over-blocking' : whyOver(kind));
  }
}

/** The server has answered about a chat that was left without a connection. It cannot block the partner of one it has forgotten. */
function parted({ type, name }, done) {
  askBeforeUnload(phase === 'chat');
  if (type !== 'block') {
    return;
  }
  if (phase === 'over') {
    ending.say(done ? 'over-blocked' : 'not-blocked', { name }, false);
  } else {
    notice(done ? 'blocked' : 'not-blocked', { name });
  }
}

function whyOver(kind) {
  return kind === 'block' ? 'over-blocked' : chat.keyless ? 'over-no-key' : 'over-self';
}

/** The server has answered that there is neither a search nor a chat any more. */
function departed() {
  const kind = departure.end();
  parting.answer(true);
  allowFinding();
  if (phase !== 'chat') {
    return;
  }
  if (kind === 'next') {
    enter('waiting');
  } else if (kind) {
    endChat(whyOver(kind));
  }
}

/** Blocks the partner of the last chat. */
function blockLast() {
  countBlocked();
  connection.send({ type: 'block' });
  ending.withdrawBlock();
  notice('blocked', { name: chat.name });
}

/** A chat goes on after a reload. Nothing else does, so the server need not wait for this page. */
function sayGoodbye() {
  if (phase === 'chat') {
    calls.hangUp();
    keepChat();
  } else if (!search.returning) {
    connection.close();
  }
}

/** A hidden page may lose its connection for longer. */
function hide(hidden) {
  if (phase === 'chat' && hidden) {
    connection.send({ type: 'background' });
  } else if (phase === 'chat') {
    chat.returned();
  }
}

function keepChat() {
  keep({ chat: phase === 'chat' ? chat.kept : null });
}

function receive(frame, bytes) {
  switch (frame.type) {
    case 'welcome':
      return arrive(frame);
    case 'pong':
      return search.settle();
    case 'resumed':
      return resume(frame);
    case 'waiting':
      return wait(frame);
    case 'idle':
      return departed();
    case 'matched':
      search.settle(true);
      return phase === 'waiting' || search.returning || chat?.suspended ? meet(frame) : connection.send({ type: 'leave' });
    case 'draining':
      connection.holdOff(frame.retryAfterMs);
      return banner.say(phase === 'chat' ? 'banner-draining-chat' : 'banner-draining');
    case 'error':
      return fail(frame);
    case 'left':
      if (search.returning || chat?.suspended) {
        return gone(frame.reason === 'lost' ? 'over-lost-self' : whyLeft(frame.reason));
      }
    // Falls through.
    default:
      chat?.handle(frame, bytes);
  }
}

/** The search goes on. One that the person has given up meanwhile is ended. */
function wait(frame) {
  if (search.returning) {
    gone('over-lost-self');
  }
  if (phase === 'chat') {
    departure.end();
    enter('waiting');
  } else if (phase !== 'waiting') {
    connection.send({ type: 'cancel' });
  }
  showNumbers(frame, phase === 'waiting' ? waiting.waitedMs : 0);
}

/** The chat goes on, here or on the page as it was before a reload. */
function resume(frame) {
  const { returning } = search;
  search.settle(true);
  if (returning?.chat === frame.chat) {
    meet({ ...frame, shared: [] }, returning);
    byId('openers').hidden ||= returning.said.mine + returning.said.theirs > 0;
    transcript.note('reloaded');
    if (chat.encrypted) {
      transcript.note('safety-changed');
    }
    if (returning.sent.some((at) => at === null || at > frame.received)) {
      transcript.note('reloaded-unsent');
    }
  }
  if (phase === 'chat' && chat.id === frame.chat) {
    chat.handle(frame);
    hide(document.visibilityState === 'hidden');
  }
}

/** The chat of before a reload, or of before the connection was lost, is over. */
function gone(key) {
  if (search.returning) {
    search.returning = null;
    keepChat();
    allowFinding();
    notice(key, { name: t('stranger') });
  } else {
    endChat(key);
  }
}

async function arrive(welcome) {
  search.welcome(welcome, position());
  parting.tell();
  start.limit = welcome.limits.interests;
  waiting.widens = welcome.search;
  calls.configure(welcome.calls, welcome.iceServers);
  byId('report-now').hidden = welcome.reports !== true;
  showNumbers(welcome);
  banner.hide();
  allowFinding();
  if (phase === 'waiting') {
    search.introduce(search.identity ?? (await search.prepare()));
    search.seek();
  }
}

/** What the server should find again: a chat, and how much of it is here. */
function position() {
  const { returning } = search;
  return parting.position ?? (phase === 'chat' ? chat.position : returning && { chat: returning.chat, received: returning.received });
}

function lost(retryAt) {
  const kind = departure.end();
  parting.lost();
  allowFinding();
  hideNumbers();
  if (phase === 'chat' && kind) {
    part(kind);
  } else if (phase === 'chat') {
    chat.suspend();
  } else {
    ending.withdrawBlock();
  }
  banner.retrying(retryAt, phase === 'chat');
}

/** Another tab or window has this session now. A search from here begins as a new visitor. */
function takenOver() {
  departure.end();
  parting.forget();
  search.yield();
  hideNumbers();
  if (phase === 'chat') {
    endChat('taken-over');
  } else if (phase === 'waiting') {
    enter('start');
  }
  ending.withdrawBlock();
  banner.say('taken-over', true);
}

function fail(error) {
  const searching = phase === 'waiting' || departure.kind === 'next';
  if (error.code === 'unknown-session') {
    if (search.retry(position())) {
      parting.tell();
    } else if (search.returning || chat?.suspended) {
      gone('over-lost-self');
      search.reclaim();
    }
  } else if (error.id !== undefined) {
    chat?.handle(error);
  } else if (error.code === 'unavailable' && searching) {
    departure.end();
    enter('start');
    notice('search-unavailable');
  } else if (error.code === 'rate-limited' && departure.kind === 'next') {
    stay();
  } else if (error.code === 'rate-limited' && searching) {
    cancel();
    notice('search-too-fast');
  } else if (error.code === 'not-paired') {
    parting.answer(false);
  } else if (!PASSED.includes(error.code)) {
    notice('server-refused', { why: error.message });
  }
}

/** The server does not search yet, so the chat goes on, unless the partner has ended it meanwhile. */
function stay() {
  const { left } = departure;
  if (left) {
    endChat(left);
  } else {
    departure.end();
    composer.focus();
  }
  notice('search-too-fast');
}

/** The partner has left. A person who asked for the next one at that moment is answered with a search. */
function abandoned(reason) {
  const key = whyLeft(reason);
  if (departure.kind === 'next') {
    departure.left = key;
  } else {
    endChat(departure.kind === 'block' ? 'over-blocked' : key);
  }
}

function meet(matched, kept) {
  search.returning = null;
  parting.forget();
  chat = new Chat({
    matched,
    kept,
    identity: search.identity,
    connection,
    limits: search.limits,
    transcript,
    hear: {
      begun: () => (byId('openers').hidden = true),
      typing: (on) => (byId('typing').hidden = !on),
      message: heard,
      secret: (code) => (byId('safety-code').textContent = code),
      signal: (frame) => calls.handle(frame),
      away: () => showAway(chat.name),
      back,
      missing: () => transcript.note('missing', { name: chat.name }),
      keep: keepChat,
      left: abandoned,
      broken: () => depart('leave'),
    },
  });
  enter('chat');
  attention.announce('notify-here', { name: chat.name });
}

/** The partner is there again; `anew` after a reload of its page, with a new key. */
function back(anew) {
  if (!byId('away').hidden) {
    transcript.note('partner-back', { name: chat.name });
  }
  showAway(null);
  if (anew || !chat.encrypted) {
    showPartner(chat);
  }
  if (anew) {
    calls.hangUp();
    transcript.note('safety-changed');
  }
}

function heard() {
  if (attention.here) {
    chat.seen();
  } else {
    attention.add(chat.name);
  }
}

/** The chat is over; what was said can still be read. */
function endChat(key) {
  const values = { name: chat.name };
  departure.end();
  calls.end();
  chat.end();
  transcript.settle();
  ending.say(key, values, connection.open && key !== 'over-blocked');
  enter('over');
  attention.announce(key, values);
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
  connection.eager = next === 'chat';
  askBeforeUnload(next === 'chat' || parting.blocks);
  showAway(null);
  waiting.end();
  if (next === 'start' || next === 'waiting') {
    composer.hide();
    calls.end();
    chat?.forget();
    chat = null;
    attention.clear();
  }
  keepChat();
  show(next === 'over' ? 'chat' : next);
  ({ start: enterStart, waiting: enterWaiting, chat: enterChat, over: enterOver })[next]();
}

function enterStart() {
  allowFinding();
  start.focus();
}

function enterWaiting() {
  waiting.begin(search.liked);
  byId('cancel').focus();
}

function enterChat() {
  transcript.open(chat.name);
  showPartner(chat);
  const shared = list(chat.shared);
  transcript.note(shared ? 'chatting-shared' : 'chatting', { name: chat.name, shared });
  transcript.settle();
  calls.begin(chat, {
    note: (key) => transcript.note(key, { name: chat.name }),
    ring: () => attention.announce('notify-call', { name: chat.name }),
  });
  composer.open();
  offerOpeners((text) => {
    composer.focus();
    chat.say(text);
  });
  composer.focus();
}

function enterOver() {
  const writing = composer.busy;
  composer.close();
  ending.begin(writing);
}

/** The search can begin once the server is there and has answered what came before. */
function allowFinding() {
  start.allow(connection.open && search.limits !== null && departure.kind === null && !search.returning);
}
