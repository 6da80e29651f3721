import fc from 'fast-check';
import { expect, it } from 'vitest';
import { meanOthersInFlight } from '../../../src/analysis/stats/queues.ts';

const requests = fc
  .array(fc.record({ arrival: fc.nat({ max: 300 }), latency: fc.nat({ max: 60 }) }), { maxLength: 40 })
  .map((each) => each.toSorted((a, b) => a.arrival - b.arrival));

it('counts the others that are in flight on average while a request is', () => {
  fc.assert(
    fc.property(requests, (each) => {
      const means = meanOthersInFlight({
        arrivals: Float64Array.from(each, ({ arrival }) => arrival),
        latencies: Float64Array.from(each, ({ latency }) => latency),
      });
      for (const [at, { arrival, latency }] of each.entries()) {
        const end = arrival + latency;
        const sharedOf = (other: (typeof each)[number]) =>
          Math.max(0, Math.min(end, other.arrival + other.latency) - Math.max(arrival, other.arrival));
        const shared = each.reduce((sum, other, place) => sum + (place === at ? 0 : sharedOf(other)), 0);
        if (latency > 0) expect(means[at]).toBeCloseTo(shared / latency, 6);
        else expect(means[at]).toBeLessThanOrEqual(at);
      }
    }),
  );
});
