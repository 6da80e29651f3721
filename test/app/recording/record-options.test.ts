import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { pairsOf, type RouteSetting } from '../../../src/app/recording/addresses.ts';
import {
  RECORD_OPTIONS,
  type RecordOptions,
  readRecordOptions,
} from '../../../src/app/recording/record-options.ts';
import { addOptions, askedOf } from '../../../src/cli/options.ts';

const TARGET = ['--target', 'http://127.0.0.1:8085'];

/** What a command line of `record` is read as; `--dir` is added. */
function read(args: readonly string[], routes?: readonly RouteSetting[]): RecordOptions {
  const command = addOptions(new Command('record').exitOverride(), RECORD_OPTIONS);
  command.parse(['--dir', '/rec', ...args], { from: 'user' });
  const asked = askedOf(command, RECORD_OPTIONS);
  if (routes === undefined) return readRecordOptions(asked);
  return readRecordOptions({
    stated: { ...asked.stated, routes: [...routes] },
    originOf: (key) => (key === 'routes' ? { kind: 'file', place: 'reprise.yaml' } : asked.originOf(key)),
  });
}

function listens(args: readonly string[]): (number | string)[] {
  const { pairs } = read(args).plane;
  return pairs.map(({ listen }) => (listen.kind === 'unix' ? listen.path : listen.port));
}

test('all that is wrong with the flags of record is said at once, whichever plane they are of', () => {
  const args = ['--target', 'nonsense', '--mode', 'gateway', '--refused', '502', '--max-connections', 'x'];
  const times = ['--timeout', 'idle=late', '--max-in-flight', '0'];
  const routes = [{ path: 'v1', target: 'http://127.0.0.1:1' }];
  let message = '';
  try {
    read([...args, ...times, '--listen-tls', 'key=key.pem', '--sample', 'few'], routes);
  } catch (error) {
    message = String(error);
  }
  const wrong = [
    '--refused',
    '--target',
    'routes[0]',
    '--max-connections',
    '--listen-tls',
    '--max-in-flight',
  ];
  for (const flag of [...wrong, '--timeout idle', '--sample']) expect(message).toContain(flag);
  expect(message.split('\n')).toHaveLength(8);
});

test('the labels of the build that serves go to the recorder, and one that is none is an error', () => {
  const args = [...TARGET, '--label', 'build=v1.4.2', '--label', 'model=v7'];
  expect(read(args).recorder.labels).toMatchObject({ build: 'v1.4.2', model: 'v7' });
  expect(() => read([...args, '--label', 'build=v2'])).toThrow('build is given twice');
});

describe('addresses of record', () => {
  test('are at least one: a recording that listens nowhere would call itself ready', () => {
    expect(() => pairsOf({ listen: [], target: ['127.0.0.1:8085'], listenTls: null })).toThrow(
      '--listen: no address is given',
    );
  });

  test('that speak TLS are refused without a certificate, and not served plainly', () => {
    expect(() => read([...TARGET, '--listen', 'https://:8443'])).toThrow(
      '--listen: https://[::]:8443 needs a certificate',
    );
  });

  test('that all speak plainly leave a certificate without effect, which is said', () => {
    const certificate = ['--listen-tls', 'cert=cert.pem,key=key.pem'];
    for (const listen of ['http://:8080', 'unix:/run/reprise.sock']) {
      expect(() => read([...TARGET, ...certificate, '--listen', listen])).toThrow(
        '--listen-tls has no effect: no --listen address uses TLS',
      );
    }
    expect(listens([...TARGET, ...certificate, '--listen', ':8443', '--listen', 'http://:8080'])).toEqual([
      8443, 8080,
    ]);
  });

  test('given twice are refused', () => {
    const twice = ['--listen', '127.0.0.1:8080', '--listen', '127.0.0.1:8080'];
    expect(() => read([...TARGET, ...twice])).toThrow('--listen: 127.0.0.1:8080 is given twice');
    const socket = ['--listen', 'unix:/run/a.sock', '--listen', 'unix:/run/a.sock'];
    expect(() => read([...TARGET, ...socket])).toThrow('--listen: unix:/run/a.sock is given twice');
    expect(listens([...TARGET, '--listen', '127.0.0.1:0', '--listen', '127.0.0.1:0'])).toEqual([0, 0]);
  });

  test.each([
    [':8080', '127.0.0.1:8080'],
    [':8080', 'localhost:8080'],
    [':8080', '[::1]:8080'],
    ['0.0.0.0:8080', '127.0.0.2:8080'],
    ['127.0.0.1:8080', 'http://localhost:8080'],
    ['10.0.0.7:8080', '10.0.0.7:8080'],
    ['unix:/run/a.sock', 'unix:/run/a.sock'],
  ])(
    'that are their own target are refused, because a request would go round: %s to %s',
    (listen, target) => {
      expect(() => read(['--listen', listen, '--target', target])).toThrow(
        'is the address of --listen itself',
      );
    },
  );

  test.each([
    [':8080', 'model:8080'],
    [':8080', '127.0.0.1:8081'],
    ['127.0.0.1:8080', '127.0.0.2:8080'],
    ['127.0.0.1:8080', '[::1]:8080'],
    ['0.0.0.0:8080', '[::1]:8080'],
    ['127.0.0.1:0', '127.0.0.1:8080'],
  ])('that another host or address of this one may have are not: %s to %s', (listen, target) => {
    expect(listens(['--listen', listen, '--target', target])).toHaveLength(1);
  });

  test.each([
    [':9464', ':9464'],
    ['127.0.0.1:9464', ':9464'],
  ])('that the probes would need are forwarded from all the same: %s, %s', (listen, probes) => {
    expect(listens([...TARGET, '--listen', listen, '--probe-listen', probes])).toHaveLength(1);
  });

  test('of a route are held against --listen as well', () => {
    const routes = [{ path: '/a', target: 'http://localhost:8080' }];
    expect(() => read([...TARGET, '--mode', 'gateway'], routes)).toThrow(
      'routes[0].target: localhost:8080 is the address of --listen itself',
    );
  });
});

test('what a recording stands in front of is all its targets, each once and as it was named, those of routes too', () => {
  const gateway = ['--mode', 'gateway', '--target', 'https://10.0.0.1:8443'];
  const routes = ['http://10.0.0.2:80', 'unix:/run/b.sock', 'https://10.0.0.1:8443'].map((target, nth) => ({
    path: `/${nth}`,
    target,
  }));
  expect(read(gateway, routes).recorder.targets).toEqual([
    'https://10.0.0.1:8443',
    '10.0.0.2:80',
    'unix:/run/b.sock',
  ]);
});

describe('routes of record', () => {
  const to = (...paths: string[]) =>
    paths.map((path, nth) => ({ path, target: `http://127.0.0.1:${nth + 1}` }));

  test.each([
    ['/a', '/a'],
    ['/a*', '/a*'],
    ['/a*', '/a/*'],
  ])('%s beside %s: one of them would take no request, and is refused', (first, second) => {
    expect(() => read([...TARGET, '--mode', 'gateway'], to(first, second))).toThrow(
      `routes[1].path: "${second}" matches the same paths as routes[0], "${first}"`,
    );
  });

  test.each(['/é', '/a\u0000', '/a\u007f*'])('%j can be asked by nobody, and is refused', (path) => {
    expect(() => read([...TARGET, '--mode', 'gateway'], to(path))).toThrow(
      `routes[0].path: ${JSON.stringify(path)} holds characters that are not allowed in a request line`,
    );
  });

  test('that take different paths stand beside each other', () => {
    const paths = ['/a', '/a*', '/a/b', '/%C3%A9', '/*', '/'];
    const { plane } = read([...TARGET, '--mode', 'gateway'], to(...paths));
    expect(plane).toMatchObject({ routes: paths.map(() => ({})) });
  });
});

describe('flags of record', () => {
  test.each(['ca=ca.pem', 'server-name=model', 'insecure'])(
    '--target-tls %s without a target that speaks TLS would do nothing, and is refused',
    (parts) => {
      const flag = ['--target-tls', parts];
      expect(() => read([...TARGET, ...flag])).toThrow('--target-tls has no effect: no target uses TLS');
      expect(read(['--target', 'https://model', ...flag]).plane.upstreamTls).not.toBeNull();
    },
  );

  test('a client certificate is given with its key, and an authority with a certificate', () => {
    const secure = ['--target', 'https://model', '--target-tls'];
    expect(read([...secure, 'cert=a.pem,key=b.pem']).plane.upstreamTls).toMatchObject({
      client: { certPath: 'a.pem', keyPath: 'b.pem' },
    });
    expect(() => read([...secure, 'cert=a.pem'])).toThrow('--target-tls: cert is given without key');
    const listen = [...TARGET, '--listen', 'https://127.0.0.1:0', '--listen-tls'];
    expect(read([...listen, 'cert=a,key=b,client-ca=c']).plane.tls).toEqual({
      certPath: 'a',
      keyPath: 'b',
      clientCaPath: 'c',
    });
    expect(() => read([...listen, 'client-ca=c'])).toThrow('--listen-tls: cert is missing');
  });

  test('an upstream certificate is of use where only a route speaks TLS', () => {
    const routes = [{ path: '/a', target: 'https://model' }];
    expect(
      read([...TARGET, '--mode', 'gateway', '--target-tls', 'insecure'], routes).plane.upstreamTls,
    ).toEqual({
      caPath: null,
      serverName: null,
      verify: false,
      client: null,
    });
  });

  test.each(['--drain-delay', '--drain-deadline'])(
    '%s is at most what a timer can wait for, which would else be over at once',
    (flag) => {
      expect(() => read([...TARGET, flag, '25d'])).toThrow(`${flag}: "25d" is longer than 24d`);
      expect(read([...TARGET, flag, '24d'])).toMatchObject({ estimate: false });
    },
  );

  test('time limits of the gateway are no longer than a timer either', () => {
    const gateway = [...TARGET, '--mode', 'gateway'];
    for (const part of ['connect', 'first-byte', 'idle'])
      expect(() => read([...gateway, '--timeout', `${part}=30d`])).toThrow(
        `--timeout ${part}: "30d" is longer than 24d`,
      );
    expect(() => read([...gateway, '--timeout', '30d'])).toThrow('--timeout: "30d" is longer than 24d');
  });

  test.each(['connect', 'first-byte', 'idle', 'total'])(
    'a timeout %s of 0 is refused: it would be no limit, which only off may say',
    (part) => {
      const gateway = [...TARGET, '--mode', 'gateway', '--timeout'];
      expect(() => read([...gateway, `${part}=0s`])).toThrow('"0s" is not above 0');
      if (part === 'connect')
        expect(() => read([...gateway, 'connect=off'])).toThrow('--timeout connect: "off"');
      else expect(read([...gateway, `${part}=off`]).plane).toMatchObject({ mode: 'gateway' });
    },
  );

  test('a quota that no capture fits in is refused, and a retention of weeks is not', () => {
    expect(() => read([...TARGET, '--max-disk', '15MiB'])).toThrow('--max-disk: "15MiB" is too small');
    expect(read([...TARGET, '--max-disk', '16MiB', '--retain', '28d']).recorder).toMatchObject({
      maxDiskBytes: 16 * 2 ** 20,
      retainMs: 28 * 86_400_000,
    });
  });
});
