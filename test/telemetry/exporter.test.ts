import { setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { Problems } from '../../src/core/errors.ts';
import type { Send } from '../../src/core/run.ts';
import { RunTelemetry } from '../../src/telemetry/exporter.ts';
import {
  EXPONENTIAL_SCALE,
  exponentialBuckets,
  type Instrument,
  OUTCOMES,
  RunInstruments,
} from '../../src/telemetry/instruments.ts';
import { telemetryOptionsOf } from '../../src/telemetry/options.ts';
import { samplesOf, writeRequest } from '../../src/telemetry/remote-write.ts';
import { TraceSample } from '../../src/telemetry/traces.ts';
import { serverOf } from '../support/replaying.ts';
import { failed, refused, send } from '../support/sends.ts';

const seriesOf = (instruments: readonly Instrument[], name: string) => [
  ...(instruments.find(({ prometheus }) => prometheus === name)?.series.values() ?? []),
];

/** Bounds of times in seconds, as documented: 1, 2 and 5 a decade, from 0.1 ms to 10 min. */
const BOUNDS = [
  ...[0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05],
  ...[0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 600],
];

function bucketsWith(seconds: number): number[] {
  const bucket = BOUNDS.findIndex((bound) => seconds <= bound);
  return Array.from({ length: BOUNDS.length + 1 }, (_, at) => Number(at === bucket));
}

function instrumentsOf(sends: readonly Send[]): Instrument[] {
  const instruments = new RunInstruments();
  instruments.addSends(sends);
  return instruments.collect();
}

describe('the instruments of a run', () => {
  test('count each outcome once, and nothing of the warm-up', () => {
    const all = instrumentsOf([
      send({ index: 0, warmup: true }),
      send({ index: 1 }),
      failed(2),
      send({ index: 3, status: 500 }),
      send({ index: 4, cancelled: true }),
      refused(5),
      send({ index: 6, actualOffsetNs: null }),
    ]);
    const byOutcome = seriesOf(all, 'reprise_replay_requests_total').map(({ attributes, value }) => [
      attributes['outcome'],
      value,
    ]);
    expect(byOutcome).toEqual([
      ['completed', 1],
      ['failed', 2],
      ['cancelled', 1],
      ['refused', 1],
      ['not_sent', 1],
    ]);
    const errors = seriesOf(all, 'reprise_replay_request_duration_seconds');
    expect(errors.map(({ attributes, count }) => [attributes['error.type'], count])).toEqual([
      [undefined, 1],
      ['reset', 1],
      ['500', 1],
    ]);
    expect(seriesOf(all, 'reprise_replay_scheduled_latency_seconds')).toMatchObject([
      { count: 1, value: 0.01, buckets: bucketsWith(0.01) },
    ]);
  });

  test('tell twenty models apart and no more', () => {
    const all = instrumentsOf(Array.from({ length: 50 }, (_, index) => send({ index, model: `m${index}` })));
    const series = seriesOf(all, 'reprise_replay_requests_total');
    expect(series.length).toBe(21 * OUTCOMES.length);
    const others = series.filter(({ attributes }) => attributes['gen_ai.request.model'] === 'other');
    expect(others.map(({ attributes, value }) => [attributes['outcome'], value])).toEqual(
      OUTCOMES.map((outcome) => [outcome, outcome === 'completed' ? 30 : 0]),
    );
  });
});

test('an exponential bucket holds its value, and is 9 % wide', () => {
  void fc.assert(
    fc.property(fc.double({ min: 1e-9, max: 1e5, noNaN: true, minExcluded: true }), (seconds) => {
      const lastByteOffsetNs = seconds * 1e9;
      const all = instrumentsOf([send({ index: 0, startOffsetNs: 0, lastByteOffsetNs })]);
      const [series] = seriesOf(all, 'reprise_replay_request_duration_seconds');
      const { first, counts } = exponentialBuckets(series!);
      expect(counts).toEqual([1]);
      const base = 2 ** (1 / 2 ** EXPONENTIAL_SCALE);
      const tolerance = 1e-9 * seconds;
      expect(base ** first).toBeLessThan(seconds + tolerance);
      expect(base ** (first + 1)).toBeGreaterThanOrEqual(seconds - tolerance);
    }),
  );
});

test('exemplars go with one export, one for each bucket', () => {
  const instruments = new RunInstruments();
  const trace = (index: number) => ({ traceId: `trace-${index}`, spanId: 'span' });
  instruments.addSends([send({ index: 1 }), send({ index: 2 }), send({ index: 3 })], ({ index }) =>
    index === 3 ? null : { atUs: index, trace: trace(index) },
  );
  const exemplars = () =>
    seriesOf(instruments.collect(), 'reprise_replay_scheduled_latency_seconds').flatMap((series) => [
      ...series.exemplars.values(),
    ]);
  expect(exemplars()).toEqual([{ atUs: 2, trace: trace(2), value: 0.01 }]);
  expect(exemplars()).toEqual([]);
});

describe('a sample of traces', () => {
  const sample = new TraceSample('run', 0.25);
  const traced = Array.from({ length: 4_000 }, (_, index) => sample.of(index)).filter(
    (each) => each !== null,
  );

  test('has its share, and ids that nothing else has', () => {
    expect(traced.length).toBeGreaterThan(900);
    expect(traced.length).toBeLessThan(1_100);
    expect(new Set(traced.map(({ traceId }) => traceId)).size).toBe(traced.length);
    expect(
      traced.every(({ traceId, spanId }) => /^[0-9a-f]{32}$/.test(traceId) && /^[0-9a-f]{16}$/.test(spanId)),
    ).toBe(true);
    expect(new TraceSample('another', 1).of(0)).not.toEqual(new TraceSample('run', 1).of(0));
  });

  test('puts its own trace in place of the recorded one, and leaves other requests alone', () => {
    const headers = ['A', '1', 'TraceParent', '00-x-y-01', 'traceparent-like', '2', 'Tracestate', 'v=1'];
    const of = new TraceSample('run', 1).of(3);
    expect(new TraceSample('run', 1).headersOf(3, headers)).toEqual([
      ...['A', '1', 'traceparent-like', '2'],
      ...['traceparent', `00-${of?.traceId}-${of?.spanId}-01`],
    ]);
    expect(new TraceSample('run', 1e-12).headersOf(3, headers)).toBe(headers);
  });
});

/** What a receiver of remote write reads: the block's literals, and the length it begins with. */
function unpacked(block: Buffer): { readonly length: number; readonly data: Buffer } {
  let at = 0;
  let length = 0;
  for (let shift = 1; ; shift *= 128) {
    const byte = block[at++] ?? 0;
    length += (byte & 0x7f) * shift;
    if (byte < 0x80) break;
  }
  const literals: Buffer[] = [];
  while (at < block.length) {
    expect(block[at]).toBe(0xf4);
    const bytes = block.readUInt16LE(at + 1) + 1;
    literals.push(block.subarray(at + 3, at + 3 + bytes));
    at += 3 + bytes;
  }
  return { length, data: Buffer.concat(literals) };
}

describe('remote write', () => {
  test('writes the bytes of its protobuf, labels in order', () => {
    const sample = { labels: { b: 'x', __name__: 'n', a: 'y' }, value: 1.5, exemplar: null };
    const block = writeRequest([sample], [], 300);
    const label = (name: string, text: string) =>
      Buffer.concat([
        Buffer.from([0x0a, 4 + name.length + text.length, 0x0a, name.length]),
        Buffer.from(name),
        Buffer.from([0x12, text.length]),
        Buffer.from(text),
      ]);
    const point = Buffer.from([0x12, 12, 0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x10, 0xac, 0x02]);
    const series = Buffer.concat([label('__name__', 'n'), label('a', 'y'), label('b', 'x'), point]);
    const { length, data } = unpacked(block);
    expect(data).toEqual(Buffer.concat([Buffer.from([0x0a, series.length]), series]));
    expect(length).toBe(data.length);
  });

  test('splits what is longer than one literal', () => {
    const samples = Array.from({ length: 4_000 }, (_, at) => ({
      labels: { __name__: `metric_${at}` },
      value: at,
      exemplar: null,
    }));
    const { length, data } = unpacked(writeRequest(samples, [], 1));
    expect(data.length).toBe(length);
    expect(data.length).toBeGreaterThan(65_536);
    expect(data.includes('metric_3999')).toBe(true);
  });

  test('makes buckets cumulative', () => {
    const all = instrumentsOf([send({ index: 0 }), send({ index: 1, lastByteOffsetNs: 100e6 + 15e6 })]);
    const buckets = samplesOf(all, { job: 'reprise' }, true).filter(
      ({ labels }) => labels['__name__'] === 'reprise_replay_scheduled_latency_seconds_bucket',
    );
    const [first, second] = [BOUNDS.indexOf(0.01), BOUNDS.indexOf(0.02)];
    expect(buckets.map(({ value }) => value)).toEqual(
      [...BOUNDS, Number.POSITIVE_INFINITY].map((_, at) => Number(at >= first) + Number(at >= second)),
    );
    expect(buckets.at(-1)?.labels).toEqual({
      __name__: 'reprise_replay_scheduled_latency_seconds_bucket',
      job: 'reprise',
      operation: 'infer',
      model: 'resnet',
      le: '+Inf',
    });
  });
});

function telemetryTo(url: string, traceShare: number | null = 1): RunTelemetry {
  const startNs = systemClock.nowNs();
  return new RunTelemetry({
    options: {
      receivers: [{ kind: 'otlp', url, headers: [['authorization', 'secret']] }],
      traceShare,
      intervalMs: 60_000,
      otlpHistograms: 'exponential',
    },
    run: { id: 'run', version: '1', name: null, tested: {}, server: { address: 'target', port: 80 } },
    clock: systemClock,
    startNs: () => startNs,
    inFlight: () => 0,
  });
}

describe('the exporter', () => {
  test('drops spans over its limit, and says how many', async () => {
    const server = await serverOf();
    const telemetry = telemetryTo(server.url);
    telemetry.ended(Array.from({ length: 5_000 }, (_, index) => send({ index })));
    await telemetry.end({ verdict: null, slo: [] });
    expect(telemetry.document().spans).toEqual({ traced: 5_000, delivered: 4_096, dropped: 904 });
    expect(server.requests.filter(({ target }) => target === '/v1/traces').length).toBe(8);
    expect(server.requests[0]?.headers.find(([name]) => name === 'authorization')?.[1]).toBe('secret');
  });

  test('tries the last metrics again, and counts what failed', async () => {
    let asked = 0;
    const server = await serverOf((_, response) => {
      asked += 1;
      response.writeHead(asked < 3 ? 503 : 200).end();
    });
    const telemetry = telemetryTo(server.url, null);
    telemetry.ended([send({ index: 0 })]);
    await telemetry.end({ verdict: null, slo: [] });
    expect(telemetry.document()).toMatchObject({
      receivers: [{ pushes: 3, failed: 2, complete: true, lastError: 'status 503: ' }],
      spans: { traced: 0, delivered: 0, dropped: 0 },
    });
  });

  test('ends without a receiver, and says that its last values are missing', async () => {
    const server = await serverOf();
    await server.close();
    const telemetry = telemetryTo(server.url);
    telemetry.ended(Array.from({ length: 1_000 }, (_, index) => send({ index })));
    await telemetry.end({ verdict: null, slo: [] });
    // Three pushes of metrics and one of two of spans: where one failed, the next would wait as long.
    expect(telemetry.document()).toMatchObject({
      receivers: [{ pushes: 4, failed: 4, complete: false }],
      spans: { traced: 1_000, delivered: 0, dropped: 1_000 },
    });
  });

  test('sends explicit histograms to a receiver that refuses exponential ones, from then on', async () => {
    const server = await serverOf(({ body }, response) => {
      response.writeHead(body.includes('exponentialHistogram') ? 400 : 200).end();
    });
    const telemetry = telemetryTo(server.url, null);
    for (const index of [0, 1]) {
      telemetry.ended([send({ index })]);
      await telemetry.end({ verdict: null, slo: [] });
    }
    const { receivers } = telemetry.document();
    expect(receivers).toMatchObject([{ pushes: 2, failed: 0, complete: true, lastError: null }]);
    expect(server.requests.map(({ body }) => body.includes('exponentialHistogram'))).toEqual([
      true,
      false,
      false,
    ]);
  });

  test('sends explicit histograms alone to a receiver that leaves exponential ones out', async () => {
    const server = await serverOf(({ body }, response) => {
      const rejected = body.includes('exponentialHistogram')
        ? '{"partialSuccess":{"rejectedDataPoints":"3"}}'
        : '{}';
      response.end(rejected);
    });
    const telemetry = telemetryTo(server.url, null);
    telemetry.ended([send({ index: 0 })]);
    await telemetry.end({ verdict: null, slo: [] });
    expect(telemetry.document().receivers).toMatchObject([{ pushes: 1, failed: 0, rejected: 0 }]);
    expect(server.requests).toHaveLength(2);
  });

  test('sends every outcome at 0 before anything is counted', async () => {
    const server = await serverOf();
    const telemetry = telemetryTo(server.url, null);
    telemetry.begin();
    telemetry.planned({ route: 'POST /x', model: 'm' }, 0);
    for (let tries = 0; tries < 1_000 && server.requests.length === 0; tries += 1) await setTimeout(5);
    telemetry.ended([refused(0, { route: 'POST /x', model: 'm' })]);
    await telemetry.end({ verdict: null, slo: [] });
    const counts = server.requests.map(({ body }) => {
      const [scope] = JSON.parse(body.toString()).resourceMetrics[0].scopeMetrics;
      const { sum } = scope.metrics.find(({ name }: { name: string }) => name === 'reprise.replay.requests');
      return sum.dataPoints.map(({ asInt }: { asInt: string }) => Number(asInt));
    });
    expect(counts).toEqual([
      [0, 0, 0, 0, 0],
      [0, 0, 0, 1, 0],
    ]);
  });

  test('counts what a receiver left out', async () => {
    const server = await serverOf(({ target }, response) => {
      response.end(target === '/v1/traces' ? '{"partialSuccess":{"rejectedSpans":"2"}}' : '{}');
    });
    const telemetry = telemetryTo(server.url);
    telemetry.ended([0, 1, 2].map((index) => send({ index })));
    await telemetry.end({ verdict: null, slo: [] });
    expect(telemetry.document()).toMatchObject({
      receivers: [{ failed: 0, rejected: 2 }],
      spans: { traced: 3, delivered: 1, dropped: 2 },
    });
  });
});

test('a header without its receiver is refused', () => {
  const problems = new Problems();
  telemetryOptionsOf({ otlp: null, remoteWrite: null }, [{ to: 'otlp', header: ['A', 'b'] }], problems);
  expect(() => problems.throwIfAny()).toThrow(/--header "otlp …" has no effect without --otlp/);
});
