import { describe, expect, it } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import { ask, RawClient, rawUpstream, startGateway, until } from './support.ts';

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
        await until(() => open === 0, 500);
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
});
