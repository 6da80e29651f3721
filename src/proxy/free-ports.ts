import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Endpoint } from './endpoint.ts';
import { listenOn, mustHaveRoom } from './listening.ts';
import { PortGates } from './port-gates.ts';

/**
 * Binds addresses that processes of ours will share, where nobody listens. Processes that share a port would share
 * it with a stranger's that does so too, without a word, and each would see a part of the traffic. Whoever else is
 * between looking and binding there is waited for: looking at the same time, both would find the port free.
 * @throws AppError LISTEN_FAILED
 */
export async function bindFree<Bound>(
  endpoints: readonly Endpoint[],
  bind: () => Promise<Bound>,
  patienceMs?: number,
): Promise<Bound> {
  const ports = endpoints.flatMap((endpoint) => (endpoint.kind === 'tcp' ? [endpoint.port] : []));
  const gates = await PortGates.enter(
    ports.filter((port) => port !== 0),
    patienceMs,
  );
  try {
    for (const endpoint of endpoints) await mustBeFree(endpoint);
    return await bind();
  } finally {
    gates.leave();
  }
}

/**
 * Makes sure that an address could be listened on now, and leaves it as it is.
 * @throws AppError LISTEN_FAILED
 */
export async function mustBeFree(endpoint: Endpoint): Promise<void> {
  if (endpoint.kind === 'unix') {
    await mustHaveRoom(endpoint);
    return;
  }
  if (endpoint.port === 0) return;
  const server = createServer((socket) => socket.destroy());
  await listenOn(server, endpoint);
  server.close();
  await once(server, 'close');
}
