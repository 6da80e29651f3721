import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import type { ReplayDocument } from '../../src/analysis/replay-document.ts';
import type { Exchange, Message } from '../../src/core/exchange.ts';
import { headerPairsOf, parseRequestHead } from '../../src/core/headers.ts';
import { RunReader } from '../../src/storage/run-reader.ts';
import { captureOf } from '../support/captures.ts';
import {
  arrivalAlone,
  exchangeOf,
  partOfBody,
  type RequestParts,
  requestMessage,
  TEST_EPOCH_US,
} from '../support/exchanges.ts';
import { type Finished, type ProcessOptions, runReprise, startReprise } from '../support/process.ts';
import { RequestLogServer } from '../support/request-log-server.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const servers: RequestLogServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function serverOf(...args: ConstructorParameters<typeof RequestLogServer>): Promise<RequestLogServer> {
  const server = new RequestLogServer(...args);
  servers.push(server);
  return await server.listen();
}

/** Requests a millisecond apart, each with its number in the path. */
function requestsOf(count: number, gapUs = 1_000, parts: Partial<Exchange> = {}): Exchange[] {
  return Array.from({ length: count }, (_, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * gapUs,
      request: requestMessage({ target: `/v2/models/m/infer?n=${at}` }),
      ...parts,
    }),
  );
}

interface Replayed extends Finished {
  readonly out: string;
}

async function replay(
  capture: string,
  target: string,
  args: readonly string[] = [],
  options: ProcessOptions = {},
): Promise<Replayed> {
  const out = join(temporaryDirectory(), 'run');
  const finished = await runReprise(['replay', capture, '--target', target, '--out', out, ...args], options);
  return { ...finished, out };
}

function documentOf({ stdout, stderr }: Finished): ReplayDocument {
  try {
    return JSON.parse(stdout) as ReplayDocument;
  } catch {
    throw new Error(`no document on stdout: ${stdout}\n${stderr}`);
  }
}

/** What may be wrong with a run on a machine that is busy with other things. */
const OUR_SIDE = ['lag_over_bound', 'sender_busy', 'stalled', 'arrivals_off_plan', 'cpu_throttled'];

describe('a replay of every kind of request', () => {
  const random = Buffer.from(
    Array.from({ length: 40_000 }, (_, at) => createHash('md5').update(`${at}`).digest()[0] ?? 0),
  );
  const kinds: readonly RequestParts[] = [
    {
      method: 'GET',
      target: '/v2/health/live?a=1&a=%2F&b',
      headers: [
        ['Host', 'prod.internal'],
        ['accept', '*/*'],
      ],
      body: '',
    },
    {
      headers: [
        ['X-B', '1'],
        ['host', 'prod.internal'],
        ['x-a', '2'],
        ['X-B', '3'],
        ['X-Empty', ''],
        ['X-High', 'M\u00fcller'],
        ['Content-Length', '12'],
      ],
      body: 'twelve bytes',
    },
    {
      target: '/v1/bin',
      headers: [
        ['Host', 'prod.internal'],
        ['Content-Type', 'application/octet-stream'],
        ['Content-Length', String(random.length)],
        ['Inference-Header-Content-Length', '17'],
      ],
      body: random,
    },
    {
      headers: [
        ['Host', 'prod.internal'],
        ['Transfer-Encoding', 'chunked'],
        ['Content-Encoding', 'gzip'],
      ],
      body: gzipSync(random),
    },
    {
      method: 'PUT',
      headers: [
        ['Host', 'prod.internal'],
        ['Connection', 'keep-alive, X-Hop'],
        ['X-Hop', 'gone'],
        ['X-Stays', 'here'],
        ['Keep-Alive', 'timeout=4'],
        ['Content-Length', '2'],
      ],
      body: '{}',
    },
    { method: 'HEAD', target: '/x', headers: [['Host', 'prod.internal']], body: '' },
    {
      method: 'DELETE',
      target: '/x/y',
      headers: [
        ['Host', 'prod.internal'],
        ['Content-Length', '3'],
      ],
      body: 'abc',
    },
    {
      method: 'POST',
      target: '/empty',
      headers: [
        ['Host', 'prod.internal'],
        ['Content-Length', '0'],
      ],
      body: '',
    },
    {
      target: '/large',
      headers: [
        ['Host', 'prod.internal'],
        ['Content-Length', '1048576'],
      ],
      body: Buffer.alloc(1_048_576, 'large '),
    },
  ];
  /** Written by whoever sends a message, or belonging to one connection only. */
  const EXCEPTED = new Set([
    'host',
    'connection',
    'keep-alive',
    'content-length',
    'transfer-encoding',
    'x-hop',
    'x-reprise-run',
  ]);
  const kept = (pairs: readonly (readonly [string, string])[]) =>
    pairs.filter(([name]) => !EXCEPTED.has(name.toLowerCase()));

  it('sends method, target, body and the list of headers as they were recorded, once and in order', async () => {
    const server = await serverOf();
    const exchanges = kinds.map((parts, at) =>
      exchangeOf({ arrivalUs: TEST_EPOCH_US + at * 20_000, request: requestMessage(parts) }),
    );
    const result = await replay(captureOf(exchanges), server.url, ['--json']);
    const document = documentOf(result);
    expect(document).toMatchObject({
      planned: kinds.length,
      sent: kinds.length,
      completed: kinds.length,
      failed: 0,
      refused: 0,
      unreplayable: 0,
    });
    expect(server.requests).toHaveLength(kinds.length);
    for (const [at, got] of server.requests.entries()) {
      const message = exchanges[at]?.request as Message;
      const head = parseRequestHead(message.head);
      expect([got.method, got.target]).toEqual([head.method, head.target]);
      expect(kept(got.headers)).toEqual(kept(headerPairsOf(message.head)));
      expect(got.body.equals(message.body.kept ?? Buffer.alloc(0))).toBe(true);
      const names = got.headers.map(([name]) => name.toLowerCase());
      expect(names.includes('transfer-encoding')).toBe(
        head.headers.some(([name]) => /^transfer-encoding$/i.test(name)),
      );
      expect(got.headers.filter(([name]) => name === 'x-reprise-run')).toEqual([
        ['x-reprise-run', document.run],
      ]);
      expect(got.headers.filter(([name]) => /^host$/i.test(name))).toEqual([
        ['host', `127.0.0.1:${server.port}`],
      ]);
    }
  });

  it('puts the base path in front, the recorded host and added headers in, and masked values out', async () => {
    const server = await serverOf();
    const request: Message = {
      ...requestMessage({
        target: '/x?key=****&n=1',
        headers: [
          ['Authorization', '****'],
          ['Host', 'prod.internal:8000'],
          ['Cookie', '****'],
          ['Content-Length', '2'],
        ],
        body: '{}',
      }),
      redacted: ['authorization', 'cookie', '?key'],
    };
    const args = ['--json', '--host', 'recorded', '--header', 'authorization: env:STAGING_TOKEN'];
    const result = await replay(captureOf([exchangeOf({ request })]), `${server.url}/base/`, args, {
      env: { STAGING_TOKEN: 'Bearer s3cret' },
    });
    expect(server.requests[0]?.target).toBe('/base/x?key=****&n=1');
    const headers = server.requests[0]?.headers ?? [];
    expect(headers.filter(([name]) => /^(host|authorization|cookie)$/i.test(name))).toEqual(
      expect.arrayContaining([
        [expect.stringMatching(/host/i), 'prod.internal:8000'],
        ['authorization', 'Bearer s3cret'],
      ]),
    );
    expect(headers.some(([name]) => /^cookie$/i.test(name))).toBe(false);
    expect(JSON.parse(result.stdout)).toMatchObject({
      audit: {
        maskedHeaders: { authorization: 1, cookie: 1 },
        maskedQueryKeys: { key: 1 },
        maskedRequests: 1,
      },
      options: { addedHeaders: ['authorization'], host: 'recorded' },
    });
    expect(result.stdout + readFileSync(join(result.out, 'summary.json'), 'utf8')).not.toContain('s3cret');
  });

  it('counts what it leaves out, by reason', async () => {
    const server = await serverOf();
    const whole = requestMessage();
    const exchanges = [
      exchangeOf({}),
      exchangeOf({ request: { ...whole, body: partOfBody(Buffer.alloc(100, 'x'), 10) } }),
      exchangeOf({ request: { ...whole, body: partOfBody(Buffer.alloc(100, 'x'), null) } }),
      exchangeOf({ outcome: 'client_aborted', requestEndOffsetUs: null, status: null }),
      exchangeOf({
        request: requestMessage({
          headers: [
            ['Expect', '100-continue'],
            ['Content-Length', '2'],
          ],
          body: '{}',
        }),
      }),
      exchangeOf({
        request: {
          ...requestMessage({ headers: [['Transfer-Encoding', 'chunked']], body: '{}' }),
          trailers: Buffer.from('X: 1\r\n'),
        },
      }),
      exchangeOf({ outcome: 'upstream_failed', status: null }),
      exchangeOf({ status: 500 }),
    ].map((exchange, at) => ({ ...exchange, arrivalUs: TEST_EPOCH_US + at * 1_000 }));
    const result = await replay(captureOf(exchanges), server.url, ['--json']);
    expect(documentOf(result)).toMatchObject({
      recorded: 8,
      planned: 3,
      sent: 3,
      unreplayable: 2,
      skipped: { truncated_request: 1, no_payload: 1, incomplete_request: 1 },
      audit: { unreplayableByReason: { expect_header: 1, trailers: 1 } },
    });
    expect(server.requests).toHaveLength(3);
  });
});

describe('what a replay leaves behind', () => {
  it('keeps every send and the summary it printed, for its owner alone', async () => {
    const server = await serverOf();
    const result = await replay(captureOf(requestsOf(50)), server.url, ['--json', '--multiplier', '2']);
    const document = documentOf(result);
    expect(JSON.parse(readFileSync(join(result.out, 'summary.json'), 'utf8'))).toEqual(document);
    expect(statSync(result.out).mode & 0o777).toBe(0o700);
    const reader = new RunReader(result.out);
    const sends = [...reader.sends()].sort((a, b) => a.index - b.index);
    expect(sends.map(({ index, intendedOffsetNs, status }) => [index, intendedOffsetNs, status])).toEqual(
      Array.from({ length: 50 }, (_, at) => [at, at * 500_000, 200]),
    );
    expect(sends.every((send) => (send.actualOffsetNs ?? -1) >= send.intendedOffsetNs)).toBe(true);
    reader.close();
    expect(document.fidelity.recorded.count).toBe(50);
    expect(document.fidelity.planned.spanS).toBeCloseTo(document.fidelity.recorded.spanS / 2, 9);
    expect(document).toMatchObject({
      multiplier: 2,
      effectiveMultiplier: 2,
      scaling: 'compress',
      coverage: 1,
    });
  });

  it('names the run and its directory, by default below runs/', async () => {
    const server = await serverOf();
    const cwd = temporaryDirectory();
    const result = await runReprise(['replay', captureOf(requestsOf(3)), '--target', server.url], { cwd });
    const [, run, directory] = /Run (\S+): (\S+)/.exec(result.stdout) ?? [];
    expect(directory).toBe(join('runs', run ?? 'none'));
    expect(existsSync(join(cwd, directory ?? '', 'summary.json'))).toBe(true);
    expect(result.stdout).toMatch(/^Verdict: /);
    expect(result.stderr).toContain('scaling compress: keeps order');
  });

  it('replays the window that was asked for, and no more requests than that', async () => {
    const server = await serverOf();
    const capture = captureOf(requestsOf(100, 10_000));
    const window = ['--from', '2026-11-24T15:00:00.200Z', '--to', '2026-11-24T15:00:00.500Z'];
    const all = documentOf(await replay(capture, server.url, ['--json', ...window]));
    expect(all).toMatchObject({ recorded: 30, planned: 30, sent: 30 });
    expect(server.requests.map(({ target }) => target)).toEqual(
      Array.from({ length: 30 }, (_, at) => `/v2/models/m/infer?n=${at + 20}`),
    );
    const few = documentOf(await replay(capture, server.url, ['--json', ...window, '--max-requests', '7']));
    expect(few).toMatchObject({ planned: 7, sent: 7, refused: 0 });
  });

  it('refuses what its ceilings do not let through, and says so', async () => {
    const server = await serverOf();
    const result = await replay(captureOf(requestsOf(40)), server.url, ['--json', '--max-rate', '10']);
    const document = documentOf(result);
    expect(document).toMatchObject({ planned: 40, sent: 10, refused: 30 });
    expect(document.reasons.map(({ code }) => code)).toContain('in_flight_cap');
    expect(result.status).toBe(4);
    expect(server.requests).toHaveLength(10);
  });
});

describe('the exit status', () => {
  it('is 0 for a run without objectives that is valid', async () => {
    const server = await serverOf();
    const result = await replay(captureOf(requestsOf(20)), server.url, ['--json']);
    const { verdict, valid, reasons } = documentOf(result);
    expect(verdict).toBeNull();
    expect(result.status).toBe(valid ? 0 : 4);
    expect(reasons.filter(({ code }) => !OUR_SIDE.includes(code))).toEqual([]);
  });

  it('follows the verdict of an objective that holds', async () => {
    const server = await serverOf();
    const result = await replay(captureOf(requestsOf(200)), server.url, [
      '--json',
      '--slo',
      'latency: p(90)<10000',
    ]);
    const { verdict, reasons, slo } = documentOf(result);
    expect(slo.map(({ expression, ok }) => [expression, ok])).toEqual([
      ['latency: p(90)<10000', true],
      ['errors: rate<0.01', true],
    ]);
    expect(result.status).toBe(verdict === 'PASS' ? 0 : 4);
    expect(reasons.filter(({ code }) => !OUR_SIDE.includes(code))).toEqual([]);
  });

  it('is 3 for a target that breaks an objective', async () => {
    const server = await serverOf((_, response) => response.writeHead(503).end());
    const result = await replay(captureOf(requestsOf(100)), server.url, [
      '--json',
      '--slo',
      'errors: rate<0.1',
    ]);
    expect(documentOf(result)).toMatchObject({ verdict: 'FAIL', failed: 100, completed: 0 });
    expect(result.status).toBe(3);
  });

  it('is 4 for a target that turns requests away which production answered', async () => {
    const server = await serverOf((_, response) => response.writeHead(401).end());
    const result = await replay(captureOf(requestsOf(200)), server.url, [
      '--json',
      '--slo',
      'latency: p(90)<10000',
    ]);
    const { verdict, reasons } = documentOf(result);
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons.map(({ code }) => code)).toContain('not_comparable');
    expect(result.status).toBe(4);
  });

  it('is 130 for a run that was interrupted, which is sealed with what it has', async () => {
    const server = await serverOf();
    const out = join(temporaryDirectory(), 'run');
    const capture = captureOf(requestsOf(3_000, 20_000));
    const process = startReprise(['replay', capture, '--target', server.url, '--out', out, '--json']);
    while (server.requests.length < 5) await new Promise((done) => setTimeout(done, 20));
    const result = await process.kill('SIGINT');
    expect(result.status).toBe(130);
    const document = documentOf(result);
    expect(document.interrupted).toBe('SIGINT');
    expect(document.reasons.map(({ code }) => code)).toContain('interrupted');
    expect(document.sent).toBeGreaterThanOrEqual(5);
    expect(document.unreached).toBeGreaterThan(0);
    expect(document.planned).toBe(document.sent + document.refused + document.unreached);
    expect(JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8'))).toEqual(document);
  });

  it('ends at once at a second interrupt, leaving a run that says it was never sealed', async () => {
    const server = await serverOf(() => {});
    const out = join(temporaryDirectory(), 'run');
    const process = startReprise(['replay', captureOf(requestsOf(5)), '--target', server.url, '--out', out]);
    while (server.requests.length < 5) await new Promise((done) => setTimeout(done, 20));
    process.child.kill('SIGINT');
    await new Promise((done) => setTimeout(done, 200));
    const result = await process.kill('SIGINT');
    expect(result.status).toBe(130);
    expect(existsSync(join(out, 'summary.json'))).toBe(false);
    const reader = new RunReader(out);
    expect(reader.sealed).toBe(false);
    reader.close();
  });
});

describe('a start that cannot be', () => {
  it.each<[string, number, RegExp, (capture: string, url: string) => string[]]>([
    [
      'a multiplier of 0',
      2,
      /--multiplier: "0"/,
      (capture, url) => [capture, '--target', url, '--multiplier', '0'],
    ],
    ['a malformed target', 2, /--target: "nowhere"/, (capture) => [capture, '--target', 'nowhere']],
    [
      'an objective nobody measures',
      2,
      /--slo: /,
      (capture, url) => [capture, '--target', url, '--slo', 'ttft: p(95)<1000'],
    ],
    [
      'a window that ends before it begins',
      2,
      /is not before/,
      (capture, url) => [capture, '--target', url, '--from', '2026-11-25', '--to', '2026-11-24'],
    ],
    [
      'a window without exchanges',
      2,
      /lies in the window/,
      (capture, url) => [capture, '--target', url, '--from', '2026-11-25'],
    ],
    ['a directory that is no capture', 2, /capture/, (_, url) => [temporaryDirectory(), '--target', url]],
    [
      'the recorded host as target',
      2,
      /must not hit production/,
      (capture) => [capture, '--target', 'http://model.internal:1'],
    ],
    [
      'a target that is not there',
      5,
      /cannot be reached/,
      (capture) => [capture, '--target', 'http://127.0.0.1:1'],
    ],
  ])('leaves no trace: %s', async (_, status, message, args) => {
    const server = await serverOf();
    const out = join(temporaryDirectory(), 'run');
    const result = await runReprise(['replay', ...args(captureOf(requestsOf(3)), server.url), '--out', out]);
    expect(result.stderr).toMatch(message);
    expect(result.stderr).not.toContain('unexpected error');
    expect(result.status).toBe(status);
    expect(result.stdout).toBe('');
    expect(existsSync(out)).toBe(false);
    expect(server.requests).toEqual([]);
  });

  it('leaves alone a directory that something lies in', async () => {
    const server = await serverOf();
    const out = join(temporaryDirectory(), 'run');
    mkdirSync(out);
    writeFileSync(join(out, 'notes.txt'), 'mine');
    const result = await runReprise([
      'replay',
      captureOf(requestsOf(3)),
      '--target',
      server.url,
      '--out',
      out,
    ]);
    expect(result.status).toBe(2);
    expect(readFileSync(join(out, 'notes.txt'), 'utf8')).toBe('mine');
    expect(existsSync(join(out, 'run.sqlite'))).toBe(false);
    expect(server.requests).toEqual([]);
  });
});

describe('a dry run', () => {
  it('plans without a target, sends nothing and writes nothing', async () => {
    const cwd = temporaryDirectory();
    const exchanges = [...requestsOf(100, 10_000), arrivalAlone(TEST_EPOCH_US + 2_000_000)];
    const result = await runReprise(
      ['replay', captureOf(exchanges), '--dry-run', '--multiplier', '2', '--json'],
      { cwd },
    );
    expect(result.status).toBe(0);
    expect(JSON.parse(result.stdout)).toMatchObject({
      kind: 'replay_plan',
      recorded: 101,
      planned: 100,
      sendable: true,
      multiplier: 2,
      durationS: 1,
      scaling: 'compress',
      skipped: { no_payload: 1, truncated_request: 0, incomplete_request: 0 },
      peak: { second: '2026-11-24T15:00:00.000000Z', recordedPerSecond: 100 },
      connections: 1,
      payloads: { sampled: 100 },
      fidelity: { sent: null, recorded: { count: 101 }, planned: { count: 100 } },
    });
    expect(existsSync(join(cwd, 'runs'))).toBe(false);
  });

  it('plans a capture of arrivals alone, which a replay refuses', async () => {
    const capture = captureOf(
      [1, 2, 3].map((at) => arrivalAlone(TEST_EPOCH_US + at * 1_000_000)),
      {
        origin: { kind: 'imported', file: 'trace.csv', paired: false, details: {} },
      },
    );
    const plan = await runReprise(['replay', capture, '--dry-run']);
    expect(plan.status).toBe(0);
    expect(plan.stdout).toMatch(/^Plan: /);
    expect(plan.stdout).toMatch(/exchanges +3 +3\n/);
    expect(plan.stdout).toContain('it can be planned, not replayed');
    const refused = await runReprise(['replay', capture, '--target', 'http://127.0.0.1:1']);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('arrivals without requests');
  });
});
