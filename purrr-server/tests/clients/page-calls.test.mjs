// Calls: page with page, and page with what the Purrr.chat frontend does, in a browser with a made-up camera and microphone.

import assert from 'node:assert/strict';
import { Keys } from './support/encryption.mjs';
import { acquainted, pageStory, until, untilType, violations, withNative } from './support/page.mjs';

const connected = (...visitors) =>
  Promise.all(visitors.map((visitor) => visitor.page.locator('#call-panel[data-state=active]').waitFor()));
const over = (...visitors) => Promise.all(visitors.map((visitor) => visitor.seesNo('call-panel')));

/** Two visitors in a call that the first one asked for. */
async function inCall(visit) {
  const [ann, bob] = await acquainted(visit);
  await ann.the('call').click();
  await bob.the('call-status').getByText('Ann is calling.').waitFor();
  await bob.the('call-accept').click();
  await connected(ann, bob);
  return [ann, bob];
}

pageStory('call_connects_two_pages_with_cameras_off_until_chosen', async ({ visit }) => {
  const [ann, bob] = await inCall(visit);
  await ann.the('call-status').getByText('In a call with Bob').waitFor();
  for (const visitor of [ann, bob]) {
    assert.equal(await visitor.the('call-theirs').isVisible(), false, 'no camera is on');
    assert.equal(await visitor.the('call-yours').isVisible(), false);
  }
  await ann.the('call-camera').click();
  await ann.sees('call-yours');
  await bob.sees('call-theirs');
  await bob.page.waitForFunction(() => document.querySelector('#call-theirs').videoWidth > 0);
  assert.equal(await ann.the('call-theirs').isVisible(), false, 'one camera is not the other');
  await ann.the('call-camera').click();
  await bob.seesNo('call-theirs');

  await ann.the('call-mute').click();
  assert.equal(await ann.the('call-mute').getAttribute('aria-pressed'), 'true');
  await ann.the('call-devices').click();
  await ann.the('choose-microphone').locator('option').first().waitFor({ state: 'attached' });
  const microphones = await ann.the('choose-microphone').locator('option').count();
  assert.ok(microphones >= 2, `${microphones} made-up microphones`);
  await ann.the('choose-microphone').selectOption({ index: 1 });
  assert.deepEqual(await violations(ann), []);
  const send = await ann.the('send').boundingBox();
  assert.ok(send.y + send.height <= ann.page.viewportSize().height, 'the call leaves room to write');

  await ann.say('we can write as well');
  await bob.hears('we can write as well');
  await ann.the('call-hang-up').click();
  await over(ann, bob);
  await bob.the('log').getByText('The call is over.').waitFor();
});

pageStory('small_window_shows_the_partner_until_asked_back_or_the_video_ends', async ({ visit }) => {
  const [ann, bob] = await inCall(visit);
  const isSmall = (wanted) => ann.page.waitForFunction((on) => !!document.pictureInPictureElement === on, wanted);
  await bob.the('call-camera').click();
  await ann.page.waitForFunction(() => document.querySelector('#call-theirs').videoWidth > 0);
  await ann.the('call-small').click();
  await isSmall(true);
  await ann.the('call-small').click();
  await isSmall(false);
  await ann.the('call-small').click();
  await isSmall(true);
  await bob.the('call-camera').click();
  await ann.seesNo('call-theirs');
  await isSmall(false);
  await bob.the('call-camera').click();
  await ann.the('call-small').click();
  await isSmall(true);
  await bob.the('call-hang-up').click();
  await over(ann, bob);
  await isSmall(false);
});

pageStory('call_that_is_refused_or_missed_says_so', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await ann.the('call').click();
  await ann.the('call-help').getByText('no relay').waitFor();
  await bob.the('call-help').getByText('network address').waitFor();
  await bob.the('call-refuse').click();
  await ann.the('log').getByText('Bob declined the call.').waitFor();
  await over(ann, bob);

  await bob.the('call').click();
  await ann.sees('call-accept');
  await bob.the('call-hang-up').click();
  await ann.the('log').getByText('You missed a call from Bob.').waitFor();
  await over(ann, bob);
});

pageStory('call_is_hung_up_by_the_one_who_was_called', async ({ visit }) => {
  const [ann, bob] = await inCall(visit);
  await bob.the('call-hang-up').click();
  await over(ann, bob);
  // And another one can follow.
  await bob.the('call').click();
  await ann.the('call-accept').click();
  await connected(ann, bob);
});

pageStory('call_ends_with_the_chat', async ({ visit }) => {
  const [ann, bob] = await inCall(visit);
  await bob.the('leave').click();
  await bob.the('really-leave').click();
  await over(ann, bob);
  await ann.the('over-title').getByText('Bob left the chat.').waitFor();
  const tracks = await ann.page.evaluate(() => document.querySelector('#call-theirs').srcObject);
  assert.equal(tracks, null);
});

pageStory('calls_that_cross_become_one', async ({ visit }) => {
  const [ann, bob] = await acquainted(visit);
  await Promise.all([ann.the('call').click(), bob.the('call').click()]);
  // If one of the two was slower, it sees the other's call instead.
  for (const visitor of [ann, bob]) {
    const accept = visitor.the('call-accept');
    await visitor.page.waitForFunction(() => document.querySelector('#call-panel').dataset.state !== 'calling');
    if (await accept.isVisible()) {
      await accept.click();
    }
  }
  await connected(ann, bob);
});

pageStory('call_offered_while_the_microphone_opens_becomes_one_call', async ({ visit }) => {
  // Ann asks first, and her browser takes so long that Bob's offer is there before hers. Of the two, hers gives way.
  const prepare = `(${slowNegotiation})(); (${giveWay})();`;
  const [ann, bob] = await acquainted(visit, { prepare });
  await ann.the('call').click();
  await bob.the('call').click();
  await connected(ann, bob);
  await ann.the('call-camera').click();
  await bob.sees('call-theirs');
});

pageStory('calls_that_cross_give_way_once', async ({ visit }) => {
  // Ann takes Bob's offer while hers is still in the making. If hers travelled then, his would give way as well.
  const settings = [{ prepare: `(${slowNegotiation})(3_000);` }, { prepare: giveWay }];
  const [ann, bob] = await Promise.all(settings.map(visit));
  await ann.find('Ann');
  await bob.find('Bob');
  await Promise.all([ann.meets('Bob'), bob.meets('Ann')]);
  await ann.the('call').click();
  await ann.page.waitForFunction(() => globalThis.steps.includes('setLocalDescription'));
  await bob.the('call').click();
  await connected(ann, bob);
});

pageStory(
  'calls_can_be_voice_only_or_off',
  async (cast) => {
    const { ann, bob } = await withNative(cast);
    assert.equal(await ann.the('call').isVisible(), false);
    bob.send({ type: 'signal', kind: 'offer', data: '{}' });
    await untilType(bob, 'signal');
    await ann.the('log').getByText('Bob tried to call. There are no calls on this page.').waitFor();
  },
  { args: ['--calls', 'off'] },
);

pageStory(
  'voice_calls_offer_no_camera',
  async ({ visit }) => {
    const [ann] = await inCall(visit);
    assert.equal(await ann.the('call-camera').isVisible(), false);
    assert.equal(await ann.the('call-help').textContent(), '');
  },
  { args: ['--calls', 'voice', '--ice-server', 'turn:127.0.0.1:9', '--ice-secret', 'secret'] },
);

pageStory('purrr_chat_frontend_calls_the_page', async (cast) => {
  const { ann, bob, frontend } = await withFrontend(cast);
  await frontend.evaluate(() => globalThis.startCall());
  await ann.the('call-status').getByText('Bob is calling.').waitFor();
  await ann.the('call-accept').click();
  await connected(ann);
  await frontend.waitForFunction(() => globalThis.peer.connectionState === 'connected');
  // The frontend sends its camera at once.
  await ann.sees('call-theirs');
  await ann.the('call-camera').click();
  await frontend.waitForFunction(() => globalThis.remoteVideo.videoWidth > 0);
  bob.emit('hang_video_call');
  await over(ann);
  await frontend.evaluate(() => globalThis.newPeer());

  await frontend.evaluate(() => globalThis.startCall());
  await ann.the('call-refuse').click();
  await bob.refused();
  await over(ann);
});

pageStory('offer_repeated_while_it_is_answered_is_answered_once', async (cast) => {
  const { ann, frontend } = await withFrontend(cast, { prepare: `(${slowNegotiation})();` });
  await frontend.evaluate(() => globalThis.startCall());
  await ann.the('call-status').getByText('Bob is calling.').waitFor();
  await frontend.evaluate(() => globalThis.repeatOffer(20));
  await ann.the('call-accept').click();
  await connected(ann);
  await frontend.waitForFunction(() => globalThis.peer.connectionState === 'connected');
  await ann.sees('call-theirs');
});

pageStory('page_calls_the_purrr_chat_frontend', async (cast) => {
  const { ann, bob, frontend } = await withFrontend(cast);
  await ann.the('call').click();
  await frontend.waitForFunction(() => globalThis.offer);
  await frontend.evaluate(() => globalThis.acceptCall());
  await connected(ann);
  await frontend.waitForFunction(() => globalThis.peer.connectionState === 'connected');
  await ann.the('call-hang-up').click();
  await bob.hanged();

  await frontend.evaluate(() => globalThis.newPeer());
  await ann.the('call').click();
  await frontend.waitForFunction(() => globalThis.offer);
  bob.emit('refuse_video_call');
  await ann.the('log').getByText('Bob declined the call.').waitFor();
});

/**
 * A visitor in a chat with the Purrr.chat frontend: the real client library, and a browser page that does with its events what
 * the frontend does. It sends its description again with each candidate, and takes the first answer only.
 */
async function withFrontend({ server, visit, purrrChat }, settings) {
  const [ann, other, bob, keys] = [await visit(settings), await visit(), await purrrChat('websocket'), await Keys.generate()];
  const frontend = other.page;
  // Of an icon, which the page that the frontend is played on has not.
  other.expect(/404/);
  await frontend.goto(`${server.url}/livez`);
  await frontend.evaluate(playFrontend);
  await frontend.exposeFunction('emit', (event, payload) => bob.emit(event, payload));
  bob.socket.on('recieve_video_call', ({ offer }) => frontend.evaluate((offer) => (globalThis.offer = offer), offer));
  bob.socket.on('accepted_video_call', ({ answer }) => frontend.evaluate((answer) => globalThis.addAnswer(answer), answer));
  await ann.find('Ann');
  await ann.sees('cancel');
  bob.find('Bob', keys.publicKey);
  await ann.meets('Bob');
  await until(bob, 'matched');
  bob.refused = () => until(bob, 'refused_video_calL');
  bob.hanged = () => until(bob, 'hanged_video_call');
  return { ann, bob, frontend };
}

/** Each step of a negotiation takes its time, as on a busy machine. Runs in the browser, before the page. */
function slowNegotiation(remote = 300) {
  globalThis.steps = [];
  const slow = (owner, name, milliseconds) => {
    const step = owner[name];
    owner[name] = async function (...values) {
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
      globalThis.steps.push(name);
      return step.apply(this, values);
    };
  };
  slow(MediaDevices.prototype, 'getUserMedia', 1_000);
  slow(RTCPeerConnection.prototype, 'setRemoteDescription', remote);
  slow(RTCPeerConnection.prototype, 'setLocalDescription', 300);
  Object.defineProperty(RTCPeerConnection.prototype, 'iceGatheringState', { get: () => 'gathering' });
}

/** Makes the offers of this page the first in the order by which two pages agree. Runs in the browser, before the page. */
function giveWay() {
  RTCSessionDescription.prototype.toJSON = function () {
    return { sdp: this.sdp, type: this.type };
  };
}

/** Runs in the browser. */
async function playFrontend() {
  globalThis.remoteVideo = Object.assign(document.createElement('video'), { autoplay: true, muted: true });
  document.body.append(globalThis.remoteVideo);
  const local = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
  globalThis.newPeer = () => {
    globalThis.peer?.close();
    globalThis.offer = null;
    globalThis.peer = new RTCPeerConnection();
    local.getTracks().forEach((track) => globalThis.peer.addTrack(track, local));
    const remote = new MediaStream();
    globalThis.remoteVideo.srcObject = remote;
    globalThis.peer.ontrack = ({ streams }) => streams[0].getTracks().forEach((track) => remote.addTrack(track));
  };
  globalThis.startCall = async () => {
    const { peer } = globalThis;
    peer.onicecandidate = ({ candidate }) =>
      candidate && globalThis.emit('start_video_call', { offer: JSON.stringify(peer.localDescription) });
    await peer.setLocalDescription(await peer.createOffer());
  };
  /** Sends the offer again so often in a second, as for candidates that are found one by one. */
  globalThis.repeatOffer = (often) =>
    setInterval(() => globalThis.emit('start_video_call', { offer: JSON.stringify(globalThis.peer.localDescription) }), 1000 / often);
  globalThis.acceptCall = async () => {
    const { peer } = globalThis;
    peer.onicecandidate = ({ candidate }) =>
      candidate && globalThis.emit('accept_video_call', { answer: JSON.stringify(peer.localDescription) });
    await peer.setRemoteDescription(JSON.parse(globalThis.offer));
    await peer.setLocalDescription(await peer.createAnswer());
  };
  globalThis.addAnswer = async (answer) => {
    if (!globalThis.peer.currentRemoteDescription) {
      await globalThis.peer.setRemoteDescription(JSON.parse(answer));
    }
  };
  globalThis.newPeer();
}
