// What a call needs of WebRTC: the person's microphone and camera, and session descriptions as far as it has to read them.


export class Media {
  #streams = { microphone: null, camera: null };

  /** The open track of `microphone` or `camera`; null if there is none. */
  track(name) {
    return this.#streams[name]?.getTracks()[0] ?? null;
  }

  /**
   * Opens a microphone in the place of the last one, which it is as loud as. Rejects if the browser does not allow it. A stream
   * that comes when it is not `wanted()` any more is closed.
   */
  async openMicrophone(deviceId, wanted) {
    const stream = await open({ audio: device(deviceId) });
    for (const track of stream.getTracks()) {
      track.enabled = this.track('microphone')?.enabled ?? true;
    }
    this.#keep('microphone', stream, wanted);
  }

  /** Opens a camera, or closes the one that is open, and returns its stream or null. Rejects if the browser does not allow it. */
  async openCamera(on, deviceId, wanted) {
    this.#stop('camera');
    const stream = on ? await open({ video: device(deviceId) }) : null;
    this.#keep('camera', stream, wanted);
    return stream;
  }

  /** The partner hears nothing while this is on. */
  mute(on) {
    this.#streams.microphone?.getTracks().forEach((track) => (track.enabled = !on));
  }

  /** Closes everything. */
  stop() {
    Object.keys(this.#streams).forEach((name) => this.#stop(name));
  }

  #keep(name, stream, wanted) {
    if (wanted()) {
      this.#stop(name);
      this.#streams[name] = stream;
    } else {
      stream?.getTracks().forEach((track) => track.stop());
    }
  }

  #stop(name) {
    this.#streams[name]?.getTracks().forEach((track) => track.stop());
    this.#streams[name] = null;
  }
}

function open(constraints) {
  return navigator.mediaDevices ? navigator.mediaDevices.getUserMedia(constraints) : Promise.reject(new Error('insecure'));
}

function device(deviceId) {
  return deviceId ? { deviceId: { exact: deviceId } } : true;
}

/** So long candidates are waited for if there is one already, and at most. */
const GATHERS_FOR = 2_000;
const GATHERS_AT_MOST = 10_000;
const LOOK_EVERY = 100;

/**
 * Resolves once all candidates are known, or enough have been waited for. A description without any is of no use to the
 * Purrr.chat frontend, which takes the first answer only.
 */
export function gathered(peer) {
  const began = performance.now();
  return new Promise((resolve) => {
    const look = () => {
      const waited = performance.now() - began;
      const some = peer.localDescription?.sdp.includes('a=candidate:');
      const enough = peer.iceGatheringState === 'complete' || (waited >= GATHERS_FOR && some);
      if (enough || waited >= GATHERS_AT_MOST || peer.signalingState === 'closed') {
        clearInterval(timer);
        peer.removeEventListener('icegatheringstatechange', look);
        resolve();
      }
    };
    const timer = setInterval(look, LOOK_EVERY);
    peer.addEventListener('icegatheringstatechange', look);
    look();
  });
}

/** Returns the local description as it is sent: marked, since only another page can be asked to negotiate anew. */
export function described(peer) {
  return JSON.stringify({ ...peer.localDescription.toJSON(), page: true });
}

/** Returns the value of a JSON text, or null if it is none. */
export function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}

/** Returns what tells one session of ICE from another. */
export function credentials(description) {
  return /^a=ice-ufrag:(.*)$/m.exec(description?.sdp ?? '')?.[1]?.trim();
}

/** True if a description differs from one that is known by its candidates at most. */
export function sameSession(description, known) {
  return known !== null && credentials(description) === credentials(known);
}

/** The candidates in a session description, each with the index of its media line. */
export function candidatesOf({ sdp }) {
  let sdpMLineIndex = -1;
  const candidates = [];
  for (const line of sdp.split(/\r?\n/)) {
    if (line.startsWith('m=')) {
      sdpMLineIndex += 1;
    } else if (line.startsWith('a=candidate:')) {
      candidates.push({ candidate: line.slice(2), sdpMLineIndex });
    }
  }
  return candidates;
}
