import { describe, expect, test } from 'vitest';
import { checkQueue, fitQueue, type ServedRequest } from '../../../src/analysis/capacity/fit-queue.ts';
import { hopelessAtS, playQueue } from '../../../src/analysis/capacity/queue-model.ts';
import {
  poissonArrivals,
  queueLatencies,
  SERVICE_TIMES,
  type ServiceName,
  uniform,
} from '../../support/queue-simulator.ts';

const MEAN_S = 0.04;
/** A quarter of the requests is large and takes three times as long. */
const LARGE = { share: 0.25, times: 3, bytes: 9_000 };
const MEAN_OF_ALL_S = MEAN_S * (1 + LARGE.share * (LARGE.times - 1));

interface Parts {
  readonly executors: number;
  readonly load: number;
  readonly service: ServiceName;
  readonly seed: number;
  readonly requests?: number;
}

function recorded({ executors, load, service, seed, requests = 10_000 }: Parts): ServedRequest[] {
  const random = uniform(seed);
  const isLarge = Array.from({ length: requests }, () => random() < LARGE.share);
  const arrivals = poissonArrivals(requests, (executors * load) / MEAN_OF_ALL_S, random);
  const draw = SERVICE_TIMES[service];
  const latencies = queueLatencies(
    arrivals,
    executors,
    (at) => draw(random) * MEAN_S * (isLarge[at] ? LARGE.times : 1),
  );
  return Array.from(arrivals, (offsetS, at) => ({
    offsetS,
    latencyS: latencies[at]!,
    requestBytes: isLarge[at] ? LARGE.bytes : 1_000,
  }));
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, each) => sum + each, 0) / values.length;
}

describe('fitQueue', () => {
  test.each([
    { executors: 1, load: 0.5, service: 'exponential' },
    { executors: 2, load: 0.6, service: 'skewed' },
    { executors: 4, load: 0.7, service: 'steady' },
    { executors: 4, load: 0.6, service: 'exponential' },
    { executors: 16, load: 0.8, service: 'steady' },
  ] as const)('finds $executors executors at a load of $load, $service services', (parts) => {
    const fit = fitQueue(recorded({ ...parts, seed: 1 }))!;
    expect(fit.model.executors).toBe(parts.executors);
    expect(fit.executors.isOpen).toBe(false);
    const [small, large] = fit.model.sizes;
    expect([small!.upToBytes, large!.upToBytes]).toEqual([1_000, Number.POSITIVE_INFINITY]);
    expect(Math.abs(mean(small!.servicesS) / MEAN_S - 1)).toBeLessThan(0.05);
    expect(Math.abs(mean(large!.servicesS) / (MEAN_S * LARGE.times) - 1)).toBeLessThan(0.1);
    const check = checkQueue(fit.model, recorded({ ...parts, seed: 2 }))!;
    for (const { error } of check.percentiles) expect(Math.abs(error)).toBeLessThan(0.2);
  });

  test('of a server that hardly ever let a request wait, says that the number is open', () => {
    const fit = fitQueue(recorded({ executors: 64, load: 0.1, service: 'steady', seed: 1 }))!;
    expect(fit.executors.isOpen).toBe(true);
  });

  test('of a server that slows down under load, the check tells that it is no such queue', () => {
    const shared = (seed: number, load: number): ServedRequest[] => {
      const random = uniform(seed);
      const arrivals = poissonArrivals(8_000, load / MEAN_S, random);
      const ends: number[] = [];
      return Array.from(arrivals, (offsetS) => {
        const open = ends.filter((end) => end > offsetS);
        // Each takes longer by all that it finds, and nobody waits for anybody.
        const latencyS = MEAN_S * (1 + 0.5 * open.length) * SERVICE_TIMES.steady(random);
        ends.splice(0, ends.length, ...open, offsetS + latencyS);
        return { offsetS, latencyS, requestBytes: 1_000 };
      });
    };
    const { model } = fitQueue(shared(1, 0.8))!;
    const errors = checkQueue(model, shared(2, 1.3))!.percentiles.map(({ error }) => Math.abs(error));
    expect(Math.max(...errors)).toBeGreaterThan(0.25);
  });

  test('says nothing of too few requests', () => {
    const parts = { executors: 1, load: 0.5, service: 'steady', seed: 1 } as const;
    expect(fitQueue(recorded({ ...parts, requests: 199 }))).toBeNull();
    expect(fitQueue(recorded({ ...parts, requests: 200 }))).not.toBeNull();
  });
});

describe('playQueue', () => {
  test.each([1, 3, 20])('answers first come first served by %i executors', (executors) => {
    const arrivals = poissonArrivals(2_000, executors * 0.9, uniform(5));
    const schedule = Array.from(arrivals, (offsetS) => ({ offsetS, requestBytes: 1 }));
    const sizes = [{ upToBytes: Number.POSITIVE_INFINITY, servicesS: [0.5, 1, 1.5] }];
    const services = uniform(6);
    const random = uniform(6);
    expect(playQueue({ executors, sizes }, schedule, random)).toEqual(
      queueLatencies(arrivals, executors, () => sizes[0]!.servicesS[Math.floor(services() * 3)]!),
    );
  });

  test('a step is beyond hope once its backlog grows, and not before', () => {
    const healthy = { offeredPerS: 100, dispersion: 1, longestAnswerS: 0.1 };
    const schedule = Array.from({ length: 6_000 }, (_, at) => ({
      offsetS: at / 100,
      requestBytes: 1,
    }));
    const steady = Float64Array.from(schedule, () => 0.05);
    const drowning = Float64Array.from(schedule, ({ offsetS }) => offsetS);
    expect(hopelessAtS(schedule, steady, healthy)).toBeNull();
    expect(hopelessAtS(schedule, drowning, healthy)).toBeLessThan(10);
  });
});
