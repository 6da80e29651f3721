import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/core/random.ts';
import { CaptureWriter } from '../../src/storage/capture-writer.ts';
import { inspectCapture } from '../../src/storage/inspection.ts';
import { newCapture, writerOptions } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { live } from '../support/lives.ts';
import { seenByBoth } from '../support/seen-by-both.ts';
import { StandingClock } from '../support/standing-clock.ts';

const HOUR_US = 3_600_000_000;

describe('skew between clocks', () => {
  it('is nothing for one recorder, and what its clock did is shown', () => {
    const { clockSkew } = inspectCapture(live({ id: 'a', hours: 3 }));
    expect(clockSkew).toEqual({
      boundMs: 0,
      pairs: { all: 0, bounded: 0, boundMs: null },
      between: [],
      clocks: [{ recorder: 'a', anchors: 6, stepMs: 0, wanderMs: 0 }],
    });
  });

  it('is not known between hosts that saw nothing in common, and is between lives of one host', () => {
    const apart = newCapture();
    live({ id: 'a', directory: apart, hours: 2 });
    live({ id: 'b', directory: apart, hours: 2, bootUs: 5 * HOUR_US });
    expect(inspectCapture(apart).clockSkew).toMatchObject({ boundMs: null, between: [] });

    const together = newCapture();
    live({ id: 'a', host: 'node', directory: together, hours: 2 });
    live({ id: 'b', host: 'node', directory: together, hours: 2 });
    expect(inspectCapture(together).clockSkew).toMatchObject({ boundMs: 0 });

    // One name, two machines: the instants they were started at tell them apart.
    const namesakes = newCapture();
    live({ id: 'a', host: 'node', directory: namesakes, hours: 2 });
    live({ id: 'b', host: 'node', directory: namesakes, hours: 2, bootUs: 5 * HOUR_US });
    expect(inspectCapture(namesakes).clockSkew).toMatchObject({ boundMs: null });
  });

  it.each([0, 40_000, -1_500_000])(
    'is bounded by exchanges that two saw, one behind the other: %s µs',
    (aheadUs) => {
      const { gateway, sidecar } = seenByBoth(200, aheadUs, 3, 0.6);
      const directory = newCapture();
      live({ id: 'gateway', directory, hours: 1, exchangesOf: () => gateway });
      live({ id: 'sidecar', directory, hours: 1, aheadUs, bootUs: 7 * HOUR_US, exchangesOf: () => sidecar });
      const { clockSkew } = inspectCapture(directory);
      expect(clockSkew.between).toHaveLength(1);
      const [pair] = clockSkew.between;
      expect([pair?.a, pair?.b].toSorted()).toEqual(['gateway', 'sidecar']);
      const ahead = pair?.b === 'sidecar' ? aheadUs / 1000 : -aheadUs / 1000;
      expect(pair?.lowerMs).toBeLessThanOrEqual(ahead);
      expect(pair?.upperMs).toBeGreaterThanOrEqual(ahead);
      expect((pair?.upperMs ?? 0) - (pair?.lowerMs ?? 0)).toBeLessThan(3);
      expect(clockSkew.boundMs).toBeCloseTo(
        Math.max(Math.abs(pair?.lowerMs ?? 0), Math.abs(pair?.upperMs ?? 0)),
        6,
      );
    },
  );

  it('between sidecars is bounded through the gateway that both are behind', () => {
    const first = seenByBoth(100, 10_000, 5);
    const second = seenByBoth(100, -20_000, 6);
    const directory = newCapture();
    const gateway = [...first.gateway, ...second.gateway].toSorted((a, b) => a.arrivalUs - b.arrivalUs);
    live({ id: 'gateway', directory, hours: 1, exchangesOf: () => gateway });
    live({ id: 'one', directory, hours: 1, bootUs: 3 * HOUR_US, exchangesOf: () => first.sidecar });
    live({ id: 'two', directory, hours: 1, bootUs: 7 * HOUR_US, exchangesOf: () => second.sidecar });
    const { boundMs, between } = inspectCapture(directory).clockSkew;
    expect(between).toHaveLength(2);
    expect(boundMs).toBeGreaterThanOrEqual(30);
    expect(boundMs).toBeLessThan(36);
  });

  it('is not known of lives on two hosts, one after the other by their clocks: it was nothing', () => {
    const directory = newCapture();
    live({ id: 'first', directory, hours: 1 });
    live({ id: 'second', directory, hours: 1, startHour: 2, aheadUs: 7_000_000, bootUs: 5 * HOUR_US });
    const none = { boundMs: null, pairs: { all: 1, bounded: 0, boundMs: null }, between: [] };
    expect(inspectCapture(directory).clockSkew).toMatchObject(none);

    // At one time in truth, and by clocks that are further apart than the lives were long.
    const together = newCapture();
    live({ id: 'a', directory: together, hours: 1 });
    live({ id: 'b', directory: together, hours: 1, aheadUs: 3 * HOUR_US, bootUs: 5 * HOUR_US });
    expect(inspectCapture(together).clockSkew).toMatchObject(none);
  });

  it('is bounded for the pairs that saw the same, and not known of all when a third saw nothing of it', () => {
    const { gateway, sidecar } = seenByBoth(100, 10_000, 5);
    const directory = newCapture();
    live({ id: 'gateway', directory, hours: 1, exchangesOf: () => gateway });
    live({ id: 'sidecar', directory, hours: 1, bootUs: 3 * HOUR_US, exchangesOf: () => sidecar });
    live({ id: 'stranger', directory, hours: 1, startHour: 5, bootUs: 7 * HOUR_US });
    const { boundMs, pairs, between } = inspectCapture(directory).clockSkew;
    expect({ boundMs, known: between.length }).toEqual({ boundMs: null, known: 1 });
    const [pair] = between;
    const mostMs = Math.max(Math.abs(pair?.lowerMs ?? 0), Math.abs(pair?.upperMs ?? 0));
    expect(pairs).toEqual({ all: 3, bounded: 1, boundMs: mostMs });
    expect(mostMs).toBeGreaterThanOrEqual(10);
  });

  it('is not claimed from bodies that happen to be equal', () => {
    const random = new SeededRandom(9);
    const chance = (seed: number) =>
      Array.from({ length: 50 }, (_, index) =>
        exchangeOf({
          arrivalUs: TEST_EPOCH_US + seed * 777_000 + index * 20_000_000 + random.below(10_000_000),
          lastByteOffsetUs: 5_000 + random.below(5_000),
          request: requestMessage({ body: `probe ${index}` }),
        }),
      );
    const directory = newCapture();
    live({ id: 'a', directory, hours: 1, exchangesOf: () => chance(0) });
    live({ id: 'b', directory, hours: 1, bootUs: 7 * HOUR_US, exchangesOf: () => chance(1) });
    expect(inspectCapture(directory).clockSkew).toMatchObject({ boundMs: null, between: [] });
  });

  it('of its own clock is what the anchors show', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory, { segmentBy: 'clock' }), new StandingClock());
    // A clock that is 30 ppm fast for ten minutes, then set back by 80 ms.
    for (let minute = 0; minute <= 10; minute += 1) {
      const drift = minute * 60 * 30;
      const epochUs = TEST_EPOCH_US + minute * 60_000_000 + drift - (minute === 10 ? 80_000 : 0);
      writer.addAnchor({ monotonicNs: minute * 60e9, epochUs });
    }
    writer.append(exchangeOf());
    writer.close();
    const [clock] = inspectCapture(directory).clockSkew.clocks;
    expect(clock?.stepMs).toBeCloseTo(78.2, 6);
    expect(clock?.wanderMs).toBeCloseTo(78.2, 6);
  });
});
