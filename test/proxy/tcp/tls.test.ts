import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { describe, expect, it } from 'vitest';
import {
  CERTIFICATE_KEY_PEM,
  CERTIFICATE_NAME,
  CERTIFICATE_PEM,
  LOCAL_CERTIFICATE_KEY_PEM,
  LOCAL_CERTIFICATE_PEM,
} from '../../support/certificate.ts';
import { grpcMessage } from '../../support/grpc.ts';
import { callOnce, echoServer, http2Session } from '../../support/http2-calls.ts';
import { mountedSecret } from '../../support/mounted-secret.ts';
import { standstillOf } from '../../support/readings.ts';
import { startRecordedWire } from '../../support/recorded-wire.ts';
import { caFile, tlsClient, tlsUpstream, VERIFIED } from '../../support/tls-stage.ts';
import { client, everything, failure, local, startWire, upstreamServer } from '../../support/wire-stage.ts';
import { shorten } from '../shorten.ts';

describe('TLS at the listener', () => {
  it('ends here: the upstream gets the bytes, and the client what it answers, both with their ends', async () => {
    const request = randomBytes(5_000_000);
    const answer = randomBytes(5_000_000);
    const port = await upstreamServer(async (socket) => {
      const received = await everything(socket);
      socket.end(received.equals(request) ? answer : 'other bytes');
    });
    const wire = await startWire({ listen: local(0, true), target: local(port), tls: mountedSecret() });
    const stream = await tlsClient(wire.port);
    stream.end(request);
    expect((await everything(stream)).equals(answer)).toBe(true);
    expect(wire.ledger.read().seen.bytes).toBe(request.length + answer.length);
  });

  it('passes the reset of a client on, and the reset of an upstream', async () => {
    const accepted: Socket[] = [];
    const port = await upstreamServer((socket) => accepted.push(socket));
    const wire = await startWire({ listen: local(0, true), target: local(port), tls: mountedSecret() });
    const raw = await client(wire.port);
    const leaving = connectTls({ socket: raw, ca: LOCAL_CERTIFICATE_PEM, servername: 'localhost' });
    leaving.on('error', () => undefined).write('hello');
    while (accepted.length < 1) await sleep(5);
    await once(accepted[0] as Socket, 'data');
    const upstreamTold = failure(accepted[0] as Socket);
    raw.resetAndDestroy();
    expect((await upstreamTold).code).toBe('ECONNRESET');
    const staying = (await tlsClient(wire.port)).resume();
    while (accepted.length < 2) await sleep(5);
    const clientTold = failure(staying);
    accepted[1]?.resetAndDestroy();
    expect((await clientTold).code).toBe('ECONNRESET');
    while (wire.forwarder.connections.open > 0) await sleep(5);
  });

  it('hears of a client that resets an upload which the upstream does not read', async () => {
    const accepted: Socket[] = [];
    const port = await upstreamServer((socket) => accepted.push(socket.pause()));
    const wire = await startWire({ listen: local(0, true), target: local(port), tls: mountedSecret() });
    const raw = await client(wire.port);
    const stream = connectTls({ socket: raw, ca: LOCAL_CERTIFICATE_PEM, servername: 'localhost' });
    stream.on('error', () => undefined).write(Buffer.alloc(64 * 1024 * 1024));
    while (accepted.length === 0) await sleep(5);
    const upstream = accepted[0] as Socket;
    await standstillOf(() => raw.bytesWritten - raw.writableLength);
    const told = failure(upstream);
    raw.resetAndDestroy();
    // As long as it is not read from, only that the client is asked can tell.
    while (wire.forwarder.connections.open > 0) await sleep(5);
    // Node 22 may tell a reset as an end; whoever writes then hears what it was.
    upstream.resume().on('end', () => upstream.write(''));
    expect((await told).code).toMatch(/ECONNRESET|EPIPE/);
  });

  it('agrees on HTTP/1.1 with whoever knows it, and on HTTP/2 with who knows nothing else', async () => {
    const port = await upstreamServer(() => undefined);
    const wire = await startWire({ listen: local(0, true), target: local(port), tls: mountedSecret() });
    const offered = [['h2', 'http/1.1'], ['h2'], undefined];
    const agreed = [];
    for (const ALPNProtocols of offered) {
      agreed.push((await tlsClient(wire.port, ALPNProtocols ? { ALPNProtocols } : {})).alpnProtocol);
    }
    expect(agreed).toEqual(['http/1.1', 'h2', false]);
  });

  it('records the calls of clients that know only HTTP/2, to servers with TLS and without', async () => {
    const secure = { cert: LOCAL_CERTIFICATE_PEM, key: LOCAL_CERTIFICATE_KEY_PEM };
    for (const target of [local(await echoServer()), local(await echoServer(secure), true)]) {
      const wire = await startRecordedWire({
        listen: local(0, true),
        target,
        tls: mountedSecret(),
        upstreamTls: VERIFIED(),
      });
      const session = await http2Session(wire.port, LOCAL_CERTIFICATE_PEM);
      const bodies = [grpcMessage(randomBytes(10)), grpcMessage(randomBytes(300_000))];
      const answers = await Promise.all(bodies.map((body) => callOnce(session, body)));
      expect(answers).toEqual(bodies);
      session.close();
      await wire.settled();
      const recorded = wire.sink.exchanges.map(({ protocol, outcome, grpcStatus, response }) => {
        return [protocol, outcome, grpcStatus, response?.body?.bytes];
      });
      expect(recorded.sort()).toEqual([
        ['h2', 'completed', 0, 15],
        ['h2', 'completed', 0, 300_005],
      ]);
      expect(wire.ledger.read().omitted).toEqual({});
    }
  });

  it('counts a client that speaks none, and one that never goes on; one that only looks is no failure', async () => {
    const port = await upstreamServer(() => undefined);
    const wire = await startWire({ listen: local(0, true), target: local(port), tls: mountedSecret() });
    const looking = await client(wire.port);
    while (wire.forwarder.connections.open < 1) await sleep(5);
    looking.destroy();
    while (wire.forwarder.connections.open > 0) await sleep(5);
    shorten('handshakeMs', 150);
    const plain = await client(wire.port);
    plain.resume().write('GET / HTTP/1.1\r\n\r\n');
    await once(plain, 'end');
    const stalling = await client(wire.port);
    stalling.resume().write(Buffer.from([0x16, 0x03, 0x01]));
    await once(stalling, 'end');
    while (wire.forwarder.connections.open > 0) await sleep(5);
    expect(wire.forwarder.connections).toEqual({ open: 0, turnedAway: 0, failed: { tls_handshake: 2 } });
    expect(wire.ledger.read().connections).toBe(0);
  });

  it('takes a replaced certificate for new connections, and keeps the old one for those that stand', async () => {
    shorten('certificateCheckMs', 20);
    const port = await upstreamServer((socket) => socket.pipe(socket));
    const files = mountedSecret();
    const wire = await startWire({ listen: local(0, true), target: local(port), tls: files });
    const standing = await tlsClient(wire.port);
    files.replace(CERTIFICATE_PEM, 'half a key');
    while (wire.notices.length < 1) await sleep(5);
    expect(wire.notices[0]).toMatchObject({
      level: 'error',
      message: expect.stringContaining('the old ones stay in use'),
    });
    await tlsClient(wire.port);
    files.replace(CERTIFICATE_PEM, CERTIFICATE_KEY_PEM);
    while (wire.notices.length < 2) await sleep(5);
    expect(wire.notices[1]).toMatchObject({ level: 'info' });
    await tlsClient(wire.port, { ca: CERTIFICATE_PEM, servername: CERTIFICATE_NAME });
    standing.write('still here');
    expect(String((await once(standing, 'data'))[0])).toBe('still here');
    expect(wire.notices).toHaveLength(2);
  });

  it.each([
    [
      'of another certificate',
      CERTIFICATE_PEM,
      LOCAL_CERTIFICATE_KEY_PEM,
      'does not belong to the certificate',
    ],
    ['that is none', CERTIFICATE_PEM, 'no key', 'holds no private key that can be read'],
    ['beside no certificate', CERTIFICATE_KEY_PEM, CERTIFICATE_KEY_PEM, 'holds no certificate'],
  ])('does not start with a key %s, and says what is wrong with which file', async (_, cert, key, reason) => {
    const files = mountedSecret(cert, key);
    await expect(startWire({ listen: local(0, true), tls: files })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(new RegExp(`^--listen-tls: .*${reason}`)),
    });
  });
});

describe('TLS to the upstream', () => {
  it('carries the bytes and both ends', async () => {
    const request = randomBytes(3_000_000);
    const answer = randomBytes(3_000_000);
    const { port } = await tlsUpstream(async (stream) => {
      const received = await everything(stream);
      stream.end(received.equals(request) ? answer : 'other bytes');
    });
    const wire = await startWire({ target: local(port, true), upstreamTls: VERIFIED() });
    const socket = await client(wire.port);
    socket.end(request);
    expect((await everything(socket)).equals(answer)).toBe(true);
  });

  it('offers what the client agreed to, or HTTP/1.1', async () => {
    const agreed: (string | false | null)[] = [];
    const { port } = await tlsUpstream((stream) => void agreed.push(stream.alpnProtocol));
    const options = { target: local(port, true), upstreamTls: VERIFIED() };
    const plain = await startWire(options);
    const secure = await startWire({ ...options, listen: local(0, true), tls: mountedSecret() });
    await client(plain.port);
    while (agreed.length < 1) await sleep(5);
    await tlsClient(secure.port, { ALPNProtocols: ['h2'] });
    while (agreed.length < 2) await sleep(5);
    expect(agreed).toEqual(['http/1.1', 'h2']);
  });

  it('verifies the certificate, its name and its age unless told not to', async () => {
    const right = await tlsUpstream((stream) => void stream.end('in'));
    const wrong = await tlsUpstream((stream) => void stream.end('in'), CERTIFICATE_KEY_PEM);
    const cases = [
      { port: right.port, tls: VERIFIED(), answer: 'in' },
      { port: right.port, tls: { ...VERIFIED(), serverName: 'localhost' }, answer: 'in' },
      { port: right.port, tls: { ...VERIFIED(), serverName: 'other.example' }, answer: '502' },
      { port: right.port, tls: null, answer: '502' },
      { port: wrong.port, tls: VERIFIED(), answer: '502' },
      {
        port: wrong.port,
        tls: { caPath: caFile(CERTIFICATE_PEM), serverName: CERTIFICATE_NAME, verify: true },
        answer: 'in',
      },
      { port: wrong.port, tls: { caPath: null, serverName: null, verify: false }, answer: 'in' },
    ];
    const answers = [];
    for (const { port, tls } of cases) {
      const wire = await startWire({ target: local(port, true), upstreamTls: tls, refused: '502' });
      const socket = await client(wire.port);
      socket.write('GET / HTTP/1.1\r\n\r\n');
      const answer = (await everything(socket)).toString();
      answers.push(answer.startsWith('HTTP/1.1 502') ? '502' : answer);
      expect(wire.forwarder.connections.failed).toEqual(answer === 'in' ? {} : { upstream_tls: 1 });
    }
    expect(answers).toEqual(cases.map(({ answer }) => answer));
  });

  const mute = () => upstreamServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  it.each([
    [
      'whose certificate nobody trusts',
      async () => (await tlsUpstream(() => undefined)).port,
      /SELF_SIGNED_CERT/,
    ],
    ['that speaks none', mute, /^ERR_SSL_/],
  ])('says once why clients of an upstream %s are turned away', async (_, upstream, code) => {
    const port = await upstream();
    for (const [refused, clientsAre] of [
      ['reset', 'reset'],
      ['502', 'answered 502'],
    ] as const) {
      const wire = await startWire({ target: local(port, true), refused });
      for (let nth = 0; nth < 3; nth += 1) {
        const socket = await client(wire.port);
        socket.resume().write('GET / HTTP/1.1\r\n\r\n');
        await once(socket, refused === '502' ? 'end' : 'close').catch(() => undefined);
        socket.destroy();
      }
      while (wire.forwarder.connections.open > 0) await sleep(5);
      expect(wire.forwarder.connections.failed).toEqual({ upstream_tls: 3 });
      expect(wire.notices).toEqual([
        {
          level: 'error',
          message: `no TLS connection to the upstream; clients are ${clientsAre}`,
          fields: {
            target: `https://127.0.0.1:${port}`,
            code: expect.stringMatching(code),
            reason: expect.any(String),
          },
        },
      ]);
    }
  });

  it('gives up on a handshake that never ends', async () => {
    shorten('connectMs', 150);
    const port = await upstreamServer((socket) => socket.resume());
    const wire = await startWire({ target: local(port, true), upstreamTls: VERIFIED() });
    const socket = await client(wire.port);
    expect((await failure(socket)).code).toBe('ECONNRESET');
    expect(wire.forwarder.connections.failed).toEqual({ upstream_timeout: 1 });
  });

  it('passes resets on in both directions', async () => {
    const streams: TLSSocket[] = [];
    const { port, raw } = await tlsUpstream((stream) => streams.push(stream.resume()));
    const wire = await startWire({ target: local(port, true), upstreamTls: VERIFIED() });
    const leaving = await client(wire.port);
    while (streams.length < 1) await sleep(5);
    const upstreamTold = failure(streams[0] as TLSSocket);
    leaving.resetAndDestroy();
    expect((await upstreamTold).code).toBe('ECONNRESET');
    const staying = (await client(wire.port)).resume();
    while (streams.length < 2) await sleep(5);
    const clientTold = failure(staying);
    [...raw][1]?.resetAndDestroy();
    expect((await clientTold).code).toBe('ECONNRESET');
  });

  it('is a bystander to a client that comes and goes before the handshake is over', async () => {
    const { port } = await tlsUpstream((stream) => void stream.resume().on('end', () => stream.end()));
    const wire = await startWire({ target: local(port, true), upstreamTls: VERIFIED() });
    (await client(wire.port)).end();
    await sleep(50);
    while (wire.forwarder.connections.open > 0) await sleep(5);
    expect(wire.forwarder.connections.failed).toEqual({});
  });
});
