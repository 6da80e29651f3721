import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Where nobody listens: below the ports that a kernel gives away by itself. One that was just given back may be
 * another's by the time it is tried.
 */
export const DEAD_PORT = 1;

/** Kernels give away ports from here on, to whoever connects to anything. */
const GIVEN_AWAY_FROM = 32_768;
const FIRST = 20_000;

/** A port of 127.0.0.1 that nobody listened on a moment ago, and that no kernel gives to anybody by itself. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * (GIVEN_AWAY_FROM - FIRST));
    const server = createServer();
    const isFree = once(server, 'listening').then(
      () => true,
      () => false,
    );
    server.listen(port, '127.0.0.1');
    if (!(await isFree)) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}
