// Runs the real server binary on a free port of the loopback interface.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const binary =
  process.env.PURRR_BIN ?? fileURLToPath(new URL('../../../../target/debug/purrr-server', import.meta.url));

const STARTING = 15_000;
const STOPPING = 40_000;

/**
 * Starts a server and waits until it listens.
 *
 * `stop` sends a signal, waits for the end and resolves to the exit code; `logs` is everything printed so far.
 */
export async function startServer(extraArgs = [], extraEnv = {}) {
  const child = spawn(binary, ['--listen', '127.0.0.1:0', '--log-format', 'json', ...extraArgs], {
    env: { ...environment(), ...extraEnv },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // A test run that dies takes its servers along.
  const killed = () => child.kill('SIGKILL');
  process.on('exit', killed);
  const ended = once(child, 'exit').then(([code, signal]) => {
    process.off('exit', killed);
    return code ?? signal;
  });

  const lines = [];
  const logs = () => lines.join('\n');
  const address = await new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`${why}\n${logs()}`));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail(`the server was not listening after ${STARTING / 1000} s`);
    }, STARTING);
    child.on('error', (error) => fail(`${binary} cannot be run: ${error.message}`));
    ended.then((code) => fail(`the server ended with ${code} instead of listening`), reject);
    for (const output of [child.stdout, child.stderr]) {
      createInterface({ input: output }).on('line', (line) => {
        lines.push(line);
        const address = addressIn(line);
        if (address) {
          clearTimeout(timer);
          resolve(address);
        }
      });
    }
  });

  return {
    url: `http://${address}`,
    port: Number(address.split(':').at(-1)),
    pid: child.pid,
    logs,
    ended,
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      const timer = setTimeout(killed, STOPPING);
      const code = await ended;
      clearTimeout(timer);
      return code;
    },
  };
}

/** This process's environment without what would configure the server behind a test's back. */
function environment() {
  const ours = ([name]) => !name.startsWith('PURRR_') && name !== 'PORT' && name !== 'HOST_URL';
  return Object.fromEntries(Object.entries(process.env).filter(ours));
}

function addressIn(line) {
  try {
    const { fields = {}, ...record } = JSON.parse(line);
    const { message, address } = { ...record, ...fields };
    return message === 'listening' ? address : undefined;
  } catch {
    return undefined;
  }
}
