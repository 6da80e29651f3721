import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Endpoint } from './endpoint.ts';
import { listenOn } from './listening.ts';

/**
 * Makes sure that nobody listens on these addresses. Processes that share a port would share it with a stranger's
 * that does so too, without a word, and each would see a part of the traffic.
 * @throws AppError LISTEN_FAILED
 */
export async function mustBeFree(endpoints: readonly Endpoint[]): Promise<void> {
  for (const endpoint of endpoints) {
    if (endpoint.kind !== 'tcp' || endpoint.port === 0) continue;
    const server = createServer((socket) => socket.destroy());
    await listenOn(server, endpoint);
    server.close();
    await once(server, 'close');
  }
}
