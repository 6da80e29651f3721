import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Durations } from '../../../src/replay/engine/health.ts';
import { InFlight } from '../../../src/replay/engine/shared-memory.ts';

const KIB = 1_024;

describe('what is in flight', () => {
  test('is counted over all senders that share its memory, in requests and in bytes of bodies', () => {
    const limits = { maxRequests: 3, maxBodyBytes: 10 * KIB };
    const one = InFlight.create(limits);
    const other = new InFlight(one.setup);
    expect(one.enter(4 * KIB)).toBe('admitted');
    expect(other.enter(6 * KIB)).toBe('admitted');
    expect(one.enter(1)).toBe('too_heavy');
    expect(one.requests).toBe(2);
    expect(other.enter(0)).toBe('admitted');
    expect(one.enter(0)).toBe('too_many');
    one.leave();
    expect(other.requests).toBe(2);
    one.leaveBody(4 * KIB);
    expect(one.enter(3 * KIB)).toBe('admitted');
  });

  test('admits a body beyond the whole limit when it is the only one', () => {
    const inFlight = InFlight.create({ maxRequests: 10, maxBodyBytes: KIB });
    expect(inFlight.enter(5 * KIB)).toBe('admitted');
    expect(inFlight.enter(1)).toBe('too_heavy');
    inFlight.leaveBody(5 * KIB);
    inFlight.leave();
    expect(inFlight.enter(1)).toBe('admitted');
  });

  test('never exceeds its limits, and is nothing once all have left', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 9_000 }), { maxLength: 60 }), (sizes) => {
        const inFlight = InFlight.create({ maxRequests: 5, maxBodyBytes: 16 * KIB });
        const inside: number[] = [];
        for (const bytes of sizes) {
          if (inFlight.enter(bytes) === 'admitted') inside.push(bytes);
          else {
            const left = inside.shift();
            if (left === undefined) continue;
            inFlight.leaveBody(left);
            inFlight.leave();
          }
          expect(inside.length).toBeLessThanOrEqual(5);
          expect(inside.reduce((sum, each) => sum + each, 0)).toBeLessThanOrEqual(16 * KIB);
          expect(inFlight.requests).toBe(inside.length);
        }
      }),
    );
  });
});

test('durations of several threads, merged, are those that one would have measured', () => {
  const nanoseconds = fc.oneof(fc.nat({ max: 3_000 }), fc.nat({ max: 2 ** 40 }));
  fc.assert(
    fc.property(fc.array(fc.array(nanoseconds, { maxLength: 30 }), { maxLength: 4 }), (threads) => {
      const all = new Durations();
      const packed = threads.map((values) => {
        const own = new Durations();
        for (const value of values) {
          own.record(value);
          all.record(value);
        }
        return structuredClone(own.packed());
      });
      const merged = Durations.merged(packed).summary();
      const { count, p50Ns, p90Ns, p99Ns, maxNs } = all.summary();
      expect(merged).toMatchObject({ count, maxNs });
      // Of a bin only its greatest value is told: a percentile that is the greatest of one thread may be above.
      for (const [got, want] of [
        [merged.p50Ns, p50Ns],
        [merged.p90Ns, p90Ns],
        [merged.p99Ns, p99Ns],
      ] as const) {
        expect(Math.abs(got - want)).toBeLessThanOrEqual(want / 1_000);
      }
    }),
  );
});
