import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { describe, expect, it, vi } from 'vitest';
import { readProxyHeader, writeProxyHeader } from '../../../src/proxy/net/proxy-protocol.ts';
import { Border } from '../../../src/proxy/tap/border.ts';
import { LOCAL_CERTIFICATE_KEY_PEM, LOCAL_CERTIFICATE_PEM } from '../../support/certificate.ts';
import { afterwards } from '../../support/leftovers.ts';
import { mountedSecret } from '../../support/mounted-secret.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import {
  client,
  everything,
  failure,
  local,
  portOf,
  startWire,
  upstreamServer,
} from '../../support/wire-stage.ts';
import { shorten } from '../shorten.ts';

const HEADER = {
  source: { host: '203.0.113.9', port: 4_711 },
  destination: { host: '192.0.2.1', port: 443 },
};
const REQUEST = 'GET /v2/health/ready HTTP/1.1\r\n\r\n';

/** An upstream that answers with what it was sent, once that has ended. */
async function echo(): Promise<number> {
  return await upstreamServer(async (socket) => void socket.end(await everything(socket)));
}

/** What the recorder is told of where connections come from. */
function origins() {
  const open = vi.spyOn(Border.prototype, 'open');
  afterwards(() => open.mockRestore());
  return open;
}

describe('a wire that takes PROXY protocol headers', () => {
  it.each(['v1', 'v2'] as const)(
    'knows a client by its %s header, and passes on what follows',
    async (version) => {
      const open = origins();
      const wire = await startWire({ target: local(await echo()), acceptProxyProtocol: true });
      const socket = await client(wire.port);
      socket.end(Buffer.concat([writeProxyHeader(version, HEADER), Buffer.from(REQUEST)]));
      expect((await everything(socket)).toString()).toBe(REQUEST);
      expect(open).toHaveBeenCalledWith({ peer: '203.0.113.9', pair: 0, clientConnection: null });
      expect(wire.ledger.read().seen.bytes).toBe(2 * REQUEST.length);
    },
  );

  it('takes a header in pieces, before traffic that is yet to come', async () => {
    const wire = await startWire({ target: local(await echo()), acceptProxyProtocol: true });
    const socket = await client(wire.port);
    for (const byte of writeProxyHeader('v2', HEADER)) {
      socket.write(Buffer.from([byte]));
      await sleep(1);
    }
    await sleep(20);
    socket.end(REQUEST);
    expect((await everything(socket)).toString()).toBe(REQUEST);
  });

  it('knows a client by its socket where the header names nobody', async () => {
    const open = origins();
    const wire = await startWire({ target: local(await echo()), acceptProxyProtocol: true });
    const socket = await client(wire.port);
    socket.end(`PROXY UNKNOWN\r\n${REQUEST}`);
    expect((await everything(socket)).toString()).toBe(REQUEST);
    expect(open).toHaveBeenCalledWith({ peer: '127.0.0.1', pair: 0, clientConnection: null });
  });

  it('sends away and counts who begins with anything else, stops half way, or takes too long', async () => {
    const accepted: Socket[] = [];
    const port = await upstreamServer((socket) => accepted.push(socket));
    const wire = await startWire({ target: local(port), acceptProxyProtocol: true });
    const looking = (await client(wire.port)).resume();
    looking.end();
    await once(looking, 'end');
    shorten('proxyHeaderMs', 100);
    const ends: Promise<unknown>[] = [];
    for (const [text, ending] of [[REQUEST], ['PROXY TCP4 192.0', true], ['PROXY']] as const) {
      const socket = (await client(wire.port)).resume();
      ends.push(Promise.race([once(socket, 'end'), failure(socket)]));
      socket.write(text);
      if (ending) socket.end();
    }
    await Promise.all(ends);
    while (wire.forwarder.connections.open > 0) await sleep(5);
    expect(wire.forwarder.connections).toEqual({ open: 0, turnedAway: 0, failed: { proxy_header: 3 } });
    expect(accepted).toHaveLength(0);
  });

  it('takes it before TLS', async () => {
    const open = origins();
    const options = { listen: local(0, true), target: local(await echo()), acceptProxyProtocol: true };
    const wire = await startWire({ ...options, tls: mountedSecret() });
    const socket = await client(wire.port);
    socket.write(writeProxyHeader('v1', HEADER));
    const stream = connectTls({ socket, ca: LOCAL_CERTIFICATE_PEM, servername: 'localhost' });
    stream.end(REQUEST);
    expect((await everything(stream)).toString()).toBe(REQUEST);
    expect(open).toHaveBeenCalledWith({ peer: '203.0.113.9', pair: 0, clientConnection: null });
  });
});

describe('a wire that sends PROXY protocol headers', () => {
  it.each(['v1', 'v2'] as const)('says in %s who the client is, before anything else', async (version) => {
    const wire = await startWire({ target: local(await echo()), sendProxyProtocol: version });
    const socket = await client(wire.port);
    const { localPort } = socket;
    socket.end(REQUEST);
    const received = await everything(socket);
    const reading = readProxyHeader(received);
    expect(reading).toMatchObject({
      kind: 'whole',
      header: {
        source: { host: '127.0.0.1', port: localPort },
        destination: { host: '127.0.0.1', port: wire.port },
      },
    });
    expect(received.toString().endsWith(REQUEST)).toBe(true);
    // The header is ours: the recorder sees what the client said, and what came back.
    expect(wire.ledger.read().seen.bytes).toBe(REQUEST.length + received.length);
  });

  it('passes on what it was told itself, in the other version', async () => {
    const options = {
      target: local(await echo()),
      acceptProxyProtocol: true,
      sendProxyProtocol: 'v1',
    } as const;
    const wire = await startWire(options);
    const socket = await client(wire.port);
    socket.end(Buffer.concat([writeProxyHeader('v2', HEADER), Buffer.from(REQUEST)]));
    expect((await everything(socket)).toString()).toBe(
      `PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n${REQUEST}`,
    );
  });

  it('says it before TLS begins', async () => {
    const streams: Promise<Buffer>[] = [];
    const inner = createTlsServer(
      { cert: LOCAL_CERTIFICATE_PEM, key: LOCAL_CERTIFICATE_KEY_PEM },
      (stream: TLSSocket) => streams.push(everything(stream)),
    );
    const port = await upstreamServer((socket) =>
      socket.once('data', (chunk) => {
        const reading = readProxyHeader(chunk);
        if (reading.kind !== 'whole') throw new Error(reading.kind);
        socket.pause();
        socket.unshift(chunk.subarray(reading.bytes));
        inner.emit('connection', socket);
      }),
    );
    const upstreamTls = { caPath: null, serverName: null, verify: false };
    const wire = await startWire({ target: local(port, true), upstreamTls, sendProxyProtocol: 'v1' });
    (await client(wire.port)).end(REQUEST);
    while (streams.length < 1) await sleep(5);
    expect((await streams[0])?.toString()).toBe(REQUEST);
  });
});

describe('several pairs in one process', () => {
  it('are told apart, on IPv4, IPv6 and unix sockets', async () => {
    const open = origins();
    const directory = temporaryDirectory();
    const answer = (text: string) => (socket: Socket) =>
      void socket.resume().on('end', () => socket.end(text));
    const first = local(await upstreamServer(answer('first')));
    await upstreamServer(answer('second'), `${directory}/model.sock`);
    const second = { kind: 'unix', path: `${directory}/model.sock` } as const;
    const ipv6 = { kind: 'tcp', host: '::1', port: 0, tls: false } as const;
    const unix = { kind: 'unix', path: `${directory}/reprise.sock` } as const;
    const wire = await startWire({
      pairs: [
        { listen: local(), target: first },
        { listen: ipv6, target: second },
        { listen: unix, target: first },
      ],
    });
    const clients = [
      await client(wire.port),
      await client({ host: '::1', port: portOf(wire.bound[1]) }),
      await client({ path: unix.path }),
    ];
    const answers = clients.map(async (socket) => (await everything(socket)).toString());
    for (const socket of clients) socket.end();
    expect(await Promise.all(answers)).toEqual(['first', 'second', 'first']);
    expect(open.mock.calls.map(([origin]) => origin)).toEqual([
      { peer: '127.0.0.1', pair: 0, clientConnection: null },
      { peer: '::1', pair: 1, clientConnection: null },
      { peer: null, pair: 2, clientConnection: null },
    ]);
  });

  it('are listened on together or not at all', async () => {
    const taken = local(await echo());
    // A path is free until we listen on it; a port that was free may be another's by then.
    const free = { kind: 'unix', path: `${temporaryDirectory()}/reprise.sock` } as const;
    const pairs = [
      { listen: free, target: taken },
      { listen: taken, target: taken },
    ];
    await expect(startWire({ pairs })).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
    await expect(client({ path: free.path })).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('hear of a unix peer that goes away, with all it had said', async () => {
    const path = `${temporaryDirectory()}/model.sock`;
    const answer = Buffer.alloc(3_000_000, 'answer');
    await upstreamServer((socket) => socket.end(answer, () => socket.destroy()), path);
    const wire = await startWire({ target: { kind: 'unix', path } });
    const socket = await client(wire.port);
    await sleep(400);
    const received = await everything(socket);
    expect(received.equals(answer)).toBe(true);
    socket.end();
    while (wire.forwarder.connections.open > 0) await sleep(5);
  });
});
