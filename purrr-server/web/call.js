// A call of the two in a chat: WebRTC with perfect negotiation, over the chat's signals.
//
// What travels is the JSON of a session description, as the Purrr.chat frontend sends it: whole, and again with each candidate
// that it finds. So a description that says nothing new brings candidates. This page waits for its candidates instead, and
// marks its descriptions, for only another page can be asked to negotiate anew.

import { Media, candidatesOf, credentials, described, gathered, parse, sameSession } from './media.js';

/** So long a call rings. */
const RINGS_FOR = 45_000;
/** So long a call that broke off may take to come back. It needs the chat, which is held for half a minute. */
const RECOVERS_FOR = 35_000;
const WATCH_EVERY = 1_000;
/** So many candidates are kept while a call rings. */
const CANDIDATES = 100;

export class Call {
  #send;
  #servers;
  #video;
  #hear;
  /** `idle`, `calling`, `incoming`, `connecting`, `active` or `recovering`. */
  #state = 'idle';
  #peer = null;
  #media = new Media();
  /** The stream that the sent tracks belong to. */
  #outgoing = new MediaStream();
  #timer = 0;
  #watch = 0;
  /** Each attempt has a number, so that what was begun for an earlier one is dropped. */
  #attempt = 0;
  #offer = null;
  #offered = '';
  /** Which call was over last: the frontend may still be sending its candidates. */
  #over = null;
  #making = false;
  #answering = false;
  /** Settles when the steps of the negotiation that began so far are done. */
  #taken = Promise.resolve();
  #polite = false;
  #withPage = false;
  #candidates = [];
  #frames = 0;

  /**
   * `send(kind, data)` sends a signal. `servers` are ICE servers, `video` tells whether this server allows more than voice.
   * `hear` is told of each `state(state)`, of `note(key)` for the transcript, of the partner's `stream(stream)`, of
   * `theirVideo(on)` and of the person's own camera, `camera(stream)`, null if it is off.
   */
  constructor({ send, servers, video, hear }) {
    this.#send = send;
    this.#servers = servers;
    this.#video = video;
    this.#hear = hear;
  }

  get state() {
    return this.#state;
  }

  get #ringing() {
    return this.#state === 'calling' || this.#state === 'incoming';
  }

  /** Asks the partner for a call. */
  start() {
    if (this.#state === 'idle') {
      this.#enter('calling');
      this.#polite = false;
      this.#inTurn(async (attempt) => {
        if (await this.#open(attempt)) {
          // The Purrr.chat frontend takes tracks from the stream that they belong to.
          const streams = [this.#outgoing];
          this.#peer.addTransceiver(this.#media.track('microphone'), { streams });
          if (this.#video) {
            this.#peer.addTransceiver('video', { streams });
          }
        }
      });
    }
  }

  /** Takes the call that the partner asks for. */
  accept() {
    if (this.#state === 'incoming') {
      this.#enter('connecting');
      this.#polite = true;
      this.#inTurn(async (attempt) => {
        if (await this.#open(attempt)) {
          await this.#answer(this.#offer);
        }
      });
    }
  }

  refuse() {
    if (this.#state === 'incoming') {
      this.#send('refuse');
      this.#close();
    }
  }

  hangUp() {
    if (this.#state !== 'idle') {
      this.#send('hangup');
      this.#close('call-ended');
    }
  }

  /** The chat is over, and whatever call there was. */
  end() {
    this.#close();
  }

  mute(on) {
    this.#media.mute(on);
  }

  /** Turns the person's camera on or off. Rejects if the browser does not allow it. */
  async camera(on, deviceId) {
    const attempt = this.#attempt;
    const stream = await this.#media.openCamera(on, deviceId, () => attempt === this.#attempt);
    if (attempt === this.#attempt) {
      this.#hear.camera(stream);
      await this.#sender('video')?.replaceTrack(this.#media.track('camera'));
    }
  }

  /** Takes another microphone. Rejects if the browser does not allow it. */
  async microphone(deviceId) {
    const attempt = this.#attempt;
    await this.#media.openMicrophone(deviceId, () => attempt === this.#attempt);
    await this.#sender('audio')?.replaceTrack(this.#media.track('microphone'));
  }

  /** A signal of the partner. The end of a call waits for nothing; descriptions are taken one after the other. */
  handle({ kind, data }) {
    if (kind === 'refuse' || kind === 'hangup') {
      const ended = this.#state === 'incoming' ? 'call-missed' : 'call-ended';
      this.#close(kind === 'refuse' ? 'call-refused' : ended);
      return;
    }
    const take = { offer: () => this.#hearOffer(data), answer: () => this.#hearAnswer(data) }[kind];
    this.#inTurn(take ?? (() => this.#addCandidates([parse(data)])));
  }

  /**
   * Runs a step of the negotiation after all earlier ones, and drops it if the call has ended by then. A description that comes
   * again while the first one is being answered would otherwise be answered too, and the two answers undo each other.
   */
  #inTurn(step) {
    const attempt = this.#attempt;
    const current = () => attempt === this.#attempt;
    this.#taken = this.#taken.then(() => current() && step(attempt)).catch(() => current() && this.#fail());
  }

  async #hearOffer(data) {
    const offer = parse(data);
    if (offer?.type !== 'offer') {
      return this.#send('refuse');
    }
    this.#withPage ||= offer.page === true;
    if (this.#state === 'idle' || this.#state === 'incoming') {
      if (credentials(offer) === this.#over) {
        return undefined;
      }
      this.#offer = offer;
      return this.#state === 'idle' && this.#enter('incoming');
    }
    if (sameSession(offer, this.#peer.remoteDescription)) {
      return this.#addCandidates(candidatesOf(offer));
    }
    if (this.#state === 'calling') {
      // Both have called. Each knows both offers, so they agree on who gives way without a word.
      this.#polite = this.#offered < data;
    }
    const collides = this.#making || this.#peer.signalingState !== 'stable';
    if (collides && !this.#polite) {
      return undefined;
    }
    if (this.#state === 'calling') {
      this.#enter('connecting');
    }
    return this.#answer(offer);
  }

  async #hearAnswer(data) {
    const answer = parse(data);
    if (answer?.type !== 'answer' || !this.#peer) {
      return;
    }
    if (this.#peer.signalingState === 'have-local-offer') {
      this.#withPage ||= answer.page === true;
      if (this.#state === 'calling') {
        this.#enter('connecting');
      }
      await this.#peer.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
      await this.#addCandidates([]);
    } else {
      await this.#addCandidates(candidatesOf(answer));
    }
  }

  /** Opens the microphone and a connection. Resolves to false if the call ended meanwhile. */
  async #open(attempt) {
    const current = () => attempt === this.#attempt;
    try {
      await this.#media.openMicrophone(undefined, current);
    } catch {
      if (current()) {
        this.#send(this.#state === 'calling' ? 'hangup' : 'refuse');
        this.#close('call-no-microphone');
      }
    }
    if (!current()) {
      return false;
    }
    const peer = new RTCPeerConnection({ iceServers: this.#servers });
    this.#peer = peer;
    const theirs = new MediaStream();
    peer.addEventListener('track', ({ track }) => {
      theirs.addTrack(track);
      this.#hear.stream(theirs);
    });
    peer.addEventListener('negotiationneeded', () => peer === this.#peer && !this.#polite && this.#makeOffer());
    peer.addEventListener('connectionstatechange', () => peer === this.#peer && this.#follow(peer.connectionState));
    this.#watch = setInterval(() => this.#watchVideo(peer), WATCH_EVERY);
    return true;
  }

  async #makeOffer() {
    const peer = this.#peer;
    if (this.#state !== 'calling' && !this.#withPage) {
      return;
    }
    try {
      this.#making = true;
      await peer.setLocalDescription();
      await this.#describe(peer, 'offer');
    } catch {
      if (peer === this.#peer) {
        this.#fail();
      }
    } finally {
      if (peer === this.#peer) {
        this.#making = false;
      }
    }
  }

  async #answer(offer) {
    const peer = this.#peer;
    try {
      this.#answering = true;
      await peer.setRemoteDescription({ type: 'offer', sdp: offer.sdp });
      this.#attachTracks();
      await this.#addCandidates([]);
      await peer.setLocalDescription();
      this.#describe(peer, 'answer');
    } catch {
      if (peer === this.#peer) {
        this.#fail();
      }
    } finally {
      if (peer === this.#peer) {
        this.#answering = false;
      }
    }
  }

  /** Puts the person's tracks where the partner's offer has room for them. */
  #attachTracks() {
    for (const transceiver of this.#peer.getTransceivers()) {
      const { kind } = transceiver.receiver.track;
      const track = this.#media.track(kind === 'audio' ? 'microphone' : 'camera');
      const wanted = kind === 'audio' || this.#video;
      if (!transceiver.stopped && transceiver.mid !== null) {
        transceiver.direction = wanted ? 'sendrecv' : 'inactive';
        transceiver.sender.replaceTrack(track);
        transceiver.sender.setStreams(this.#outgoing);
      }
    }
  }

  /** Sends the local description once its candidates are known, and those that come later one by one. */
  async #describe(peer, kind) {
    await gathered(peer);
    // An offer that is about to give way to the partner's must not travel: the partner might give way as well.
    const withdrawn = kind === 'offer' && this.#answering;
    if (peer !== this.#peer || withdrawn || peer.localDescription?.type !== kind) {
      return;
    }
    const data = described(peer);
    if (kind === 'offer') {
      this.#offered = data;
    }
    this.#send(kind, data);
    peer.onicecandidate = ({ candidate }) => {
      if (!candidate || peer !== this.#peer || !peer.localDescription) {
        return;
      }
      if (this.#withPage) {
        this.#send('candidate', JSON.stringify(candidate));
      } else {
        this.#send(peer.localDescription.type, described(peer));
      }
    };
  }

  async #addCandidates(candidates) {
    if (this.#state === 'idle') {
      return;
    }
    this.#candidates.push(...candidates.filter(Boolean).slice(0, CANDIDATES - this.#candidates.length));
    if (this.#peer?.remoteDescription) {
      for (const candidate of this.#candidates.splice(0)) {
        // One that does not fit is no reason to end a call that has others.
        await this.#peer.addIceCandidate(candidate).catch(() => {});
      }
    }
  }

  #follow(connection) {
    if (connection === 'connected') {
      this.#enter('active');
    } else if (connection === 'failed' || (connection === 'disconnected' && this.#state === 'active')) {
      if (this.#state === 'active' && this.#withPage) {
        this.#enter('recovering');
        this.#peer.restartIce();
      } else if (connection === 'failed') {
        this.#fail();
      }
    }
  }

  #fail() {
    if (this.#state !== 'idle') {
      this.#send('hangup');
      this.#close('call-failed');
    }
  }

  /** A partner whose camera is off sends no pictures, and no other sign of it. */
  async #watchVideo(peer) {
    let frames = 0;
    for (const report of (await peer.getStats()).values()) {
      if (report.type === 'inbound-rtp' && report.kind === 'video') {
        frames += report.framesDecoded ?? 0;
      }
    }
    if (peer === this.#peer) {
      this.#hear.theirVideo(frames > this.#frames);
      this.#frames = frames;
    }
  }

  #sender(kind) {
    const negotiated = ({ mid, receiver }) => mid !== null && receiver.track.kind === kind;
    return this.#peer?.getTransceivers().find(negotiated)?.sender;
  }

  #enter(state) {
    clearTimeout(this.#timer);
    this.#state = state;
    if (this.#ringing || state === 'connecting') {
      this.#timer = setTimeout(() => this.#giveUp(), RINGS_FOR);
    } else if (state === 'recovering') {
      this.#timer = setTimeout(() => this.#fail(), RECOVERS_FOR);
    }
    this.#hear.state(state);
  }

  #giveUp() {
    const notes = { calling: 'call-no-answer', incoming: 'call-missed' };
    this.#send(this.#state === 'incoming' ? 'refuse' : 'hangup');
    this.#close(notes[this.#state] ?? 'call-failed');
  }

  #close(note) {
    if (this.#state === 'idle') {
      return;
    }
    this.#attempt += 1;
    // A browser that still asks for the microphone must not hold up the next call.
    this.#taken = Promise.resolve();
    this.#over = credentials(this.#offer) ?? this.#over;
    clearInterval(this.#watch);
    this.#media.stop();
    this.#peer?.close();
    [this.#peer, this.#offer, this.#offered, this.#candidates, this.#frames] = [null, null, '', [], 0];
    [this.#withPage, this.#making, this.#answering] = [false, false, false];
    this.#hear.camera(null);
    this.#hear.theirVideo(false);
    this.#enter('idle');
    if (note) {
      this.#hear.note(note);
    }
  }
}
