// The page. A person is at the start, waiting, in a chat, or at the end of one; this module holds which, and takes every
// step from one to another.

import { Chat } from './chat.js';
import { Chips } from './chips.js';
import { Composer } from './composer.js';
import { Connection } from './connection.js';
import { Identity, canEncrypt } from './crypto.js';
import { recall, remember } from './memory.js';
import { keepToken, lastToken } from './session.js';
import { Transcript } from './transcript.js';
import { Attention, Banner, byId, notice, show, showNumbers } from './view.js';

/** How often somebody who waits is told how many are here. */
const CENSUS_EVERY = 10_000;

const ENDINGS = {
  left: (name) => `${name} left the chat.`,
  next: (name) => `${name} moved on to somebody else.`,
  lost: (name) => `${name} lost the connection.`,
  ended: () => 'The server is going away and had to end this chat.',
};

const PRIVATE = 'What you say is encrypted between the two of you, and kept nowhere.';
const NOT_PRIVATE =
  'This page did not come over https, so your browser cannot encrypt. You will meet others without encryption, and ' +
  'whoever runs the network or the server could read along.';
const SAFETY =
  'Read this code to each other some other way: if you both see the same, nobody in between can read along.';
const NO_SAFETY = 'Nothing here is encrypted: whoever runs the network or the server could read along.';

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

const transcript = new Transcript(byId('log'), byId('newer'), (message) => {
  if (phase === 'chat') {
    composer.answer(message);
    composer.focus({ asked: true });
  }
});
const composer = new Composer(transcript, {
  say: (text, answered) => chat.say(text, answered),
  show: (picture, answered) => chat.show(picture, answered),
  fits: (text) => chat.fits(text),
  typing: (on) => phase === 'chat' && chat.typing(on),
  pictureBytes: () => chat.pictureBytes,
  complain: notice,
});
const attention = new Attention(() => chat?.seen());
const banner = new Banner(() => connection.retry());
const interests = new Chips(byId('chips'), byId('interest'), (items) => remember('interests', items));
const connection = new Connection(new URL('ws', document.baseURI), { frame: receive, lost });
begin();

function begin() {
  byId('name').value = recall('name', '');
  interests.items = recall('interests', []);
  byId('privacy').textContent = canEncrypt ? PRIVATE : NOT_PRIVATE;
  byId('privacy').classList.toggle('warning', !canEncrypt);
  byId('start-form').addEventListener('submit', (event) => {
    event.preventDefault();
    find();
  });
  byId('cancel').addEventListener('click', cancel);
  byId('next').addEventListener('click', find);
  byId('leave').addEventListener('click', () => ask(true));
  byId('stay').addEventListener('click', () => ask(false));
  byId('really-leave').addEventListener('click', () => leave());
  byId('block').addEventListener('click', block);
  byId('block-last').addEventListener('click', blockLast);
  byId('again').addEventListener('click', find);
  byId('home').addEventListener('click', goHome);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !event.isComposing && !event.repeat) {
      event.preventDefault();
      escape();
    }
  });
  // Asking again while one waits changes nothing, and is answered by how many are here.
  setInterval(() => phase === 'waiting' && !preparing && seek('find'), CENSUS_EVERY);
}

/** Escape gives up what is being made, then asks whether to leave, then leaves, then searches. */
function escape() {
  if (phase === 'waiting') {
    cancel();
  } else if (phase === 'over') {
    find();
  } else if (phase === 'chat') {
    if (!byId('ask').hidden) {
      leave();
    } else if (byId('safety').open) {
      byId('safety').open = false;
    } else if (!composer.giveUp()) {
      ask(true);
    }
  }
}

/** Looks for somebody, leaving whoever is there. Without a connection, the search begins when there is one again. */
async function find() {
  if (preparing || cancelling || phase === 'waiting') {
    return;
  }
  remember('name', byId('name').value.trim());
  const newcomer = await prepare();
  const command = phase === 'chat' ? 'next' : 'find';
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
 * Whom one would like to meet. The browser's languages say who else might do if nobody shares an interest; without interests
 * anybody does at once.
 */
function wishes() {
  const languages = new Set(navigator.languages.map((tag) => tag.split('-')[0]));
  return {
    interests: interests.items,
    languages: interests.items.length > 0 ? [...languages].slice(0, limits.languages) : [],
  };
}

function cancel() {
  cancelling = connection.open;
  connection.send({ type: 'cancel' });
  enter('start');
}

/** Asks whether to leave, or takes the question back. */
function ask(asking) {
  byId('ask').hidden = !asking;
  if (asking) {
    byId('stay').focus();
  } else {
    composer.focus();
  }
}

function leave(why = 'You left the chat.') {
  connection.send({ type: 'leave' });
  endChat(why);
}

/** Leaves, and never meets this person again. */
function block() {
  connection.send({ type: 'block' });
  endChat(`You left, and won’t meet ${chat.name} again.`);
  byId('block-last').hidden = true;
}

/** Never meets this person again, who has left already. */
function blockLast() {
  connection.send({ type: 'block' });
  withdrawBlock();
  notice(`You won’t meet ${chat.name} again.`);
}

/** The server knows whom the last chat was with for as long as the connection lasts, and no longer. */
function withdrawBlock() {
  const button = byId('block-last');
  if (document.activeElement === button) {
    byId('over').focus();
  }
  button.hidden = true;
}

function goHome() {
  enter('start');
}

function receive(frame, bytes) {
  switch (frame.type) {
    case 'welcome':
      return arrive(frame);
    case 'waiting':
      return showNumbers(frame);
    case 'idle':
      cancelling = false;
      return allowFinding();
    case 'matched':
      return phase === 'waiting' ? meet(frame) : connection.send({ type: 'leave' });
    case 'draining':
      connection.holdOff(frame.retryAfterMs);
      return banner.say(`The server is about to restart. ${phase === 'chat' ? 'You can finish this chat.' : 'It takes a moment.'}`);
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
  if (phase === 'chat') {
    endChat('Your connection was lost, and the chat with it.');
  } else {
    withdrawBlock();
  }
  banner.retrying(retryAt);
}

function fail(error) {
  // What came too late for what happened meanwhile, and a past that the server has forgotten.
  const passed = ['already-paired', 'draining', 'not-paired', 'unknown-session'].includes(error.code);
  if (error.id !== undefined) {
    chat?.handle(error);
  } else if (error.code === 'unavailable' && phase === 'waiting') {
    enter('start');
    notice('Nobody can be found just now. Try again in a moment.');
  } else if (error.code === 'rate-limited' && phase === 'waiting') {
    // Whoever was to be left for somebody else may still be there.
    cancelling = connection.open;
    connection.send({ type: 'leave' });
    enter('start');
    notice('That was too fast. Try again in a moment.');
  } else if (!passed) {
    notice(`The server could not do that: ${error.message}.`);
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
      left: (reason) => endChat((ENDINGS[reason] ?? ENDINGS.left)(chat.name)),
      broken: () => leave('The two of you could not agree on a key, so nothing can be said here.'),
    },
  });
  enter('chat');
  if (!attention.here) {
    attention.announce(`${chat.name} is here`);
  }
}

function heard() {
  if (attention.here) {
    chat.seen();
  } else {
    attention.add();
  }
}

/** The chat is over; what was said can still be read. */
function endChat(why) {
  chat.end();
  byId('over-title').textContent = why;
  byId('block-last').hidden = !connection.open;
  enter('over');
}

/** The one place where a phase begins, and where everything of the last one goes. */
function enter(next) {
  phase = next;
  byId('ask').hidden = true;
  byId('typing').hidden = true;
  byId('over').hidden = next !== 'over';
  composer.hidden = next !== 'chat';
  byId('actions').hidden = next !== 'chat';
  composer.reset();
  if (next === 'start' || next === 'waiting') {
    chat?.forget();
    chat = null;
    attention.clear();
  }
  show(next === 'over' ? 'chat' : next);
  ({ start: enterStart, waiting: enterWaiting, chat: enterChat, over: enterOver })[next]();
}

function enterStart() {
  allowFinding();
  byId('find').focus();
}

function enterWaiting() {
  const wishes = interests.items;
  const words = new Intl.ListFormat('en', { type: 'disjunction' }).format(wishes);
  byId('waiting-about').textContent = wishes.length > 0 ? `Somebody who likes ${words}, if there is one.` : '';
  byId('cancel').focus();
}

function enterChat() {
  transcript.open(chat.name);
  byId('partner').textContent = chat.name;
  byId('typing-text').textContent = `${chat.name} is typing`;
  byId('safety').open = false;
  byId('safety').classList.toggle('bare', !chat.encrypted);
  byId('safety-summary').textContent = chat.encrypted ? 'Encrypted' : 'Not encrypted';
  byId('safety-code').textContent = '';
  byId('safety-text').textContent = chat.encrypted ? SAFETY : NO_SAFETY;
  const common = new Intl.ListFormat('en').format(chat.shared);
  transcript.note(`You are chatting with ${chat.name}.${common && ` You both like ${common}.`}`);
  composer.focus();
}

/** Not the button: whoever is typing when the partner leaves would press it unawares. */
function enterOver() {
  byId('over').focus();
}

/** The search can begin once the server is there and has answered what came before. */
function allowFinding() {
  byId('find').disabled = !connection.open || !limits || cancelling;
}
