import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * A port without a listener. It is below the ports that a kernel assigns; a port that was just closed could be assigned
 * to another program.
 */
export const DEAD_PORT = 1;

/** First port that kernels assign to outgoing connections. */
const GIVEN_AWAY_FROM = 32_768;
const FIRST = 20_000;

/** A port of 127.0.0.1 that was free a moment ago and that no kernel assigns by itself. */
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
