// A reverse proxy that strips a path, as a site has one that shows the page below a path of its own.

import { once } from 'node:events';
import { createServer, request as ask } from 'node:http';
import { connect } from 'node:net';

export class PrefixProxy {
  #listener;
  #ends = new Set();

  /** Opens a proxy to the server at `port`, which strips `prefix` and adds these headers. */
  static async to(port, prefix, headers = {}) {
    const proxy = new PrefixProxy(port, prefix, headers);
    proxy.#listener.listen(0, '127.0.0.1');
    await once(proxy.#listener, 'listening');
    proxy.#listener.unref();
    proxy.url = `http://127.0.0.1:${proxy.#listener.address().port}${prefix}`;
    return proxy;
  }

  constructor(port, prefix, headers) {
    /** Paths outside of the prefix that were asked for. */
    this.strays = [];
    const inside = ({ url }) => {
      const [path] = url.split('?');
      const found = path === prefix || path.startsWith(`${prefix}/`);
      if (!found) {
        this.strays.push(path);
      }
      return found;
    };
    const stripped = ({ url }) => url.slice(prefix.length).replace(/^(?=[?]|$)/, '/');
    this.#listener = createServer((near, answer) => {
      if (!inside(near)) {
        answer.writeHead(404).end();
        return;
      }
      const far = ask(
        { port, host: '127.0.0.1', method: near.method, path: stripped(near), headers: { ...near.headers, ...headers } },
        (found) => found.pipe(answer.writeHead(found.statusCode, found.headers)),
      );
      far.on('error', () => answer.destroy());
      near.pipe(far);
    });
    this.#listener.on('connection', (end) => {
      this.#ends.add(end);
      end.on('close', () => this.#ends.delete(end));
    });
    this.#listener.on('upgrade', (near, end, first) => {
      if (!inside(near)) {
        end.destroy();
        return;
      }
      const far = connect(port, '127.0.0.1');
      const lines = Object.entries({ ...near.headers, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
      far.write(`GET ${stripped(near)} HTTP/1.1\r\n${lines.join('')}\r\n`);
      far.write(first);
      end.pipe(far).pipe(end);
      end.on('close', () => far.destroy());
      end.on('error', () => far.destroy());
      far.on('error', () => end.destroy());
    });
  }

  async close() {
    const closed = once(this.#listener, 'close');
    this.#listener.close();
    this.#ends.forEach((end) => end.destroy());
    await closed;
  }
}
