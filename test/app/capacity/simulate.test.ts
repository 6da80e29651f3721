import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { capacitySchema } from '../../../src/documents/capacity.ts';
import { type CapacityDocument, capacity } from '../../../src/index.ts';
import { captureOf } from '../../support/captures.ts';
import { runCommand } from '../../support/command-here.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { repeated } from '../../support/long-form.ts';
import {
  poissonArrivals,
  queueLatencies,
  SERVICE_TIMES,
  type ServiceName,
  uniform,
} from '../../support/queue-simulator.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const EXECUTORS = 4;
const MEAN_S = 0.05;
/** Of the executors' time, while recording. */
const LOAD = 0.55;
const REQUESTS = 4_000;
const SECONDS = (REQUESTS * MEAN_S) / (EXECUTORS * LOAD);
const OPTIONS = { slo: 'latency: p(95)<150', simulate: true, step: '10s', width: '20%' } as const;

interface RecordedQueue {
  readonly seed: number;
  readonly executors?: number;
  readonly service?: ServiceName | 'even';
  /** The services of the second half take so many times as long. */
  readonly slowed?: number;
}

/** What a queue answered. */
function recordedQueue({
  seed,
  executors = EXECUTORS,
  service = 'steady',
  slowed = 1,
}: RecordedQueue): string {
  const random = uniform(seed);
  const arrivals = poissonArrivals(REQUESTS, REQUESTS / SECONDS, random);
  const serviceS = (at: number) =>
    (service === 'even' ? 1 : SERVICE_TIMES[service](random)) * MEAN_S * (at < REQUESTS / 2 ? 1 : slowed);
  const latencies = queueLatencies(arrivals, executors, serviceS);
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

const OPEN_SERVICES = ['even', 'steady', 'skewed', 'exponential'] as const;
/** The screen is the same for each of them. */
const SHOWN: readonly string[] = repeated(['steady'], [...OPEN_SERVICES]);

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
    capture = recordedQueue({ seed: 1 });
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

  it('is printed as a forecast with what it assumes, and warns where the queue is off by more than the width', async () => {
    const screenOf = async (directory: string) => {
      const args = ['capacity', directory, '--simulate', '--slo', OPTIONS.slo, '--step', '10s'];
      const { status, stdout } = await runCommand([...args, '--width', '20%']);
      expect(status).toBe(0);
      return stdout;
    };
    const [like, unlike] = [await screenOf(capture), await screenOf(recordedQueue({ seed: 2, slowed: 1.4 }))];
    expect(like).toMatch(/^Forecast of the breaking point: /);
    expect(like).toContain('a queue with 4 executors');
    expect(like).toContain('nothing was sent');
    for (const screen of [like, unlike]) expect(screen).toMatch(/other requests it is off by p50 /);
    expect(like).not.toContain('more than the width');
    expect(unlike).toContain('more than the width');
  });

  it('prints the replicas by what passed and by what is certain, each with its basis', async () => {
    const page = join(temporaryDirectory(), 'page.html');
    const args = ['capacity', capture, '--simulate', '--slo', OPTIONS.slo, '--step', '10s'];
    const asked = [...args, '--width', '20%', '--replicas', '20', '--html', page];
    const { stdout } = await runCommand([...asked, '--json']);
    const { sizing, breakingPoint } = capacitySchema.parse(JSON.parse(stdout));
    const ratePerSecond = breakingPoint.passes!.ratePerSecond / breakingPoint.passes!.multiplier;
    const needed = (multiplier: number) =>
      [1, 1.5, 2].map((times) =>
        Math.ceil((20 * times * sizing!.peakPerSecond) / ratePerSecond / multiplier),
      );
    const certain = Math.min(breakingPoint.interval![0], breakingPoint.passes!.multiplier);
    const passed = needed(breakingPoint.passes!.multiplier);
    expect(sizing!.certainMultiplier).toBe(certain);
    expect(sizing!.replicasNeeded.map(({ replicasPassed }) => replicasPassed)).toEqual(passed);
    expect(sizing!.replicasNeeded.map(({ replicas }) => replicas)).toEqual(needed(certain));
    expect(passed).not.toEqual(needed(certain));
    for (const form of [[], ['--verbose']]) {
      const text = (await runCommand([...asked, ...form])).stdout.replaceAll(/\s+/g, ' ');
      expect(text).toContain(`${passed.join(', ')} by what passed`);
      expect(text).toContain(`${needed(certain).join(', ')} certain at 95 %`);
    }
    const html = readFileSync(page, 'utf8');
    expect(html).toContain(`${passed.join(', ')} by what passed`);
    expect(html).toContain(`certain at 95 %; ${passed[0]} by what passed`);
  });

  it.each(OPEN_SERVICES)(
    'of a server whose %s latencies do not depend on load is not known: no interval, status 4',
    async (service) => {
      const open = recordedQueue({ seed: 3, executors: 1_000, service });
      const args = ['capacity', open, '--simulate', '--slo', OPTIONS.slo];
      const { status, stdout } = await runCommand([...args, '--json']);
      expect(status).toBe(4);
      expect(capacitySchema.parse(JSON.parse(stdout))).toMatchObject({
        limitedBy: 'recording',
        endedBy: 'recording',
        breakingPoint: { passes: null, fails: null, boundary: null, interval: null },
        sizing: null,
        forecast: { isOpen: true },
      });
      if (!SHOWN.includes(service)) return;
      const screen = await runCommand(args);
      expect(screen.status).toBe(4);
      expect(screen.stdout).toMatch(/^Forecast of the breaking point: cannot be known from this recording/);
      expect(screen.stdout).toContain('hardly a recorded request waited');
    },
  );

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
