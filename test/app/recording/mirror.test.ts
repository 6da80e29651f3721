import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import tls from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Mirror } from '../../../src/app/recording/mirror.ts';
import type { ResolveName } from '../../../src/app/recording/mirror-address.ts';
import { MirrorResolver } from '../../../src/app/recording/mirror-address.ts';
import type { MirrorSettings } from '../../../src/app/recording/mirror-options.ts';
import { RECORD_OPTIONS, readRecordOptions } from '../../../src/app/recording/record-options.ts';
import type { MirrorReading } from '../../../src/core/accounting.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { MIRROR } from '../../../src/core/limits.ts';
import { byProgram, type StatedOptions } from '../../../src/core/options.ts';
import { parseEndpoint } from '../../../src/proxy/net/endpoint.ts';
import { CERTIFICATE_KEY_PEM, CERTIFICATE_NAME, CERTIFICATE_PEM } from '../../support/certificate.ts';
import { exchangeOf, requestMessage, responseMessage } from '../../support/exchanges.ts';
import { freePort } from '../../support/free-port.ts';
import { LogBook } from '../../support/log-book.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0)) await end();
});

async function server(listener: RequestListener): Promise<number> {
  const made = createServer(listener).listen(0, '127.0.0.1');
  await once(made, 'listening');
  endings.push(() => {
    made.closeAllConnections();
    made.close();
  });
  return (made.address() as AddressInfo).port;
}

function settingsOf(port: number, parts: Partial<MirrorSettings> = {}): MirrorSettings {
  const endpoint = parseEndpoint(`127.0.0.1:${port}`, '') as MirrorSettings['endpoint'];
  const none = { headers: [], caPem: null, targets: [], listens: [] };
  return { endpoint, share: 1, inFlight: 8, timeoutMs: 60_000, ...none, ...parts };
}

async function mirrorTo(
  port: number,
  parts: Partial<MirrorSettings> = {},
  earlier: MirrorReading | null = null,
): Promise<Mirror> {
  const deps = { sample: 1, life: 'abc123', earlier, clock: systemClock, logger: new LogBook() };
  const mirror = new Mirror({
    ...deps,
    settings: settingsOf(port, parts),
    resolve: async () => ['127.0.0.1'],
  });
  endings.push(() => mirror.close());
  // Its address was compared with the targets.
  await new Promise((resolve) => setImmediate(resolve));
  return mirror;
}

async function settled(mirror: Mirror) {
  while (mirror.reading().inFlight > 0) await new Promise((resolve) => setImmediate(resolve));
  return mirror.reading();
}

describe('a mirror', () => {
  test('sends what the capture may hold, with the marker, and none of its secrets', async () => {
    const seen: { method: string; url: string; headers: IncomingHttpHeaders; body: string }[] = [];
    const port = await server(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body });
      response.end('ok');
    });
    const mirror = await mirrorTo(port, { headers: [['Authorization', 'Bearer of-the-mirror']] });
    const headers = [
      ['Host', 'production'],
      ['authorization', '************'],
      ['Cookie', '*****'],
      ['X-Kept', 'as it was'],
      ['Content-Length', '2'],
    ] as const;
    const request = { ...requestMessage({ headers, body: '{}' }), redacted: ['authorization', 'cookie'] };
    mirror.offer(exchangeOf({ request }));
    expect(await settled(mirror)).toMatchObject({ chosen: 1, answered: 1, otherStatus: 0, inFlight: 0 });
    expect(seen).toEqual([
      {
        method: 'POST',
        url: '/v2/models/resnet/infer',
        body: '{}',
        headers: {
          host: `127.0.0.1:${port}`,
          connection: 'keep-alive',
          'content-length': '2',
          authorization: 'Bearer of-the-mirror',
          'x-kept': 'as it was',
          'x-reprise-run': 'mirror-abc123',
        },
      },
    ]);
  });

  test('speaks TLS to a server it can verify, and to no other', async () => {
    const made = createTlsServer({ key: CERTIFICATE_KEY_PEM, cert: CERTIFICATE_PEM }, (_, response) =>
      response.end(),
    );
    await once(made.listen(0, '127.0.0.1'), 'listening');
    endings.push(() => made.close());
    const { port } = made.address() as AddressInfo;
    const endpoint = { kind: 'tcp', host: CERTIFICATE_NAME, port, tls: true } as const;
    const trusting = await mirrorTo(port, { endpoint, caPem: CERTIFICATE_PEM });
    trusting.offer(exchangeOf());
    expect(await settled(trusting)).toMatchObject({ answered: 1 });
    const doubting = await mirrorTo(port, { endpoint });
    doubting.offer(exchangeOf());
    expect(await settled(doubting)).toMatchObject({ answered: 0, failed: { connect: 1 } });
    made.closeAllConnections();
  });

  test('makes no TLS context for each connection: with a ca that reads all certificates again', async () => {
    const made = createTlsServer({ key: CERTIFICATE_KEY_PEM, cert: CERTIFICATE_PEM }, (_, response) => {
      response.shouldKeepAlive = false;
      response.end();
    });
    await once(made.listen(0, '127.0.0.1'), 'listening');
    endings.push(() => made.close());
    const { port } = made.address() as AddressInfo;
    const endpoint = { kind: 'tcp', host: CERTIFICATE_NAME, port, tls: true } as const;
    const mirror = await mirrorTo(port, { endpoint, caPem: CERTIFICATE_PEM });
    const contexts = vi.spyOn(tls, 'createSecureContext');
    endings.push(() => contexts.mockRestore());
    for (let sent = 0; sent < 3; sent += 1) {
      mirror.offer(exchangeOf());
      await settled(mirror);
    }
    expect(mirror.reading()).toMatchObject({ answered: 3 });
    expect(contexts).not.toHaveBeenCalled();
  });

  test('leaves no listener on a connection that is used again', async () => {
    const port = await server((_, response) => response.end());
    const sockets: Socket[] = [];
    const note = (message: unknown) => sockets.push((message as { socket: Socket }).socket);
    subscribe('net.client.socket', note);
    endings.push(() => unsubscribe('net.client.socket', note));
    const mirror = await mirrorTo(port, { inFlight: 1 });
    for (let sent = 0; sent < 20; sent += 1) {
      mirror.offer(exchangeOf());
      await settled(mirror);
    }
    expect(mirror.reading()).toMatchObject({ answered: 20 });
    expect(sockets).toHaveLength(1);
    expect(sockets[0]?.listenerCount('connect')).toBe(0);
  });

  test('does not hold the answers of production while copies are under way', async () => {
    const mirror = await mirrorTo(await server(() => undefined));
    const exchange = (() => {
      const made = exchangeOf({ response: responseMessage(200, Buffer.alloc(1024)) });
      mirror.offer(made);
      return new WeakRef(made);
    })();
    await new Promise((resolve) => setImmediate(resolve));
    setFlagsFromString('--expose-gc');
    runInNewContext('gc')();
    expect(mirror.reading()).toMatchObject({ inFlight: 1 });
    expect(exchange.deref()).toBeUndefined();
  });

  test('counts other statuses and slower answers', async () => {
    const port = await server((request, response) => {
      response.statusCode = request.url?.endsWith('bad') ? 503 : 200;
      response.end();
    });
    const mirror = await mirrorTo(port);
    const to = (target: string) => ({ request: requestMessage({ target }) });
    mirror.offer(exchangeOf({ ...to('/bad'), firstByteOffsetUs: 0, lastByteOffsetUs: 0 }));
    mirror.offer(exchangeOf({ ...to('/good'), firstByteOffsetUs: 3_600e6, lastByteOffsetUs: 3_600e6 }));
    const { latencyMs, productionSeconds, mirrorSeconds, ...reading } = await settled(mirror);
    expect(reading).toMatchObject({ answered: 2, otherStatus: 1, slower: 1, statuses: { '200 503': 1 } });
    expect(latencyMs.production.p99).toBe(3_600_000);
    expect(latencyMs.mirror.p99).toBeLessThan(3_600_000);
    for (const { counts } of [productionSeconds, mirrorSeconds])
      expect(counts.reduce((sum, count) => sum + count)).toBe(2);
  });

  test('drops what finds no room while its server hangs, and never waits', async () => {
    const waiting: ServerResponse[] = [];
    const port = await server((_, response) => waiting.push(response));
    const mirror = await mirrorTo(port, { inFlight: 3 });
    for (let sent = 0; sent < 10; sent += 1) mirror.offer(exchangeOf());
    expect(mirror.reading()).toMatchObject({ chosen: 10, inFlight: 3, dropped: { busy: 7 } });
    while (waiting.length < 3) await new Promise((resolve) => setImmediate(resolve));
    for (const response of waiting) response.end();
    await settled(mirror);
    mirror.offer(exchangeOf());
    expect(mirror.reading()).toMatchObject({ answered: 3, inFlight: 1 });
    mirror.close();
    expect(mirror.reading()).toMatchObject({ failed: { stopped: 1 }, inFlight: 0 });
  });

  test('holds no more of bodies than its memory has room for', async () => {
    const mirror = await mirrorTo(1, { inFlight: 100 });
    const request = requestMessage({ body: Buffer.alloc(MIRROR.heldBytes / 2) });
    for (let sent = 0; sent < 4; sent += 1) mirror.offer(exchangeOf({ request }));
    expect(mirror.reading()).toMatchObject({ chosen: 4, inFlight: 2, dropped: { too_large: 2 } });
  });

  test('counts servers that refuse, break off and take too long, and sends nothing again', async () => {
    const refusing = await mirrorTo(await freePort());
    refusing.offer(exchangeOf());
    expect(await settled(refusing)).toMatchObject({ failed: { connect: 1 }, answered: 0 });
    let requests = 0;
    const breaking = await mirrorTo(
      await server((_, response) => {
        requests += 1;
        response.write('half');
        setImmediate(() => response.destroy());
      }),
    );
    breaking.offer(exchangeOf());
    expect(await settled(breaking)).toMatchObject({ failed: { broken: 1 }, answered: 0 });
    expect(requests).toBe(1);
    const hanging = await mirrorTo(await server(() => undefined), { timeoutMs: 20 });
    hanging.offer(exchangeOf());
    expect(await settled(hanging)).toMatchObject({ failed: { timeout: 1 }, answered: 0 });
  });

  test('mirrors only what production answered, and what is stored whole', async () => {
    const mirror = await mirrorTo(1);
    const truncated = requestMessage();
    mirror.offer(exchangeOf({ outcome: 'client_aborted' }));
    mirror.offer(exchangeOf({ outcome: 'upstream_failed', status: null, response: null }));
    mirror.offer(exchangeOf({ request: { ...truncated, body: { ...truncated.body, truncated: true } } }));
    expect(mirror.reading()).toMatchObject({
      chosen: 3,
      inFlight: 0,
      dropped: { not_answered: 2, not_replayable: 1 },
    });
  });

  test('sends nothing of HTTP/2, because it speaks HTTP/1.1', async () => {
    const mirror = await mirrorTo(1);
    const head = Buffer.from('POST /inference.GRPCInferenceService/ModelInfer HTTP/2\r\nhost: h\r\n\r\n');
    mirror.offer(exchangeOf({ protocol: 'h2', request: { ...requestMessage(), head } }));
    expect(mirror.reading()).toMatchObject({ chosen: 1, inFlight: 0, dropped: { not_replayable: 1 } });
  });

  test('chooses whole sessions of those that are recorded, by its share of them', () => {
    const settings = settingsOf(1, { share: 0.5, inFlight: 1 });
    const deps = { life: 'x', earlier: null, clock: systemClock, logger: new LogBook(), settings };
    const mirror = new Mirror({ ...deps, sample: 1 });
    const half = new Mirror({ ...deps, sample: 0.5 });
    endings.push(() => mirror.close());
    endings.push(() => half.close());
    const chosenOf = (one: Mirror, act: () => void) => {
      const before = one.reading().chosen;
      act();
      return one.reading().chosen - before;
    };
    const counts = [0, 0];
    for (let nth = 0; nth < 400; nth += 1) {
      const session = Buffer.alloc(8);
      session.writeUInt32BE(Math.imul(nth, 2_654_435_761) >>> 0);
      for (const [index, one] of [mirror, half].entries()) {
        const chosen = chosenOf(one, () => {
          for (let turn = 0; turn < 3; turn += 1)
            one.offer(exchangeOf({ session, arrivalUs: nth * 10 + turn }));
        });
        expect([0, 3]).toContain(chosen);
        counts[index] = (counts[index] ?? 0) + chosen / 3;
      }
    }
    expect(counts[0]).toBeGreaterThan(150);
    expect(counts[0]).toBeLessThan(250);
    expect(counts[1]).toBeGreaterThan(60);
    expect(counts[1]).toBeLessThan(140);
  });

  test('goes on with the counts of the recorder process before it', async () => {
    const port = await server((_, response) => response.end());
    const first = await mirrorTo(port);
    first.offer(exchangeOf());
    await settled(first);
    first.offer(exchangeOf());
    // As it was when that process died: with one under way.
    const earlier = first.reading();
    const second = await mirrorTo(port, {}, earlier);
    second.offer(exchangeOf({ response: responseMessage() }));
    expect(await settled(second)).toMatchObject({ chosen: 2, answered: 2, inFlight: 0 });
  });
});

describe('the address of a mirror', () => {
  const named = (parts: Partial<MirrorSettings> = {}) =>
    settingsOf(8000, { endpoint: { kind: 'tcp', host: 'candidate', port: 8000, tls: false }, ...parts });

  test('is refused while it is that of production, whatever its name', async () => {
    const names: Record<string, string[]> = { candidate: ['10.0.0.9'], production: ['10.0.0.8', '10.0.0.9'] };
    const resolve: ResolveName = async (name) => names[name] ?? [];
    const targets = [parseEndpoint('http://production:8000', '')];
    const resolver = new MirrorResolver(named({ targets }), resolve, systemClock);
    await resolver.refresh();
    expect(resolver.next()).toEqual({ why: 'forbidden' });
    names['candidate'] = ['10.0.0.7'];
    await resolver.refresh();
    expect(resolver.next()).toEqual({ address: '10.0.0.7' });
  });

  test.each(['::ffff:10.1.2.3', '::ffff:a01:203', '0:0:0:0:0:FFFF:0A01:0203'])(
    'is refused if it is that of production as IPv6 writes it: %s',
    async (address) => {
      const targets = [parseEndpoint('http://10.1.2.3:8000', '')];
      const resolver = new MirrorResolver(named({ targets }), async () => [address], systemClock);
      await resolver.refresh();
      expect(resolver.next()).toEqual({ why: 'forbidden' });
    },
  );

  test('is refused if it is this recorder, by any address of this host', async () => {
    const listens = [parseEndpoint(':8000', '', { anyPort: true })];
    const resolver = new MirrorResolver(named({ listens }), async () => ['127.0.0.5'], systemClock);
    await resolver.refresh();
    expect(resolver.next()).toEqual({ why: 'forbidden' });
  });

  test('is unknown while a name of it or of production is, and stays when a resolver fails later', async () => {
    let fails = true;
    let looks = 0;
    const resolve: ResolveName = async (name) => {
      looks += 1;
      if (fails && name === 'production') throw new Error('no answer');
      return name === 'production' ? ['10.0.0.8'] : ['10.0.0.7'];
    };
    const targets = [parseEndpoint('http://production:8000', '')];
    const clock = new ManualClock();
    const resolver = new MirrorResolver(named({ targets }), resolve, clock);
    await resolver.refresh();
    expect(resolver.next()).toEqual({ why: 'unresolved' });
    fails = false;
    await resolver.refresh();
    expect(resolver.next()).toEqual({ address: '10.0.0.7' });
    fails = true;
    await resolver.refresh();
    expect(resolver.next()).toEqual({ address: '10.0.0.7' });
    expect(looks).toBe(6);
  });

  test('is asked for once at a time, so that a resolver that hangs holds one thread', () => {
    let looks = 0;
    const clock = new ManualClock();
    const hangs = () => {
      looks += 1;
      return new Promise<never>(() => undefined);
    };
    const resolver = new MirrorResolver(named(), hangs, clock);
    for (let asked = 0; asked < 100; asked += 1) {
      clock.advance(MIRROR.resolveMs * 1e6);
      expect(resolver.next()).toEqual({ why: 'unresolved' });
    }
    expect(looks).toBe(1);
  });
});

describe('the flags of a mirror', () => {
  const read = (stated: StatedOptions<typeof RECORD_OPTIONS>) => () =>
    readRecordOptions(byProgram(RECORD_OPTIONS, { target: '127.0.0.1:8000', dir: 'x', ...stated }));

  test('refuse production, the recorder itself, and what would have no effect', () => {
    expect(read({ mirror: 'localhost:8000' })).toThrow('--mirror: localhost:8000 is a --target');
    expect(read({ target: '10.1.2.3:80', mirror: 'http://[::ffff:10.1.2.3]:80' })).toThrow('is a --target');
    expect(read({ target: '[2001:db8::1]:80', mirror: '[2001:DB8:0::1]:80' })).toThrow('is a --target');
    expect(read({ mirror: 'localhost:8080' })).toThrow('is the address of --listen itself');
    expect(read({ mirror: 'unix:/run/x.sock' })).toThrow('--mirror');
    expect(read({ mirror: 'candidate:8000', bodies: 'none' })).toThrow('--bodies none');
    expect(read({ mirror: 'share=50%' })).toThrow('--mirror: url is missing');
    expect(read({ mirror: 'candidate:8000,shares=50%' })).toThrow('--mirror: there is no part shares');
    expect(read({ header: 'mirror X-A: 1' })).toThrow('has no effect without --mirror');
    expect(read({ mirror: 'candidate:8000', header: 'X-A: 1' })).toThrow('a recording changes no request');
    const unset = 'mirror Authorization: env:NOT_SET_ANYWHERE';
    expect(read({ mirror: 'candidate:8000', header: unset })).toThrow('--header');
  });

  test('give the recorder all it needs', () => {
    const { recorder } = read({ mirror: 'https://candidate,share=25%', header: 'mirror X-A: 1' })();
    expect(recorder.mirror).toMatchObject({
      share: 0.25,
      inFlight: 64,
      timeoutMs: 30_000,
      headers: [['X-A', '1']],
      endpoint: { host: 'candidate', port: 443, tls: true },
      targets: [{ host: '127.0.0.1', port: 8000 }],
    });
    expect(read({})().recorder.mirror).toBeNull();
  });
});
