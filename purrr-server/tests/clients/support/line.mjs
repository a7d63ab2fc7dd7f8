// A line to the server that can be cut and mended: what a lost network looks like to a browser.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class Line {
  #ends = new Set();
  #listener;

  /** Opens a line to the server at `port`. */
  static async to(port) {
    const line = new Line(port);
    await line.mend();
    return line;
  }

  constructor(port) {
    this.#listener = createServer((near) => {
      const far = connect(port, '127.0.0.1');
      for (const [end, other] of [[near, far], [far, near]]) {
        this.#ends.add(end);
        end.pipe(other);
        end.on('error', () => other.destroy());
        end.on('close', () => {
          this.#ends.delete(end);
          other.destroy();
        });
      }
    });
  }

  /** Every connection ends at once, and no new one can be made. */
  async cut() {
    const closed = once(this.#listener, 'close');
    this.#listener.close();
    this.#ends.forEach((end) => end.destroy());
    await closed;
  }

  /** Connections can be made again, at the same address. */
  async mend() {
    this.#listener.listen(this.port ?? 0, '127.0.0.1');
    await once(this.#listener, 'listening');
    this.port = this.#listener.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
  }
}
