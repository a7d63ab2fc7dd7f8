// The panel of a call, and the buttons for it.

import { Call } from './call.js';
import { byId, element } from './dom.js';
import { say, t } from './i18n.js';

const STATUS = {
  calling: 'call-calling',
  incoming: 'call-incoming',
  connecting: 'call-connecting',
  active: 'call-connected',
  recovering: 'call-reconnecting',
};
/** A call is refused once, though it is made of many frames. */
const ONE_CALL = 10_000;
const TURN = /^turns?:/;

export class CallView {
  #panel = byId('call-panel');
  #policy = 'off';
  #servers = [];
  #call = null;
  #chat = null;
  #refused = -ONE_CALL;
  #hear = null;

  constructor() {
    const presses = {
      call: () => this.#call?.start(),
      'call-accept': () => this.#call?.accept(),
      'call-refuse': () => this.#call?.refuse(),
      'call-hang-up': () => this.#call?.hangUp(),
      'call-mute': () => this.#mute(),
      'call-camera': () => this.#camera(byId('call-camera').ariaPressed !== 'true'),
      'call-devices': () => this.#showDevices(byId('call-choices').hidden),
      'call-small': () => this.#resize(!document.pictureInPictureElement),
    };
    for (const [id, press] of Object.entries(presses)) {
      byId(id).addEventListener('click', press);
    }
    byId('choose-microphone').addEventListener('change', ({ target }) => this.#choose('microphone', target.value));
    byId('choose-camera').addEventListener('change', ({ target }) => this.#choose('camera', target.value));
  }

  /** What the server says about calls: `off`, `voice` or `video`, and its ICE servers. */
  configure(policy, servers) {
    this.#policy = 'RTCPeerConnection' in globalThis ? (policy ?? 'off') : 'off';
    this.#servers = servers ?? [];
  }

  /** True while there is a call, or one is asked for. */
  get busy() {
    return this.#call !== null && this.#call.state !== 'idle';
  }

  /** A chat begins. `hear.note(key)` is told what belongs into the transcript, `hear.ring()` of a call that comes in. */
  begin(chat, hear) {
    this.#chat = chat;
    this.#hear = hear;
    byId('call').hidden = this.#policy === 'off';
    byId('call-theirs').ariaLabel = t('call-video-theirs', { name: chat.name });
    this.#call = new Call({
      send: (kind, data) => chat.signal(kind, data),
      servers: this.#servers,
      video: this.#policy === 'video',
      hear: {
        state: (state) => this.#show(state),
        note: (key) => this.#hear.note(key),
        stream: (stream) => (byId('call-theirs').srcObject = stream),
        theirVideo: (on) => this.#showVideo('theirs', on),
        camera: (stream) => {
          byId('call-yours').srcObject = stream;
          byId('call-camera').ariaPressed = String(stream !== null);
          this.#showVideo('yours', stream !== null);
        },
      },
    });
  }

  /** A signal of the partner. Where there are no calls, one is refused with a word about it. */
  handle(signal) {
    if (this.#policy !== 'off') {
      this.#call?.handle(signal);
    } else if (signal.kind === 'offer' && performance.now() - this.#refused > ONE_CALL) {
      this.#refused = performance.now();
      this.#chat.signal('refuse');
      this.#hear.note('call-refused-here');
    }
  }

  /** Ends the call, if there is one, with a word to the partner. */
  hangUp() {
    this.#call?.hangUp();
  }

  /** The chat is over. */
  end() {
    this.#call?.end();
    this.#call = null;
  }

  #show(state) {
    const incoming = state === 'incoming';
    this.#panel.hidden = state === 'idle';
    this.#panel.dataset.state = state;
    byId('call').disabled = state !== 'idle';
    byId('call-accept').hidden = !incoming;
    byId('call-refuse').hidden = !incoming;
    byId('call-hang-up').hidden = incoming;
    for (const id of ['call-mute', 'call-camera', 'call-devices']) {
      byId(id).hidden = incoming || state === 'calling' || (id === 'call-camera' && this.#policy !== 'video');
    }
    if (state === 'idle') {
      this.#reset();
      return;
    }
    say(byId('call-status'), STATUS[state], { name: this.#chat.name });
    const relayed = this.#servers.some(({ urls }) => [urls].flat().some((url) => TURN.test(url)));
    const help = { calling: relayed ? '' : 'call-no-relay', incoming: 'call-incoming-help' }[state] ?? '';
    byId('call-help').textContent = help && t(help);
    if (incoming) {
      byId('call-choices').hidden = true;
      this.#hear.ring();
    }
  }

  #reset() {
    byId('call-theirs').srcObject = null;
    byId('call-mute').ariaPressed = 'false';
    byId('call-choices').hidden = true;
    this.#resize(false);
  }

  /** Moves the partner's video to a window of its own, or back. */
  #resize(small) {
    if (small) {
      byId('call-theirs').requestPictureInPicture().catch(() => {});
    } else if (document.pictureInPictureElement) {
      document.exitPictureInPicture().catch(() => {});
    }
  }

  #showVideo(whose, on) {
    byId(`call-${whose}`).hidden = !on;
    if (whose === 'theirs') {
      byId('call-small').hidden = !on || !document.pictureInPictureEnabled;
      if (!on) {
        this.#resize(false);
      }
    }
    byId('call-videos').classList.toggle('seen', !byId('call-theirs').hidden || !byId('call-yours').hidden);
  }

  #mute() {
    const on = byId('call-mute').ariaPressed !== 'true';
    byId('call-mute').ariaPressed = String(on);
    this.#call?.mute(on);
  }

  async #camera(on, deviceId) {
    try {
      await this.#call?.camera(on, deviceId);
    } catch {
      this.#hear.note('call-no-camera');
    }
  }

  async #choose(what, deviceId) {
    try {
      await (what === 'camera' ? this.#call?.camera(true, deviceId) : this.#call?.microphone(deviceId));
    } catch {
      this.#hear.note(what === 'camera' ? 'call-no-camera' : 'call-no-microphone');
    }
  }

  async #showDevices(on) {
    byId('call-choices').hidden = !on;
    byId('call-devices').ariaExpanded = String(on);
    if (!on) {
      return;
    }
    const devices = await navigator.mediaDevices.enumerateDevices();
    for (const [id, kind] of [['choose-microphone', 'audioinput'], ['choose-camera', 'videoinput']]) {
      const options = devices
        .filter((device) => device.kind === kind)
        .map(({ deviceId, label }, at) =>
          element('option', { value: deviceId, textContent: label || t('call-device', { number: at + 1 }) }),
        );
      byId(id).replaceChildren(...options);
    }
  }
}
