import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import { ask, RawClient, rawUpstream, startGateway, until } from './support.ts';

const HOST = 'Host: m\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** A gateway in front of an upstream that answers any bytes with `text`. */
async function answering(text: string, then: 'stay' | 'end' = 'stay') {
  const port = await rawUpstream((socket) => {
    socket.on('data', () => {
      socket.write(text, 'latin1');
      if (then === 'end') socket.end();
    });
  });
  return await startGateway(port);
}

describe('an answer that unguarded proxies die of', () => {
  it.each([
    ['status 099', 'HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n'],
    ['status 000', 'HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n'],
    ['status 999', 'HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n'],
    ['a control byte in the reason', 'HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n'],
    [
      'another protocol that nobody asked for',
      'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    ],
    ['garbage', '\x16\x03\x01\x02\x00 not http'],
    [
      'a coding that nobody can take off again',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    ],
    [
      'a length beside chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
  ])('%s is a 502', async (_, text) => {
    const gateway = await answering(text);
    expect(await ask(gateway.port, `GET / HTTP/1.1\r\n${HOST}\r\n`)).toMatch(/^HTTP\/1\.1 502 /);
    expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
  });

  it('bytes past the length reach nobody', async () => {
    const gateway = await answering(`${OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`);
    const client = await RawClient.connect(gateway.port);
    for (let turn = 0; turn < 3; turn += 1) {
      client.send(`GET /${turn} HTTP/1.1\r\n${HOST}\r\n`);
      expect(await client.read(/\r\n\r\n(ok|evil)/)).toMatch(/ok$/);
      await sleep(20);
    }
  });

  it('a second answer on an idle connection is not given to the next request', async () => {
    const asked: Socket[] = [];
    const port = await rawUpstream((socket) => {
      socket.on('data', () => {
        asked.push(socket);
        socket.write(OK);
      });
    });
    const gateway = await startGateway(port);
    const client = await RawClient.connect(gateway.port);
    for (let turn = 0; turn < 5; turn += 1) {
      client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
      expect(await client.read(/\r\n\r\n(ok|evil)/)).toMatch(/ok$/);
      expect(asked).toHaveLength(turn + 1);
      const target = asked[turn] as Socket;
      target.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil');
      await until(() => target.destroyed);
    }
  });

  it('an answer without a length ends where the upstream ended it, and is cut where it was cut', async () => {
    const whole = await answering('HTTP/1.1 200 OK\r\n\r\nall of it', 'end');
    expect(await ask(whole.port, `GET / HTTP/1.1\r\n${HOST}\r\n`)).toMatch(/9\r\nall of it\r\n0\r\n\r\n$/);
    await whole.settle();
    expect(whole.sink.exchanges[0]).toMatchObject({ outcome: 'completed' });
    expect(await ask(whole.port, `GET / HTTP/1.0\r\n${HOST}\r\n`)).toMatch(/\r\n\r\nall of it$/);
  });

  it('an upstream that dies in an answer without a length towards HTTP/1.0 is a reset, not an end', async () => {
    const asked = Promise.withResolvers<Socket>();
    const port = await rawUpstream((socket) => {
      socket.on('data', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\nhalf');
        asked.resolve(socket);
      });
    });
    const gateway = await startGateway(port);
    const client = await RawClient.connect(gateway.port);
    client.send(`GET / HTTP/1.0\r\n${HOST}\r\n`);
    await client.read(/half$/);
    (await asked.promise).resetAndDestroy();
    expect(await client.closed).toBe('reset');
  });

  it('HEAD, 204 and 304 have no body, whatever their heads say', async () => {
    for (const [method, status, head] of [
      ['HEAD', '200 OK', 'Content-Length: 10'],
      ['HEAD', '200 OK', 'Transfer-Encoding: chunked'],
      ['GET', '204 No Content', 'X: y'],
      ['GET', '304 Not Modified', 'Content-Length: 10'],
    ]) {
      const gateway = await answering(`HTTP/1.1 ${status}\r\n${head}\r\n\r\n`);
      const client = await RawClient.connect(gateway.port);
      for (let turn = 0; turn < 2; turn += 1) {
        client.send(`${method} / HTTP/1.1\r\n${HOST}\r\n`);
        expect(await client.read(/\r\n\r\n$/)).toContain(`HTTP/1.1 ${status}\r\n${head}\r\n`);
      }
      client.socket.destroy();
      await gateway.settle();
      expect(gateway.sink.exchanges.map(({ outcome }) => outcome)).toEqual(['completed', 'completed']);
    }
  });

  it('an upstream that answers early and stops reading costs the client neither the answer nor the connection', async () => {
    const port = await rawUpstream((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
        setTimeout(() => socket.resetAndDestroy(), 10);
      });
    });
    const gateway = await startGateway(port);
    const client = await RawClient.connect(gateway.port);
    client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: 400000\r\n\r\n${'x'.repeat(100_000)}`);
    await client.read(/413 Too Large[\s\S]*\r\n\r\n/);
    await sleep(50);
    client.send('x'.repeat(300_000));
    client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: 1\r\n\r\nx`);
    await client.read(/413 Too Large/);
  });
});
