import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DurationsAside } from '../../src/analysis/durations-aside.ts';
import type { Durations } from '../../src/analysis/latency-statistics.ts';
import type { StreamTimes } from '../../src/analysis/stream-statistics.ts';
import { StreamsAside } from '../../src/analysis/streams-aside.ts';

const ns = fc.integer({ min: 0, max: 2 ** 53 - 1 });
const maybeNs = fc.option(ns);

const durations: fc.Arbitrary<Durations> = fc.record({
  intendedOffsetNs: ns,
  endOffsetNs: ns,
  inFlightNs: fc.integer({ min: -1_000, max: 2 ** 50 }),
  lagNs: ns,
  connectNs: maybeNs,
  connectionWaitNs: maybeNs,
  hasLatency: fc.boolean(),
  cancelled: fc.boolean(),
  stopped: fc.boolean(),
});

const times: fc.Arbitrary<StreamTimes> = fc.record({
  completed: fc.boolean(),
  stopped: fc.boolean(),
  intendedNs: ns,
  actualNs: ns,
  endNs: ns,
  firstNs: maybeNs,
  lastNs: maybeNs,
  gaps: fc.option(
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.integer({ min: 20_000, max: 140_000 }).map((bytes) => new Uint8Array(bytes).fill(bytes % 251)),
    ),
  ),
  outputTokens: fc.option(fc.nat()),
  content: fc.constantFrom('some', 'none', 'unread'),
});

describe('what waits for the end of a run', () => {
  test('comes back as it was, durations', () => {
    fc.assert(
      fc.property(fc.array(durations, { maxLength: 50 }), fc.integer({ min: 0, max: 60 }), (all, max) => {
        const aside = new DurationsAside(max);
        expect(all.map((one) => aside.add(one))).toEqual(all.map((_, at) => at < max));
        expect([...aside.takeAll()]).toEqual(all.slice(0, max));
        expect([...aside.takeAll()]).toEqual([]);
      }),
    );
  });

  test('comes back as it was, streams with their gaps', () => {
    fc.assert(
      fc.property(fc.array(times, { maxLength: 30 }), (all) => {
        const aside = new StreamsAside({ streams: 1_000, bytes: 2 ** 30 });
        for (const one of all) expect(aside.add(one)).toBe(true);
        expect([...aside.takeAll()]).toEqual(all);
        expect([...aside.takeAll()]).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  test('is so many streams and so many bytes of gaps at most, and what is refused changes nothing', () => {
    fc.assert(
      fc.property(fc.array(times, { maxLength: 30 }), fc.nat(20), fc.nat(200_000), (all, streams, bytes) => {
        const aside = new StreamsAside({ streams, bytes });
        const kept = all.filter((one) => aside.add(one));
        expect(kept.length).toBeLessThanOrEqual(streams);
        expect(kept.reduce((sum, { gaps }) => sum + (gaps?.length ?? 0), 0)).toBeLessThanOrEqual(bytes);
        expect([...aside.takeAll()]).toEqual(kept);
      }),
      { numRuns: 50 },
    );
  });

  test('keeps the order of thousands', () => {
    const aside = new DurationsAside(10_000);
    const one = (lagNs: number): Durations => ({
      ...{
        intendedOffsetNs: 1,
        endOffsetNs: 2,
        inFlightNs: 1,
        lagNs,
        connectNs: null,
        connectionWaitNs: null,
      },
      ...{ hasLatency: true, cancelled: false, stopped: false },
    });
    for (let lagNs = 0; lagNs < 10_000; lagNs++) aside.add(one(lagNs));
    expect([...aside.takeAll()].map(({ lagNs }) => lagNs)).toEqual(
      Array.from({ length: 10_000 }, (_, at) => at),
    );
  });
});
