// Session descriptions of WebRTC, as far as a call has to read them.

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
