import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../src/proxy/endpoint.ts';
import { bindFree } from '../../src/proxy/free-ports.ts';
import { listenOn } from '../../src/proxy/listening.ts';
import { PortGates } from '../../src/proxy/port-gates.ts';
import { freePort } from '../support/free-port.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** As a forwarder that shares its port does. */
async function share(endpoint: Endpoint): Promise<Endpoint> {
  const server = createServer((socket) => socket.end());
  servers.push(server);
  return (await listenOn(server, endpoint, { reusePort: true })).endpoint;
}

async function freeEndpoint(): Promise<Endpoint & { kind: 'tcp' }> {
  return { kind: 'tcp', host: '127.0.0.1', port: await freePort(), tls: false };
}

describe.runIf(process.platform === 'linux')('ports that several processes share', () => {
  it.each([
    ['the same address', '127.0.0.1'],
    ['every address', '0.0.0.0'],
  ])('go to one of two recorders that start at the same instant, the other on %s', async (_, host) => {
    const endpoint = await freeEndpoint();
    let looked: () => void = () => undefined;
    const hasLooked = new Promise<void>((resolve) => {
      looked = resolve;
    });
    let go: () => void = () => undefined;
    const first = bindFree([endpoint], async () => {
      looked();
      await new Promise<void>((resolve) => {
        go = resolve;
      });
      return await share(endpoint);
    });
    await hasLooked;
    const second = bindFree([{ ...endpoint, host }], () => share({ ...endpoint, host }));
    const outcomes = Promise.allSettled([first, second]);
    await sleep(50);
    go();
    const [one, other] = await outcomes;
    expect(one).toMatchObject({ status: 'fulfilled', value: endpoint });
    expect(other).toMatchObject({
      status: 'rejected',
      reason: { code: 'LISTEN_FAILED', message: expect.stringContaining('the port is in use') },
    });
  });

  it('go to two recorders where their addresses do not overlap, one after the other', async () => {
    const endpoint = await freeEndpoint();
    const other = { ...endpoint, host: '127.0.0.2' };
    await Promise.all([bindFree([endpoint], () => share(endpoint)), bindFree([other], () => share(other))]);
  });

  it('are bound all the same where a stranger stays at the gate for good, and only at that gate', async () => {
    const [endpoint, other] = [await freeEndpoint(), await freeEndpoint()];
    const ports = [endpoint.port, other.port];
    const stranger = await PortGates.enter([endpoint.port]);
    const gates = await PortGates.enter(ports, 0);
    expect(await bindFree([endpoint], () => share(endpoint), 0)).toEqual(endpoint);
    // The other gate was taken, and is left with the rest.
    expect(await isTaken(other.port)).toBe(true);
    gates.leave();
    stranger.leave();
    expect(await isTaken(other.port)).toBe(false);
  });
});

async function isTaken(port: number): Promise<boolean> {
  const server = createServer();
  const taken = await new Promise<boolean>((resolve) => {
    server.on('error', () => resolve(true));
    server.listen({ path: `\0reprise:start:${port}` }, () => resolve(false));
  });
  if (!taken) server.close();
  return taken;
}
