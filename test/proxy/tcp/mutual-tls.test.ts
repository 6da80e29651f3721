import { once } from 'node:events';
import { request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type ConnectionOptions,
  connect as connectTls,
  createServer as createTlsServer,
  type TLSSocket,
} from 'node:tls';
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
import { afterwards } from '../../support/leftovers.ts';
import { mountedSecret } from '../../support/mounted-secret.ts';
import { startRecordedWire } from '../../support/recorded-wire.ts';
import { caFile, tlsClient, tlsUpstream, VERIFIED } from '../../support/tls-stage.ts';
import { client, everything, failure, local, startWire, upstreamServer } from '../../support/wire-stage.ts';
import { startGateway } from '../http/support.ts';
import { shorten } from '../shorten.ts';

/** The certificate for `models.invalid` is that of clients; its own authority signed it. */
const KNOWN = { cert: CERTIFICATE_PEM, key: CERTIFICATE_KEY_PEM };
const STRANGER = { cert: LOCAL_CERTIFICATE_PEM, key: LOCAL_CERTIFICATE_KEY_PEM };
const DEMANDING = { requestCert: true, ca: CERTIFICATE_PEM };

const listenerTls = () => ({ ...mountedSecret(), clientCaPath: caFile(CERTIFICATE_PEM) });

function shown({ cert, key }: typeof KNOWN) {
  const { certPath, keyPath } = mountedSecret(cert, key);
  return { ...VERIFIED(), client: { certPath, keyPath } };
}

/** What a client gets that begins a connection: the bytes of an echo, or how it ended. */
async function echoed(port: number, options: ConnectionOptions): Promise<string> {
  const stream = connectTls({ port, host: '127.0.0.1', ca: LOCAL_CERTIFICATE_PEM, ...options });
  afterwards(() => stream.destroy());
  const broken = failure(stream).then(({ code }) => code ?? 'error');
  const ended = once(stream, 'end').then(() => 'ended');
  stream.write('echo');
  return Promise.race([once(stream, 'data').then(([bytes]) => String(bytes)), broken, ended]);
}

describe('client certificates at the listener', () => {
  it('let in who shows one, count who does not, and leave other clients alone', async () => {
    const port = await upstreamServer((socket) => socket.pipe(socket));
    const wire = await startWire({ listen: local(0, true), target: local(port), tls: listenerTls() });
    const standing = await tlsClient(wire.port, KNOWN);
    standing.write('1');
    expect(String((await once(standing, 'data'))[0])).toBe('1');
    const refused = [];
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      expect(await echoed(wire.port, { ...KNOWN, maxVersion, servername: 'localhost' })).toBe('echo');
      for (const wrong of [{}, STRANGER])
        refused.push(await echoed(wire.port, { ...wrong, maxVersion, servername: 'localhost' }));
    }
    expect(refused).not.toContain('echo');
    standing.write('2');
    expect(String((await once(standing, 'data'))[0])).toBe('2');
    expect(wire.forwarder.connections.failed).toEqual({ client_certificate: 4 });
    expect(wire.ledger.read().connections).toBe(3);
  });

  it('are remembered by a client that resumes its session', async () => {
    const port = await upstreamServer((socket) => socket.pipe(socket));
    const wire = await startWire({ listen: local(0, true), target: local(port), tls: listenerTls() });
    const first = connectTls({
      port: wire.port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: LOCAL_CERTIFICATE_PEM,
      ...KNOWN,
    });
    afterwards(() => first.destroy());
    const [session] = (await once(first, 'session')) as [Buffer];
    const again = await tlsClient(wire.port, { ...KNOWN, session });
    expect(again.isSessionReused()).toBe(true);
    again.write('echo');
    expect(String((await once(again, 'data'))[0])).toBe('echo');
    expect(wire.forwarder.connections.failed).toEqual({});
  });

  it('are shown on both sides of a recorder of gRPC and of HTTP/1.1, and nothing of them is recorded', async () => {
    const grpc = await echoServer({ ...STRANGER, ...DEMANDING });
    const plain = await tlsUpstream(
      (stream) => {
        stream.once('data', () => stream.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
      },
      LOCAL_CERTIFICATE_KEY_PEM,
      DEMANDING,
    );
    const recorded = [];
    for (const [port, isGrpc] of [
      [grpc, true],
      [plain.port, false],
    ] as const) {
      const wire = await startRecordedWire({
        listen: local(0, true),
        target: local(port, true),
        tls: listenerTls(),
        upstreamTls: shown(KNOWN),
      });
      if (isGrpc) {
        const session = await http2Session(wire.port, LOCAL_CERTIFICATE_PEM, KNOWN);
        expect(await callOnce(session, grpcMessage('a tensor'))).toEqual(grpcMessage('a tensor'));
        session.close();
      } else {
        const stream = await tlsClient(wire.port, KNOWN);
        stream.end('GET /v2 HTTP/1.1\r\nHost: m\r\n\r\n');
        expect(String(await everything(stream))).toContain('200 OK');
      }
      await wire.settled();
      recorded.push(...wire.sink.exchanges);
    }
    expect(recorded.map(({ protocol, outcome }) => [protocol, outcome])).toEqual([
      ['h2', 'completed'],
      ['http/1.1', 'completed'],
    ]);
    const text = JSON.stringify(recorded, (_, value) =>
      value?.type === 'Buffer' ? Buffer.from(value.data).toString('latin1') : value,
    );
    expect(text).toContain('a tensor');
    expect(text).not.toContain(CERTIFICATE_NAME);
  });

  it('hold at the gateway too', async () => {
    const port = await upstreamServer((socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
    });
    const gateway = await startGateway(port, {
      pairs: [{ listen: local(0, true), target: local(port) }],
      tls: listenerTls(),
    });
    const asked = async (certificate: Partial<typeof KNOWN>) => {
      const at = {
        port: gateway.port,
        host: '127.0.0.1',
        servername: 'localhost',
        ca: LOCAL_CERTIFICATE_PEM,
      };
      const request = httpsRequest({ ...at, ...certificate, agent: false });
      request.end();
      const answered = once(request, 'response').then(([{ statusCode }]) => statusCode);
      return Promise.race([answered, once(request, 'error').then(() => 'refused')]).catch(() => 'refused');
    };
    expect([await asked({}), await asked(STRANGER), await asked(KNOWN)]).toEqual(['refused', 'refused', 200]);
    while ((gateway.gateway.connections.failed?.client_certificate ?? 0) < 2) await sleep(5);
    expect(gateway.gateway.connections.failed).toEqual({ client_certificate: 2 });
  });

  it.each([
    ['a missing file', '/nowhere/ca.pem', 'ENOENT.*/nowhere/ca.pem'],
    ['one without a certificate', caFile('nothing'), 'holds no certificate'],
  ])('%s stops the start', async (_, clientCaPath, reason) => {
    const started = startWire({ listen: local(0, true), tls: { ...mountedSecret(), clientCaPath } });
    await expect(started).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(new RegExp(`^--listen-tls: .*${reason}`)),
    });
  });
});

describe('a client certificate for the upstream', () => {
  it.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'is shown by %s; who gets none is counted and told why',
    async (maxVersion) => {
      const { port } = await tlsUpstream(
        (stream: TLSSocket) => void stream.end('in'),
        LOCAL_CERTIFICATE_KEY_PEM,
        { ...DEMANDING, maxVersion },
      );
      const admitted = await startWire({ target: local(port, true), upstreamTls: shown(KNOWN) });
      expect(String(await everything(await client(admitted.port)))).toBe('in');
      const without = await startWire({ target: local(port, true), upstreamTls: VERIFIED(), refused: '502' });
      const turned = await client(without.port);
      turned.write('GET / HTTP/1.1\r\n\r\n');
      expect(String(await everything(turned))).toMatch(/^HTTP\/1.1 502/);
      expect(without.forwarder.connections.failed).toEqual({ upstream_tls: 1 });
      expect(without.notices).toMatchObject([
        { fields: { code: expect.stringMatching(/^ERR_SSL_.*ALERT|ECONNRESET/) } },
      ]);
    },
  );

  it('is read again when it was replaced', async () => {
    shorten('certificateCheckMs', 20);
    const seen: (string | undefined)[] = [];
    const server = createTlsServer(
      { ...STRANGER, requestCert: true, rejectUnauthorized: false },
      (stream) => {
        seen.push(stream.getPeerX509Certificate()?.subject);
        stream.end('in');
      },
    ).listen(0, '127.0.0.1');
    afterwards(() => server.close());
    await once(server, 'listening');
    const files = mountedSecret(STRANGER.cert, STRANGER.key);
    const wire = await startWire({
      target: local((server.address() as { port: number }).port, true),
      upstreamTls: { ...VERIFIED(), client: files },
    });
    await everything(await client(wire.port));
    files.replace(KNOWN.cert, KNOWN.key);
    while (wire.notices.length < 1) await sleep(5);
    await everything(await client(wire.port));
    expect(seen).toEqual([expect.not.stringContaining(CERTIFICATE_NAME), `CN=${CERTIFICATE_NAME}`]);
  });

  it('does not start with a key of another certificate', async () => {
    const started = startWire({
      target: local(9, true),
      upstreamTls: shown({ ...KNOWN, key: STRANGER.key }),
    });
    await expect(started).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(/^--target-tls: .*does not belong to the certificate/),
    });
  });
});
