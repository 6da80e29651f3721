import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ForwarderProcess } from '../../src/proxy/forwarder-process.ts';
import { GATEWAY_DEFAULTS } from '../../src/proxy/http/options.ts';
import type { ForwarderOptions, ForwarderReading, FromForwarder } from '../../src/proxy/messages.ts';
import { RawServer } from '../support/raw-server.ts';
import { socketPair } from '../support/socket-pair.ts';
import { local, portOf, wireOptions } from '../support/wire-stage.ts';

const LONG = { timeout: 20_000 };
const ends: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** A forwarder with a recorder that takes everything and acknowledges nothing. */
async function startForwarder(options: ForwarderOptions) {
  let port = 0;
  let last: ForwarderReading | null = null;
  const hear = (message: FromForwarder) => {
    if (message.type === 'listening') port = portOf(message.addresses[0]);
    if (message.type === 'beat') last = message.reading;
  };
  const forwarder = new ForwarderProcess({ clock: systemClock, say: hear, onEnd: () => undefined });
  const [ours, theirs] = await socketPair();
  theirs.resume();
  await forwarder.hear({ type: 'recorder', pipe: 1 }, ours);
  await forwarder.hear({ type: 'listen', options }, undefined);
  // The recorder is gone before the drain, which would wait for its word.
  ends.push(async () => {
    theirs.destroy();
    await once(ours, 'close');
    await forwarder.drain(0);
  });
  return { port, read: (): ForwarderReading | null => last };
}

describe('the open connections that a forwarder tells of', () => {
  it.each(['wire', 'gateway'] as const)('are those of clients, settled or not (%s)', async (mode) => {
    const server = await RawServer.start();
    ends.push(() => server.close());
    const pair = { listen: local(), target: local(server.port) };
    const options: ForwarderOptions =
      mode === 'wire' ? { mode, ...wireOptions(pair) } : { mode, ...GATEWAY_DEFAULTS, pairs: [pair] };
    const { port, read } = await startForwarder(options);
    const clients = [1, 2, 3].map(() => connect(port, '127.0.0.1'));
    for (const client of clients) client.write('GET / HTTP/1.1\r\nHost: m\r\n\r\n');
    await Promise.all(clients.map((client) => once(client, 'data')));
    await expect.poll(() => read()?.open, LONG).toBe(3);
    for (const client of clients.slice(1)) client.destroy();
    await expect.poll(() => read()?.open, LONG).toBe(1);
    clients[0]?.destroy();
    await expect.poll(() => read()?.open, LONG).toBe(0);
    expect(read()?.ledger).toMatchObject({ connections: 3, unsettledConnections: 3 });
  });
});
