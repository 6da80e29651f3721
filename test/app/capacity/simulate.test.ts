import { beforeAll, describe, expect, it } from 'vitest';
import { capacitySchema } from '../../../src/documents/capacity.ts';
import { type CapacityDocument, capacity } from '../../../src/index.ts';
import { captureOf } from '../../support/captures.ts';
import { runCommand } from '../../support/command-here.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { poissonArrivals, queueLatencies, SERVICE_TIMES, uniform } from '../../support/queue-simulator.ts';

const EXECUTORS = 4;
const MEAN_S = 0.05;
/** Of the executors' time, while recording. */
const LOAD = 0.55;
const REQUESTS = 4_000;
const SECONDS = (REQUESTS * MEAN_S) / (EXECUTORS * LOAD);
const OPTIONS = { slo: 'latency: p(95)<150', simulate: true, window: '10s', width: '20%' } as const;

/** What a queue with four executors answered. */
function recordedQueue(seed: number): string {
  const random = uniform(seed);
  const arrivals = poissonArrivals(REQUESTS, REQUESTS / SECONDS, random);
  const latencies = queueLatencies(arrivals, EXECUTORS, () => SERVICE_TIMES.steady(random) * MEAN_S);
  return captureOf(
    Array.from(arrivals, (arrivalS, at) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + Math.round(arrivalS * 1e6),
        request: requestMessage({ target: '/v2/models/m/infer' }),
        firstByteOffsetUs: Math.round(latencies[at]! * 1e6),
        lastByteOffsetUs: Math.round(latencies[at]! * 1e6),
      }),
    ),
  );
}

const WINDOWS = 60;

/** The load at which half of so long windows keep p95 below 150 ms, by playing many of them. */
function trueBoundary(): number {
  const random = uniform(99);
  const passed = (multiplier: number) => {
    let good = 0;
    for (let window = 0; window < WINDOWS; window++) {
      const rate = (REQUESTS / SECONDS) * multiplier;
      const arrivals = poissonArrivals(Math.round(rate * 10), rate, random);
      const latencies = queueLatencies(arrivals, EXECUTORS, () => SERVICE_TIMES.steady(random) * MEAN_S);
      if (latencies.sort()[Math.ceil(0.95 * latencies.length) - 1]! < 0.15) good += 1;
    }
    return good / WINDOWS;
  };
  let [low, high] = [1, 2];
  for (let round = 0; round < 6; round++) {
    const middle = (low + high) / 2;
    if (passed(middle) > 0.5) low = middle;
    else high = middle;
  }
  return low;
}

describe('a forecast', () => {
  let capture = '';
  let found: CapacityDocument;
  beforeAll(async () => {
    capture = recordedQueue(1);
    found = await capacity(capture, OPTIONS);
  });

  it('finds the executors and the service times, and checks them on the other half', () => {
    expect(capacitySchema.parse(found)).toEqual(found);
    expect(found.forecast).toMatchObject({ executors: EXECUTORS, isOpen: false });
    expect(found.forecast!.services[0]!.meanMs).toBeCloseTo(MEAN_S * 1e3, -1);
    const { fitted, checked } = found.forecast!;
    expect(fitted.requests + checked.requests).toBe(REQUESTS);
    expect(fitted.from > checked.to || checked.from > fitted.to).toBe(true);
    for (const { error } of checked.percentiles) expect(Math.abs(error)).toBeLessThan(0.25);
  });

  it('lies within a quarter of the true boundary', () => {
    const truth = trueBoundary();
    expect(found.limitedBy).toBe('objective');
    expect(Math.abs(found.breakingPoint.boundary!.multiplier / truth - 1)).toBeLessThan(0.25);
  });

  it('is printed as a forecast with what it assumes, and sends nothing', async () => {
    const args = [
      'capacity',
      capture,
      '--simulate',
      '--slo',
      OPTIONS.slo,
      '--window',
      '10s',
      '--width',
      '20%',
    ];
    const { status, stdout } = await runCommand(args);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Forecast of the breaking point: /);
    expect(stdout).toContain('a queue with 4 executors');
    expect(stdout).toContain('nothing was sent');
  });

  it('refuses an objective that a queue knows nothing of', async () => {
    const { status, stderr } = await runCommand([
      'capacity',
      capture,
      '--simulate',
      '--slo',
      'ttft: p(95)<100',
    ]);
    expect(status).toBe(2);
    expect(stderr).toContain('ttft: p(95)<100');
  });
});
