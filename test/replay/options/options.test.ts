import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/core/errors.ts';
import type { RawReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { describeReplayOptions, resolveReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { COMMAND_LINE_ALONE } from '../../support/option-sources.ts';

const sources = {
  ...COMMAND_LINE_ALONE,
  environment: (name: string) => (name === 'STAGING_TOKEN' ? 'Bearer s3cret\n' : undefined),
  readFile: (path: string) => {
    if (path !== '/run/token') throw new Error('no such file');
    return 'from-file\n';
  },
  nowUs: () => Date.UTC(2026, 10, 24, 12) * 1e3,
};

function problemsOf(raw: RawReplayOptions): AppError {
  try {
    resolveReplayOptions(raw, sources);
  } catch (thrown) {
    if (thrown instanceof AppError) return thrown;
    throw thrown;
  }
  throw new Error('was accepted');
}

describe('resolveReplayOptions', () => {
  it('resolves every default to a value', () => {
    expect(resolveReplayOptions({ target: 'http://staging:8000/' }, sources)).toEqual({
      grpcTarget: null,
      target: {
        url: 'http://staging:8000',
        origin: 'http://staging:8000',
        socketPath: null,
        tls: false,
        hostname: 'staging',
        port: 8000,
        authority: 'staging:8000',
        basePath: '',
      },
      multiplier: 1,
      scaling: 'compress',
      stages: null,
      targetShare: 1,
      untilSure: false,
      rate: null,
      concurrency: null,
      seed: 1,
      isScalingDefault: true,
      jitterMs: 1_000,
      copyPrompts: 'own',
      perturb: [],
      shard: null,
      startAtUs: null,
      window: {
        ranges: [{ fromUs: null, toUs: null }],
        search: null,
        recorders: [],
        loops: 1,
        durationMs: null,
      },
      filters: {
        methods: [],
        paths: [],
        statuses: [],
        models: [],
        clients: [],
        minRequestBytes: null,
        maxRequestBytes: null,
      },
      dryRun: false,
      slo: [],
      threads: 1,
      sessionOrder: 'open',
      connections: 'pooled',
      liveValues: { onDivergence: 'recorded', affinity: [] },
      maxConnectionAgeMs: null,
      maxInFlight: 10_000,
      maxInFlightBytes: 268_435_456,
      maxRatePerSecond: null,
      maxRequests: null,
      timeoutMs: 300_000,
      connectTimeoutMs: 10_000,
      firstByteTimeoutMs: 300_000,
      idleTimeoutMs: 60_000,
      drainDeadlineMs: 30_000,
      caPem: null,
      clientCertificate: null,
      acceptAnyCertificate: false,
      host: 'target',
      cancels: 'replay',
      check: null,
      pinOutputLength: null,
      requestUsage: false,
      addedHeaders: [],
      removedHeaders: [],
      pathMappings: [],
      shiftTime: [],
      productionHosts: [],
      allowedProductionHosts: [],
      warmupMs: null,
      calibrateMs: null,
      calibrationBounds: { p50Factor: 2, statusShare: 0.02, sizeShare: 0.2 },
      confidence: 0.95,
      lagBound: { lagMs: null, share: null },
      retainRuns: null,
    });
  });

  it('lists every problem at once', () => {
    const error = problemsOf({
      target: 'ftp://staging:8000',
      multiplier: '0',
      window: ['2026-11-20T11:00:00Z..2026-11-20T10:00:00Z'],
      maxInFlight: '-1',
      maxRate: '1.5',
      timeout: '5',
      host: 'mine',
      header: ['no colon', 'Content-Length: 5'],
      slo: ['nonsense'],
    });
    expect(error.code).toBe('OPTION_INVALID');
    const lines = error.message.split('\n');
    for (const start of [
      '--target',
      '--multiplier',
      '--window: "2026-11-20T11:00:00Z..2026-11-20T10:00:00Z" ends before',
      '--max-in-flight',
      '--max-rate',
      '--timeout',
      '--host',
      '--header: expected',
      '--header: "Content-Length"',
      '--slo',
    ]) {
      expect(lines.filter((line) => line.startsWith(start))).toHaveLength(1);
    }
    expect(lines).toHaveLength(10);
  });

  it.each(['0', '-1', 'NaN', 'Infinity', '', '1e7', '1..5', '0x10'])(
    'refuses the multiplier %j',
    (multiplier) => {
      expect(problemsOf({ target: 'http://a', multiplier }).message).toMatch(/^--multiplier: /);
    },
  );

  it.each([
    'http://',
    'ftp://host',
    'host',
    'http:8000',
    'host:99999',
    'user@host:80',
    'http://host:99999',
    'http://host/?q=1',
    'http://host/#top',
    '/only/path',
  ])('refuses the target %j', (target) => {
    expect(problemsOf({ target }).message).toMatch(/^--target: /);
  });

  it.each([
    ['staging:8000', 'http://staging:8000'],
    ['10.0.0.7:8000/base/', 'http://10.0.0.7:8000/base'],
    ['[::1]:8000', 'http://[::1]:8000'],
    [' :8000 ', 'http://127.0.0.1:8000'],
  ])('takes the target %j for %s', (target, url) => {
    expect(resolveReplayOptions({ target }, sources).target?.url).toBe(url);
  });

  it('refuses credentials in the target without repeating them', () => {
    const { message } = problemsOf({ target: 'http://user:hunter2@host/' });
    expect(message).toContain('credentials');
    expect(message).not.toContain('hunter2');
    expect(problemsOf({ target: 'http://host/?key=hunter2' }).message).not.toContain('hunter2');
  });

  it('refuses a header that is to be the same everywhere and to differ in copies', () => {
    const raw = { target: 'http://a', header: ['X-Key: a'], scaling: 'perturb=header:x-key' };
    expect(problemsOf(raw).message).toMatch(/^--scaling perturb=header:x-key: --header sets it/);
  });

  it('reads how requests are sent, and holds each part of the time to the whole', () => {
    const options = resolveReplayOptions(
      {
        target: 'unix:///run/model/http.sock',
        threads: '4',
        connections: 'recorded,max-age=90s',
        maxInFlight: 'bytes=64MiB',
        host: 'models.staging:8000',
        timeout: '20s,connect=2s,idle=30s',
        header: ['X-Debug:'],
        rewrite: ['path=/v1=/v2'],
      },
      sources,
    );
    expect(options).toMatchObject({
      target: {
        url: 'unix:/run/model/http.sock',
        socketPath: '/run/model/http.sock',
        authority: 'localhost',
      },
      threads: 4,
      connections: 'recorded',
      maxConnectionAgeMs: 90_000,
      maxInFlightBytes: 67_108_864,
      timeoutMs: 20_000,
      connectTimeoutMs: 2_000,
      firstByteTimeoutMs: 20_000,
      idleTimeoutMs: 20_000,
      host: 'models.staging:8000',
      removedHeaders: ['x-debug'],
      pathMappings: [{ from: '/v1', to: '/v2' }],
    });
  });

  it.each([
    [{ threads: '0' }, '--threads'],
    [{ threads: '17' }, '--threads: "17" is more than 16'],
    [{ connections: 'pool' }, '--connections'],
    [{ connections: 'max-age=0s' }, '--connections max-age'],
    [{ maxInFlight: 'bytes=1KiB' }, '--max-in-flight bytes'],
    [{ timeout: 'connect=0s' }, '--timeout connect'],
    [{ timeout: 'first-byte=soon' }, '--timeout first-byte'],
    [{ timeout: 'idle=-1s' }, '--timeout idle'],
    [{ host: 'recorde' }, '--host'],
    [{ header: ['Content-Length:'] }, '--header'],
    [{ header: ['a b:'] }, '--header'],
    [{ header: ['X-Key: 1', 'x-key:'] }, '--header X-Key: is both set and removed'],
    [{ rewrite: ['path=/v1'] }, '--rewrite path'],
    [{ target: 'unix:relative.sock' }, '--target'],
    [{ target: `unix:/${'x'.repeat(120)}` }, '--target'],
  ] as const)('refuses %j', (raw, start) => {
    expect(problemsOf({ target: 'http://a', ...raw }).message.startsWith(start)).toBe(true);
  });

  it('wants a target unless nothing is sent', () => {
    expect(problemsOf({}).message).toContain('--target is missing');
    expect(resolveReplayOptions({ dryRun: true }, sources).target).toBeNull();
  });

  it('takes an equal from and to for an empty window, which is a mistake', () => {
    const at = '2026-11-20T10:00:00Z';
    expect(problemsOf({ target: 'http://a', window: [`${at}..${at}`] }).message).toContain(
      'ends before it begins',
    );
  });

  it('keeps the base path of a target and the port its Host header needs', () => {
    const https = resolveReplayOptions({ target: 'https://Staging.Example/v1/' }, sources).target;
    expect(https).toMatchObject({ basePath: '/v1', authority: 'staging.example', port: 443, tls: true });
    const v6 = resolveReplayOptions({ target: 'http://[::1]:9000' }, sources).target;
    expect(v6).toMatchObject({ hostname: '::1', authority: '[::1]:9000', port: 9000 });
  });

  it('reads the values of added headers from the environment and from files, and never stores them', () => {
    const options = resolveReplayOptions(
      {
        target: 'http://a',
        header: ['Authorization: env:STAGING_TOKEN', 'X-Key:file:/run/token', 'X-Plain:  a: b '],
      },
      sources,
    );
    expect(options.addedHeaders).toEqual([
      ['Authorization', 'Bearer s3cret'],
      ['X-Key', 'from-file'],
      ['X-Plain', 'a: b'],
    ]);
    const described = JSON.stringify(describeReplayOptions(options, { fromUs: 1, toUs: 2 }));
    expect(described).toContain('"addedHeaders":["Authorization","X-Key","X-Plain"]');
    expect(described).not.toMatch(/s3cret|from-file|a: b/);
  });

  it.each([
    ['Authorization: env:MISSING', /which is not set/],
    ['Authorization: file:/nowhere', /which cannot be read/],
    ['X-Reprise-Run: mine', /set by reprise itself/],
    ['Host: production', /set by reprise itself/],
    ['X: a\r\nY: b', /not allowed in a header/],
    ['X: \u2603', /not allowed in a header/],
    [': value', /valid header name/],
  ])('refuses the added header %j', (header, reason) => {
    expect(problemsOf({ target: 'http://a', header: [header] }).message).toMatch(reason);
  });

  it('ends early only where it is known how long it may last, and by what it is judged', () => {
    const slo = ['latency: p(99)<200'];
    const asked = { target: 'http://a', confidence: 'until-sure' };
    const whole = { ...asked, slo, duration: '10m' };
    expect(resolveReplayOptions(whole, sources).untilSure).toBe(true);
    expect(problemsOf(asked).message).toMatch(/needs --duration.*needs an objective/s);
    expect(problemsOf({ ...whole, confidence: 'point,until-sure' }).message).toMatch(
      /until-sure cannot be combined with point/,
    );
    expect(problemsOf({ ...whole, shard: '0/2' }).message).toMatch(/--shard/);
    expect(problemsOf({ ...whole, stages: '1m@1x,1m@2x' }).message).toMatch(/--stages/);
  });

  it('takes a shard, counted from 0, and a start in either form of time', () => {
    const raw = { target: 'http://staging' };
    const startAtUs = Date.UTC(2026, 10, 24, 12, 30) * 1e3;
    expect(
      resolveReplayOptions({ ...raw, shard: '2/3,start=2026-11-24T13:30:00+01:00' }, sources),
    ).toMatchObject({
      shard: { index: 2, count: 3 },
      startAtUs,
    });
    expect(
      resolveReplayOptions({ ...raw, shard: 'start=Tue, 24 Nov 2026 12:30:00 GMT' }, sources).startAtUs,
    ).toBe(startAtUs);
  });

  it('refuses that one shard removes the runs of the others before they are merged', () => {
    const raw = { target: 'http://staging', shard: '0/2', retainRuns: '1' };
    expect(problemsOf(raw).message).toContain('--retain-runs');
  });

  it.each(['3/3', '1', '-1/3', '0/0', '0/5000', 'a/b'])('refuses the shard %s', (shard) => {
    expect(problemsOf({ target: 'http://staging', shard }).message).toContain('--shard');
  });

  it.each([
    ['2026-11-24T11:59:58Z', 'is 2'],
    ['2026-12-24T12:00:00Z', 'over 7 days'],
    ['Mon, 30 Feb 2026 12:00:00 GMT', 'is not an instant'],
    ['soon', 'is not an instant'],
  ])('refuses the start %s', (startAt, reason) => {
    expect(problemsOf({ target: 'http://staging', shard: `start=${startAt}` }).message).toContain(reason);
  });
});
