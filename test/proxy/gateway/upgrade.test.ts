import { describe, expect, it } from 'vitest';
import { RawServer } from '../../support/raw-server.ts';
import { atEnd, RawClient, rawUpstream, startGateway } from './support.ts';

const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n';
const GET = 'GET / HTTP/1.1\r\nHost: m\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** A request for WebSocket, with more header lines. */
function upgrade(lines = '', version = '1.1'): string {
  return `GET /chat HTTP/${version}\r\nHost: m\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${lines}\r\n`;
}

describe('an upgrade that announces a body', () => {
  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';
  const disguise = `POST /victim HTTP/1.1\r\nHost: m\r\nContent-Length: ${smuggled.length}\r\nConnection: keep-alive\r\n\r\n`;

  it('and sends none takes no request of others for it: none is smuggled', async () => {
    const heads: string[] = [];
    // A target that answers a head at once, reads the body that it announced, and then the next head.
    const port = await rawUpstream((socket) => {
      let text = '';
      let body = 0;
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1');
        for (;;) {
          const skipped = Math.min(body, text.length);
          text = text.slice(skipped);
          body -= skipped;
          const end = text.indexOf('\r\n\r\n');
          if (body > 0 || end < 0) return;
          const head = text.slice(0, end);
          text = text.slice(end + 4);
          body = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
          heads.push(head.split(' ', 2).join(' '));
          socket.write(OK);
        }
      });
    });
    const gateway = await startGateway(port, { websocket: true });
    const attacker = await RawClient.connect(gateway.port);
    attacker.send(upgrade(`Content-Length: ${disguise.length}\r\n`));
    await attacker.read(/ok$/);
    const victim = await RawClient.connect(gateway.port);
    victim.send(`POST /victim HTTP/1.1\r\nHost: m\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`);
    await victim.read(/ok$/);
    expect(heads).toEqual(['GET /chat', 'POST /victim']);
  });

  it.each([
    ['of a length', 'Content-Length: 4\r\n', 'body'],
    ['in chunks', 'Transfer-Encoding: chunked\r\n', '4\r\nbody\r\n0\r\n\r\n'],
  ])('%s is the ordinary request that it also is', async (_, framing, body) => {
    const upstream = await RawServer.start();
    atEnd(() => upstream.close());
    const gateway = await startGateway(upstream.port, { websocket: true });
    const client = await RawClient.connect(gateway.port);
    client.send(`${upgrade(framing)}${body}`);
    await client.read(/ok$/);
    client.send(GET);
    await client.read(/ok$/);
    expect(upstream.requests.map(({ body: read }) => read.toString())).toEqual(['body', '']);
    expect(upstream.requests[0]?.head.toString()).not.toMatch(/^upgrade:/im);
  });

  it('of no bytes is an upgrade; one in HTTP/1.0, which knows none, is not', async () => {
    const port = await rawUpstream((socket) => {
      socket.on('data', (chunk) => socket.write(/^upgrade:/im.test(String(chunk)) ? SWITCH : OK));
    });
    const gateway = await startGateway(port, { websocket: true });
    const [modern, old] = [await RawClient.connect(gateway.port), await RawClient.connect(gateway.port)];
    modern.send(upgrade('Content-Length: 0\r\n'));
    await modern.read(/^HTTP\/1\.1 101 /);
    old.send(upgrade('', '1.0'));
    await old.read(/^HTTP\/1\.1 200 /);
  });
});

describe('an upgrade that is declined', () => {
  it('leaves no connection behind that another request is sent on', async () => {
    const byConnection: number[] = [];
    const port = await rawUpstream((socket, nth) => {
      socket.on('data', () => {
        byConnection.push(nth);
        socket.write(OK);
      });
    });
    const gateway = await startGateway(port, { websocket: true, freeSocketMs: 10_000 });
    for (const text of [GET, upgrade(), GET]) {
      const client = await RawClient.connect(gateway.port);
      client.send(text);
      await client.read(/ok$/);
    }
    // Nor is it sent on one that others use: the first is free all the time.
    expect(byConnection).toEqual([0, 1, 0]);
  });
});
