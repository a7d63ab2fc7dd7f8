// The person's microphone and camera, as far as a call has them open.

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
