import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import { afterwards } from '../../support/leftovers.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { ask, RawClient, rawUpstream, startGateway, tcp, until } from './support.ts';

const ASK =
  'GET /chat HTTP/1.1\r\nHost: m\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n';
const SWITCH =
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nconnection: Upgrade\r\nX-a: 1\r\nX-a: 2\r\n\r\n';

describe('WebSocket', () => {
  it('passes the head as it was given and bytes both ways, early ones too, counted by protocol', async () => {
    let received = '';
    const port = await rawUpstream((socket) => {
      socket.on('data', (chunk) => {
        const isFirst = received === '';
        received += chunk.toString('latin1');
        if (isFirst) socket.write(`${SWITCH}early`);
        else socket.write(chunk);
      });
    });
    const gateway = await startGateway(port, { websocket: true });
    const client = await RawClient.connect(gateway.port);
    client.send(`${ASK}first`);
    expect(await client.read(/early/)).toBe(`${SWITCH}early`);
    await client.read(/first/);
    client.send('\x81\xffecho');
    await client.read(/\x81\xffecho/);
    expect(received).toContain(
      'Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    );
    expect(gateway.gateway.counts.tunnels).toBe(1);
    client.socket.end();
    await client.closed;
    const reading = await gateway.settle();
    expect(gateway.gateway.counts.tunnels).toBe(0);
    expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    expect(reading.lost).toEqual({});
    expect(gateway.sink.protocolUses).toMatchObject([{ protocol: 'websocket', connections: 1 }]);
    expect(gateway.sink.exchanges[0]).toMatchObject({ status: 101, outcome: 'completed' });
  });

  it('passes a refusal on, whole, and ends the connection with it', async () => {
    const port = await rawUpstream((socket) => {
      socket.on('data', () =>
        socket.write('HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnone\r\n0\r\n\r\n'),
      );
    });
    const gateway = await startGateway(port, { websocket: true });
    const client = await RawClient.connect(gateway.port);
    client.send(ASK);
    expect(await client.closed).toBe('end');
    expect(client.received).toBe('HTTP/1.1 404 No\r\nConnection: close\r\n\r\nnone');
    await gateway.settle();
    expect(gateway.sink.exchanges[0]).toMatchObject({ status: 404, outcome: 'completed' });
  });

  it('serves other upgrades as what they are without one', async () => {
    const port = await rawUpstream((socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
    });
    const gateway = await startGateway(port, { websocket: true });
    expect(await ask(gateway.port, ASK.replace('websocket', 'h2c'))).toMatch(/ok$/);
    expect(await ask(gateway.port, ASK.replace('GET', 'POST'))).toMatch(/ok$/);
  });

  it.each(['before', 'in the middle of', 'after'])(
    'survives a client that resets %s the upgrade',
    async (phase) => {
      let open = 0;
      const port = await rawUpstream((socket) => {
        open += 1;
        socket.on('close', () => {
          open -= 1;
        });
        socket.on('data', () => {
          if (phase !== 'before') socket.write(phase === 'after' ? SWITCH : SWITCH.slice(0, 40));
        });
      });
      const gateway = await startGateway(port, { websocket: true });
      for (let round = 0; round < 10; round += 1) {
        const client = await RawClient.connect(gateway.port);
        client.send(ASK);
        await until(() => open > 0);
        if (phase === 'after') await client.read(/\r\n\r\n/);
        client.socket.resetAndDestroy();
        await until(() => open === 0);
      }
      expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
      expect(gateway.gateway.counts.tunnels).toBe(0);
    },
  );

  it('answers 502 when nobody is there, and passes the reset of an upstream on', async () => {
    const gateway = await startGateway(1, { websocket: true });
    expect(await ask(gateway.port, ASK)).toMatch(/^HTTP\/1\.1 502 /);
    const port = await rawUpstream((socket) => {
      socket.on('data', () => {
        socket.write(SWITCH);
        setTimeout(() => socket.resetAndDestroy(), 20);
      });
    });
    const second = await startGateway(port, { websocket: true });
    const client = await RawClient.connect(second.port);
    client.send(ASK);
    expect(await client.closed).toBe('reset');
  });

  it('begins no tunnel on a connection that was refused', async () => {
    let accepted = 0;
    const port = await rawUpstream((socket) => {
      accepted += 1;
      socket.on('data', () => socket.write(SWITCH));
    });
    const gateway = await startGateway(port, { websocket: true });
    const client = await RawClient.connect(gateway.port);
    client.send(`GET http://m/ HTTP/1.1\r\nHost: m\r\n\r\n${ASK}`);
    expect(await client.closed).toBe('end');
    expect(client.received).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n(?:[^\r]+\r\n)*\r\n$/);
    expect([accepted, gateway.gateway.counts.tunnels]).toEqual([0, 0]);
  });

  it('serves an upgrade behind a request that is under way as one without: answers keep their order', async () => {
    const port = await rawUpstream((socket) => {
      socket.on('data', (chunk) => {
        if (/^upgrade:/im.test(chunk.toString())) socket.write(SWITCH);
        else
          setTimeout(
            () => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n${chunk.subarray(4, 9)}`),
            50,
          );
      });
    });
    const gateway = await startGateway(port, { websocket: true });
    const client = await RawClient.connect(gateway.port);
    client.send(`GET /slow HTTP/1.1\r\nHost: m\r\n\r\n${ASK}`);
    await client.read(/\/chat/);
    expect(client.received).toBe('');
    await gateway.settle();
    expect(gateway.sink.exchanges.map(({ status }) => status)).toEqual([200, 200]);
  });

  it.each(['client', 'target'] as const)('passes on that a %s held back resets', async (leaver) => {
    const accepted: Socket[] = [];
    const port = await rawUpstream((socket) => {
      accepted.push(socket.once('data', () => socket.write(SWITCH)));
    });
    const gateway = await startGateway(port, { websocket: true });
    const { socket: client } = await tunnelled(gateway.port);
    const target = accepted[0] as Socket;
    const [leaving, standing] = leaver === 'client' ? [client, target] : [target, client];
    standing.pause();
    await stuff(leaving);
    leaving.resetAndDestroy();
    // Nobody else moves meanwhile: whatever is written to a side that left tells of it as well.
    await until(() => gateway.gateway.counts.tunnels === 0);
    // One that was ended takes a write more. What is read is no proof: older versions read a reset as an end.
    const written = Promise.withResolvers<unknown>();
    standing.write('x', written.resolve);
    expect(await written.promise).toMatchObject({ code: 'ECONNRESET' });
    expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
  });

  it('ends with a target behind a unix socket that leaves while its client stands still, once the client has read all', async () => {
    const path = `${temporaryDirectory()}/up.sock`;
    const accepted: Socket[] = [];
    const server = createServer((socket) => {
      accepted.push(socket.once('data', () => socket.write(SWITCH)));
    }).listen(path);
    afterwards(() => server.close());
    await once(server, 'listening');
    const pairs = [{ listen: tcp(0), target: { kind: 'unix', path } as const }];
    const gateway = await startGateway(0, { pairs, websocket: true });
    const { socket: client } = await tunnelled(gateway.port);
    client.pause();
    // Not for longer: a little is taken ten times a second, and no more than a bound in all.
    await stuff(accepted[0] as Socket, 50);
    accepted[0]?.destroy();
    await sleep(300);
    expect(gateway.gateway.counts.tunnels).toBe(1);
    client.resume();
    await until(() => gateway.gateway.counts.tunnels === 0);
  });
});

/** A client whose connection is a WebSocket by now. */
async function tunnelled(port: number): Promise<RawClient> {
  const client = await RawClient.connect(port);
  client.send(ASK);
  await client.read(/\r\n\r\n$/);
  return client;
}

/** Writes until no more of it is taken for a while, in which this process has looked ten times. */
async function stuff(socket: Socket, quietMs = 500): Promise<void> {
  const piece = Buffer.alloc(64 * 1024);
  let drained = true;
  socket.on('drain', () => {
    drained = true;
  });
  while (drained) {
    drained = false;
    while (socket.write(piece));
    for (let look = 0; look < 10 && !drained; look += 1) await sleep(quietMs / 10);
  }
}
