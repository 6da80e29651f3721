import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer } from 'node:tls';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Notice } from '../../../src/core/ports.ts';
import { connectTimeout, UpstreamNotice } from '../../../src/proxy/net/upstream-notice.ts';
import {
  LOCAL_CERTIFICATE_PEM as cert,
  LOCAL_CERTIFICATE_KEY_PEM as key,
} from '../../support/certificate.ts';
import { DEAD_PORT } from '../../support/free-port.ts';
import { afterwards } from '../../support/leftovers.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { mountedSecret } from '../../support/mounted-secret.ts';
import { client, local, startWire } from '../../support/wire-stage.ts';
import { ask, rawUpstream, startGateway, tcp } from '../http/support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: m\r\n\r\n';
const UPGRADE = 'GET / HTTP/1.1\r\nHost: m\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

async function secureUpstream(): Promise<number> {
  const server = createServer({ cert, key }, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
  }).listen(0);
  await once(server, 'listening');
  afterwards(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function plainUpstream(): Promise<number> {
  return await rawUpstream((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
}

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('an upstream that TLS keeps from being asked', () => {
  const named = (serverName: string) => ({ caPath: mountedSecret().certPath, serverName, verify: true });
  const WAYS: readonly [
    string,
    () => Promise<number>,
    serverName: string | null,
    request: string,
    code: string,
  ][] = [
    ['a certificate that nobody trusts', secureUpstream, null, GET, 'SELF_SIGNED_CERT'],
    ['another name', secureUpstream, 'other', GET, 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['another name, for WebSocket', secureUpstream, 'other', UPGRADE, 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['no TLS', plainUpstream, null, GET, 'ERR_SSL_'],
  ];

  it.each(WAYS)('for %s is told of once, with the reason', async (_, upstream, name, request, code) => {
    const upstreamTls = name === null ? null : named(name);
    const port = await upstream();
    const notices: Notice[] = [];
    const target = { ...tcp(port), tls: true };
    const gateway = await startGateway(
      0,
      { pairs: [{ listen: tcp(0), target }], upstreamTls, websocket: true },
      (notice) => notices.push(notice),
    );
    for (let nth = 0; nth < 3; nth += 1) expect(await ask(gateway.port, request)).toMatch(/^HTTP\/1\.1 502 /);
    expect(gateway.gateway.connections.failed).toEqual({ upstream_tls: 3 });
    expect(notices).toHaveLength(1);
    expect(notices[0]).toMatchObject({
      level: 'error',
      fields: {
        target: `https://127.0.0.1:${port}`,
        code: expect.stringContaining(code),
        reason: expect.any(String),
      },
    });
  });

  it.each([GET, UPGRADE])('is not asked because the environment says to trust anybody', async (request) => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    const target = { ...tcp(await secureUpstream()), tls: true };
    const gateway = await startGateway(0, { pairs: [{ listen: tcp(0), target }], websocket: true });
    expect(await ask(gateway.port, request)).toMatch(/^HTTP\/1\.1 502 /);
  });

  it('is told of again after a minute, and not of what it said to a request', () => {
    const clock = new ManualClock();
    const notices: Notice[] = [];
    const notice = new UpstreamNotice(tcp(1), 'reset', (one) => notices.push(one), clock);
    const failure = (code: string) => Object.assign(new Error('x'.repeat(10_000)), { code });
    for (const code of ['ECONNRESET', 'HPE_INVALID_CONSTANT', 'EMFILE']) notice.look(failure(code));
    expect(notices).toHaveLength(0);
    notice.look(failure('CERT_HAS_EXPIRED'));
    clock.advanceTo(clock.nowNs() + 59e9);
    notice.look(failure('CERT_HAS_EXPIRED'));
    clock.advanceTo(clock.nowNs() + 2e9);
    notice.look(failure('CERT_HAS_EXPIRED'));
    expect(notices.map(({ fields }) => String(fields['reason']).length)).toEqual([300, 300]);
  });
});

describe('a target that refuses connections', () => {
  const WARNING = { level: 'warn', fields: { target: `127.0.0.1:${DEAD_PORT}`, code: 'ECONNREFUSED' } };

  it.each([GET, UPGRADE])('is told of once by a gateway, however many clients it fails', async (request) => {
    const notices: Notice[] = [];
    const pairs = [{ listen: tcp(0), target: tcp(DEAD_PORT) }];
    const gateway = await startGateway(0, { pairs, websocket: true }, (notice) => notices.push(notice));
    for (let nth = 0; nth < 3; nth += 1) expect(await ask(gateway.port, request)).toMatch(/^HTTP\/1\.1 502 /);
    expect(notices).toMatchObject([WARNING]);
  });

  it('is told of once by a wire, also for clients that leave while it is waited for', async () => {
    const wire = await startWire({ target: local(DEAD_PORT), connectRetryMs: 60_000 });
    for (let nth = 0; nth < 3; nth += 1) await client(wire.port);
    while (wire.notices.length === 0 || wire.forwarder.connections.open < 3) await sleep(5);
    expect(wire.notices).toMatchObject([WARNING]);
  });

  it('is told of again after a minute', () => {
    const clock = new ManualClock();
    const notices: Notice[] = [];
    const notice = new UpstreamNotice(tcp(1), 'reset', (one) => notices.push(one), clock);
    for (const afterNs of [0, 59e9, 2e9]) {
      clock.advanceTo(clock.nowNs() + afterNs);
      notice.look(connectTimeout());
    }
    expect(notices.map(({ fields }) => fields['code'])).toEqual(['ETIMEDOUT', 'ETIMEDOUT']);
  });
});
