// A line to the server that can be cut, held and mended: what a lost network looks like to a browser.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class Line {
  #ends = new Set();
  #pairs = new Set();
  #held = false;
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
        const pair = [end, other];
        this.#ends.add(end);
        this.#pairs.add(pair);
        end.on('close', () => this.#pairs.delete(pair));
        if (!this.#held) {
          end.pipe(other);
        }
        end.on('error', () => other.destroy());
        end.on('close', () => {
          this.#ends.delete(end);
          other.destroy();
        });
      }
    });
  }

  /** Nothing goes through any more, and nothing ends: what a network that was switched looks like. */
  hold() {
    this.#held = true;
    for (const [end, other] of this.#pairs) {
      end.unpipe(other);
      end.pause();
    }
  }

  /** What was held goes on. */
  release() {
    this.#held = false;
    this.#pairs.forEach(([end, other]) => end.pipe(other));
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
