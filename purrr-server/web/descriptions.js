// Session descriptions of WebRTC, as far as a call has to read them.

/** So long candidates are waited for. */
const GATHERS_FOR = 2_000;

/** Resolves once all candidates are known, or enough have been waited for. */
export function gathered(peer) {
  return new Promise((resolve) => {
    const done = () => {
      if (peer.iceGatheringState === 'complete') {
        finish();
      }
    };
    const finish = () => {
      clearTimeout(timer);
      peer.removeEventListener('icegatheringstatechange', done);
      resolve();
    };
    const timer = setTimeout(finish, GATHERS_FOR);
    peer.addEventListener('icegatheringstatechange', done);
    done();
  });
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
