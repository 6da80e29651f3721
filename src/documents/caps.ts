import { z } from 'zod';
import { count, maybeNumber } from './parts.ts';

/** What our own side may send at most, and how much of the plan each bound refused. Null is unknown. */
export const capsSchema = z
  .object({
    maxInFlight: count.nullable().describe('Of requests at once: --max-in-flight.'),
    maxInFlightBytes: count.nullable().describe('Of bodies at once: --max-in-flight-bytes.'),
    maxRatePerSecond: maybeNumber.describe(
      'Of planned requests: --max-rate, else twice the planned peak. A bound of the plan, not of one shard.',
    ),
    refusedForRate: count.describe('Refused requests, for their number in one second of the plan.'),
  })
  .describe('Our own caps. What they refused counts in `refused`.');
export type CapsDocument = Readonly<z.infer<typeof capsSchema>>;

export const NO_CAPS: CapsDocument = Object.freeze({
  maxInFlight: null,
  maxInFlightBytes: null,
  maxRatePerSecond: null,
  refusedForRate: 0,
});
