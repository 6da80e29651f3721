import { createSecureServer } from 'node:http2';
import { createServer, isIP } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { Send } from '../../src/core/run.ts';
import {
  AbortRule,
  assertReachable,
  fencedLookup,
  isLoopback,
  NO_ADDRESS_FENCED,
  type ResolveHost,
  resolveHost,
  TargetFence,
  WrongServerRule,
} from '../../src/replay/guard.ts';
import { hostnameOf, parseTarget } from '../../src/replay/target.ts';
import {
  CERTIFICATE_KEY_PEM,
  CERTIFICATE_PEM,
  LOCAL_CERTIFICATE_KEY_PEM,
  LOCAL_CERTIFICATE_PEM,
} from '../support/certificate.ts';
import { send } from '../support/sends.ts';

const ADDRESSES: Readonly<Record<string, readonly string[]>> = {
  'triton.prod': ['10.0.0.5', '10.0.0.6'],
  'alias.example': ['10.0.0.6'],
  'staging.example': ['10.9.0.1'],
  localhost: ['127.0.0.1'],
  'me.example': ['127.0.0.1'],
};
const resolve: ResolveHost = async (name) => ADDRESSES[name] ?? (isIP(name) === 0 ? [] : [name]);

const CERTIFICATES = { caPem: null, acceptAnyCertificate: false };

async function check(
  target: string,
  recorded: readonly string[],
  options: { production?: readonly string[]; allowed?: readonly string[] } = {},
): Promise<void> {
  const fence = new TargetFence({
    target: parseTarget(target),
    productionHosts: options.production ?? [],
    allowedProductionHosts: options.allowed ?? [],
  });
  await fence.check(recorded, resolve);
}

describe('TargetFence', () => {
  it.each([
    ['the recorded host', 'http://triton.prod:8000', ['triton.prod:8000']],
    ['the recorded host on another port', 'https://triton.prod', ['triton.prod:8000']],
    ['the recorded host in another case and with a dot', 'http://Triton.PROD.:1', ['triton.prod']],
    ['a recorded address', 'http://10.0.0.9:80', ['10.0.0.9:8000']],
    ['a recorded IPv6 address', 'http://[fd00::1]:80', ['[fd00::1]:8000']],
    ['a name of the same address', 'http://alias.example', ['triton.prod:8000']],
    ['the address a recorded name resolves to', 'http://10.0.0.5', ['triton.prod:8000']],
    ['a recorded address, written as one of IPv6', 'http://[::ffff:192.0.2.2]:8000', ['192.0.2.2:80']],
    ['a recorded address of IPv6 in another spelling', 'http://[fd00::2]', ['[FD00:0:0::2]:80']],
    ['a recorded address of IPv6 with its interface', 'http://[fd00::2]', ['[fd00::2%eth0]']],
    ['an address of a recorded name, written as one of IPv6', 'http://[::ffff:10.0.0.5]', ['triton.prod']],
  ])('forbids %s', async (_, target, recorded) => {
    await expect(check(target, recorded)).rejects.toMatchObject({ code: 'TARGET_FORBIDDEN' });
  });

  it.each([
    ['staging', 'http://staging.example', ['triton.prod:8000']],
    [
      'loopback, even as recorded: a sidecar knows its upstream by it',
      'http://127.0.0.1:8000',
      ['127.0.0.1:8000'],
    ],
    ['localhost, even as recorded', 'http://localhost:8000', ['localhost:8000']],
    ['a name that shares only loopback with what was recorded', 'http://localhost', ['me.example']],
    ['anything where nothing resolves', 'http://unknown.example', ['gone.example']],
  ])('lets through %s', async (_, target, recorded) => {
    await expect(check(target, recorded)).resolves.toBeUndefined();
  });

  it('forbids what --production-host names, by name and by address', async () => {
    await expect(
      check('http://staging.example', [], { production: ['staging.example:443'] }),
    ).rejects.toMatchObject({ code: 'TARGET_FORBIDDEN' });
    await expect(check('http://alias.example', [], { production: ['triton.prod'] })).rejects.toMatchObject({
      code: 'TARGET_FORBIDDEN',
    });
  });

  it.each([
    ['http://127.0.0.1:8000', 'http://127.0.0.1/'],
    ['http://127.0.0.1:8000', 'https://127.0.0.1/v1'],
    ['http://127.0.0.1:8000', '127.0.0.1/'],
    ['http://127.0.0.1:8000', 'user:p@ss@127.0.0.1:8000'],
    ['http://127.0.0.1:8000', '::ffff:127.0.0.1'],
    ['http://prod.example:8000', 'HTTPS://Prod.Example./v1?a=b'],
    ['http://[::ffff:192.0.2.2]:8000', '192.0.2.2'],
    ['http://192.0.2.2:8000', '[::ffff:192.0.2.2]:80'],
    ['http://[fd00::2]:8000', 'FD00:0:0::2'],
    ['http://bücher.example', 'bücher.example'],
  ])('forbids %s where --production-host says %s, as it was pasted', async (target, production) => {
    await expect(check(target, [], { production: [production] })).rejects.toMatchObject({
      code: 'TARGET_FORBIDDEN',
    });
    await expect(
      check(target, [], { production: [production], allowed: [production] }),
    ).resolves.toBeUndefined();
  });

  it.each([
    ['http://localhost:8000', '127.0.0.1'],
    ['http://127.0.0.1:8000', 'localhost'],
    ['http://[::1]:8000', '127.0.0.1:9000'],
    ['http://me.example', 'localhost'],
  ])('forbids %s where --production-host says %s: both are this machine', async (target, production) => {
    await expect(check(target, [], { production: [production] })).rejects.toMatchObject({
      code: 'TARGET_FORBIDDEN',
      message: expect.stringContaining('this machine'),
    });
    const allowed = [parseTarget(target).hostname];
    await expect(check(target, [], { production: [production], allowed })).resolves.toBeUndefined();
    await expect(check('http://staging.example', [], { production: [production] })).resolves.toBeUndefined();
  });

  it('opens for the target that is named, not for another', async () => {
    const recorded = ['triton.prod:8000'];
    await expect(
      check('http://triton.prod', recorded, { allowed: ['triton.prod'] }),
    ).resolves.toBeUndefined();
    await expect(check('http://triton.prod', recorded, { allowed: ['other'] })).rejects.toMatchObject({
      code: 'TARGET_FORBIDDEN',
    });
  });

  it('stops a request recorded under a name that the start had not seen', () => {
    const fence = new TargetFence({
      target: parseTarget('http://late.prod'),
      productionHosts: [],
      allowedProductionHosts: [],
    });
    fence.checkRecorded('other.prod');
    fence.checkRecorded(null);
    expect(() => fence.checkRecorded('LATE.prod:8000')).toThrow(/capture was recorded under/);
  });
});

describe('a name that was not resolved is not checked', () => {
  const fenceOf = (target: string) =>
    new TargetFence({
      target: parseTarget(target),
      productionHosts: ['triton.prod'],
      allowedProductionHosts: [],
    });
  const without =
    (...silent: string[]): ResolveHost =>
    async (name) =>
      silent.includes(name) ? null : resolve(name);

  it.each([['triton.prod'], ['staging.example']])(
    'refuses the target where %s does not resolve in time',
    async (name) => {
      await expect(fenceOf('http://staging.example').check([], without(name))).rejects.toMatchObject({
        code: 'TARGET_FORBIDDEN',
        message: expect.stringContaining(name),
      });
    },
  );

  it('asks nothing about a target on this machine, which no name of production can be', async () => {
    await fenceOf('http://127.0.0.1:8000').check(['other.prod'], async () => null);
  });

  it('is asked for again while there is time, unless the resolver knows that it has no address', async () => {
    const failing = (code: string) => Promise.reject(Object.assign(new Error(code), { code }));
    let asked = 0;
    const later = async () => {
      asked += 1;
      return asked === 1 ? failing('EAI_AGAIN') : [{ address: '10.0.0.5', family: 4 }];
    };
    await expect(resolveHost('triton.prod', 60_000, later)).resolves.toEqual(['10.0.0.5']);
    expect(asked).toBe(2);
    await expect(resolveHost('gone.prod', 60_000, () => failing('ENOTFOUND'))).resolves.toEqual([]);
    await expect(resolveHost('slow.prod', 1, () => new Promise(() => undefined))).resolves.toBeNull();
    await expect(resolveHost('sick.prod', 1, () => failing('EAI_AGAIN'))).resolves.toBeNull();
  });
});

describe('a target that comes to mean production while a run lasts', () => {
  const fence = () =>
    new TargetFence({
      target: parseTarget('http://staging.example'),
      productionHosts: [],
      allowedProductionHosts: [],
    });

  it('is refused at the next look, and its new address is never connected to', async () => {
    const watched = fence();
    await watched.check(['triton.prod:8000'], resolve);
    await watched.checkAgain(resolve);
    const moved: ResolveHost = async (name) =>
      name === 'staging.example' ? ['10.9.0.1', '::ffff:10.0.0.6'] : resolve(name);
    await expect(watched.checkAgain(moved)).rejects.toMatchObject({ code: 'TARGET_FORBIDDEN' });
    await expect(watched.checkAgain(async () => null)).resolves.toBeUndefined();
    expect(watched.fenced.addresses.map(([address]) => address)).toEqual(['10.0.0.5', '10.0.0.6']);
  });

  it('is refused when a name is met later that means the same address', async () => {
    const watched = fence();
    await watched.check([], resolve);
    watched.checkRecorded('late.prod:80');
    const late: ResolveHost = async (name) => (name === 'late.prod' ? ['10.9.0.1'] : resolve(name));
    await watched.checkAgain(async (name) => (name === 'late.prod' ? null : resolve(name)));
    await expect(watched.checkAgain(late)).rejects.toMatchObject({ code: 'TARGET_FORBIDDEN' });
  });

  it('is not watched where it may be hit', async () => {
    const allowed = new TargetFence({
      target: parseTarget('http://staging.example'),
      productionHosts: ['triton.prod'],
      allowedProductionHosts: ['staging.example'],
    });
    expect(allowed.isWatched).toBe(false);
    await allowed.checkAgain(async () => ['10.0.0.5']);
  });

  it('gives a socket only the addresses that are none of production', async () => {
    const lookUp = (fenced: Parameters<typeof fencedLookup>[0]) =>
      new Promise((settle) => {
        fencedLookup(fenced)('localhost', { family: 4 }, (error, address) => settle(error?.code ?? address));
      });
    expect(await lookUp(NO_ADDRESS_FENCED)).toBe('127.0.0.1');
    expect(await lookUp({ addresses: [], loopback: 'localhost' })).toBe('EFENCED');
  });
});

describe('hostnameOf', () => {
  it.each([
    ['a.example:80', 'a.example'],
    ['A.Example.', 'a.example'],
    ['[::1]:80', '::1'],
    ['::1', '::1'],
    ['https://a.example:1', 'a.example'],
    ['', ''],
    ['*.example', '*.example'],
    ['prod%2Eexample', 'prod.example'],
    ['a b', 'a b'],
  ])('of %j', (authority, hostname) => {
    expect(hostnameOf(authority)).toBe(hostname);
  });
});

describe('isLoopback', () => {
  it.each(['127.0.0.1', '127.9.9.9', '::1', 'localhost', 'x.localhost', '0.0.0.0', '::ffff:127.0.0.1'])(
    'knows %s',
    (host) => expect(isLoopback(host)).toBe(true),
  );
  it.each(['10.0.0.1', '128.0.0.1', 'fd00::1', '127.example', 'localhost.example'])('lets %s be', (host) =>
    expect(isLoopback(host)).toBe(false),
  );
});

describe('assertReachable', () => {
  const servers: ReturnType<typeof createServer>[] = [];
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => new Promise((done) => server.close(done))));
  });

  async function listening(): Promise<number> {
    const server = createServer((socket) => socket.on('error', () => {}).resume());
    servers.push(server);
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return (server.address() as { port: number }).port;
  }

  it('connects and sends nothing', async () => {
    const port = await listening();
    let bytes = 0;
    const closed = new Promise<void>((done) =>
      servers[0]?.once('connection', (socket) =>
        socket
          .on('data', (chunk) => {
            bytes += chunk.length;
          })
          .once('close', () => done()),
      ),
    );
    await assertReachable(parseTarget(`http://127.0.0.1:${port}`), CERTIFICATES, NO_ADDRESS_FENCED);
    await closed;
    expect(bytes).toBe(0);
  });

  it('says which target is not there', async () => {
    const port = await listening();
    await new Promise((done) => servers.pop()?.close(done));
    await expect(
      assertReachable(parseTarget(`http://127.0.0.1:${port}`), CERTIFICATES, NO_ADDRESS_FENCED),
    ).rejects.toMatchObject({
      code: 'TARGET_UNREACHABLE',
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
  });

  it('finds out that a TLS target speaks no TLS', async () => {
    const port = await listening();
    servers[0]?.on('connection', (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await expect(
      assertReachable(parseTarget(`https://127.0.0.1:${port}`), CERTIFICATES, NO_ADDRESS_FENCED),
    ).rejects.toMatchObject({
      code: 'TARGET_UNREACHABLE',
      message: `The target https://127.0.0.1:${port} does not speak TLS`,
      hint: expect.stringContaining(`http://127.0.0.1:${port}`),
    });
  });

  it.each([
    [
      'is signed by itself',
      'localhost',
      LOCAL_CERTIFICATE_PEM,
      LOCAL_CERTIFICATE_KEY_PEM,
      null,
      '--target-tls ca=FILE',
    ],
    ['is of another name', 'localhost', CERTIFICATE_PEM, CERTIFICATE_KEY_PEM, CERTIFICATE_PEM, 'by a name'],
  ])('names the way out where a certificate %s', async (_, host, cert, key, caPem, way) => {
    const server = createTlsServer({ cert, key }).on('tlsClientError', () => undefined);
    servers.push(server);
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const target = parseTarget(`https://${host}:${(server.address() as { port: number }).port}`);
    const refused = assertReachable(target, { caPem, acceptAnyCertificate: false }, NO_ADDRESS_FENCED);
    await expect(refused).rejects.toMatchObject({
      code: 'TARGET_UNREACHABLE',
      message: expect.stringMatching(/not trusted: .*(self-signed|altnames)/),
      hint: expect.stringMatching(`${way}.*--target-tls insecure`),
    });
    await assertReachable(target, { caPem, acceptAnyCertificate: true }, NO_ADDRESS_FENCED);
  });

  it.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'names the way out where a target requires a client certificate by %s',
    async (maxVersion) => {
      const own = { cert: LOCAL_CERTIFICATE_PEM, key: LOCAL_CERTIFICATE_KEY_PEM };
      const known = { cert: CERTIFICATE_PEM, key: CERTIFICATE_KEY_PEM };
      const demanding = { ...own, maxVersion, requestCert: true, ca: CERTIFICATE_PEM };
      const one = createTlsServer(demanding).on('tlsClientError', () => undefined);
      const two = createSecureServer(demanding).on('tlsClientError', () => undefined);
      for (const [server, protocol] of [
        [one, 'http1'],
        [two, 'http2'],
      ] as const) {
        servers.push(server);
        await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
        const target = parseTarget(`https://localhost:${(server.address() as { port: number }).port}`);
        const reach = (clientCertificate: typeof own | null) =>
          assertReachable(
            target,
            { caPem: LOCAL_CERTIFICATE_PEM, acceptAnyCertificate: false, clientCertificate },
            NO_ADDRESS_FENCED,
            5_000,
            protocol,
          );
        await expect(reach(null)).rejects.toMatchObject({
          code: 'TARGET_UNREACHABLE',
          message: expect.stringContaining('seems to require a client certificate'),
          hint: expect.stringContaining('--target-tls cert=FILE,key=FILE'),
        });
        await expect(reach(own)).rejects.toMatchObject({
          code: 'TARGET_UNREACHABLE',
          message: expect.stringContaining('refuses the client certificate'),
        });
        await reach(known);
      }
    },
  );

  it('gives up on a target that never answers', async () => {
    const port = await listening();
    await expect(
      assertReachable(parseTarget(`https://127.0.0.1:${port}`), CERTIFICATES, NO_ADDRESS_FENCED, 50),
    ).rejects.toThrow(/within 50 ms/);
  });
});

describe('AbortRule', () => {
  const S = 1e9;

  it('waits for a whole window before it judges', () => {
    const rule = new AbortRule();
    for (let second = 0; second < 30; second++) {
      rule.add(second * S, 10, 10);
      expect(rule.tripped(second * S)).toBeNull();
    }
    expect(rule.tripped(30 * S)).toBe(1);
  });

  it('trips over half, not at half', () => {
    const rule = new AbortRule();
    for (let second = 0; second <= 30; second++) rule.add(second * S, 10, 5);
    expect(rule.tripped(30 * S)).toBeNull();
    rule.add(30.5 * S, 10, 6);
    expect(rule.tripped(30.5 * S)).toBeGreaterThan(0.5);
  });

  it('forgets what is older than the window', () => {
    const rule = new AbortRule();
    for (let second = 0; second < 30; second++) rule.add(second * S, 10, 10);
    rule.add(61 * S, 20, 0);
    expect(rule.tripped(61 * S)).toBeNull();
  });

  it('does not judge a handful of ends', () => {
    const rule = new AbortRule();
    rule.add(40 * S, 9, 9);
    expect(rule.tripped(40 * S)).toBeNull();
    rule.add(40 * S, 1, 1);
    expect(rule.tripped(40 * S)).toBe(1);
  });
});

describe('WrongServerRule', () => {
  const recorded = { status: 200, bytes: 2, streamed: false, tookNs: 1, tellsError: false };
  const twenty = (facts: Partial<Send>) =>
    Array.from({ length: 20 }, (_, index) =>
      send({ index, intendedOffsetNs: 60e9 + index * 0.3e9, recorded, ...facts }),
    );
  const rule = (...sends: readonly Send[]) => {
    const made = new WrongServerRule();
    made.add(sends);
    return made;
  };

  it('waits for enough ends, and for enough time, wherever they begin', () => {
    const sends = twenty({ status: 404 });
    expect(rule(...sends).instead).toBe('20 times status 404');
    expect(rule(...sends.slice(1)).instead).toBeNull();
    // All of a short plan is sent, however long its answers take.
    const early = sends.map((each) => ({ ...each, intendedOffsetNs: 4.9e9 }));
    expect(rule(...early).instead).toBeNull();
  });

  it.each<[string, Partial<Send>]>([
    ['a good answer', { status: 200 }],
    ['a redirect', { status: 302 }],
    ['an error that was recorded', { status: 404, recorded: { ...recorded, status: 410 } }],
    ['a target that is overloaded', { status: 503 }],
    ['a connection that broke', { status: null, error: 'reset' }],
  ])('is never tripped after %s', (_, facts) => {
    expect(rule(...twenty({ status: 501 }), send({ index: 20, recorded, ...facts })).instead).toBeNull();
  });

  it.each([408, 409, 423, 425, 429, 500, 502, 503, 504])(
    'takes no target for wrong that answers %i',
    (status) => {
      expect(rule(...twenty({ status })).instead).toBeNull();
    },
  );

  it('counts neither the warm-up nor what nobody knows the recorded answer of', () => {
    expect(rule(...twenty({ status: 404, warmup: true })).instead).toBeNull();
    expect(rule(...twenty({ status: 404, recorded: null })).instead).toBeNull();
    const cold = twenty({ status: 503, warmup: true });
    expect(rule(...cold, ...twenty({ status: 404 })).instead).toBe('20 times status 404');
  });
});
