import { z } from 'zod';
import { count, type Immutable, maybeNumber, maybeText } from './parts.ts';

/**
 * `gauge`: a value at an instant. `counter`: a sum that grows; its figures are rates per second. `mean`: the change of
 * a sum divided by the change of a count, such as the mean time in a queue.
 */
const MONITOR_KINDS = ['gauge', 'counter', 'mean'] as const;
const MONITOR_UNITS = ['share', 'bytes', 's', 'W', 'count', 'cores'] as const;

/** The name of the share of prompt tokens that a server read from its cache, by its own counters. */
export const PREFIX_HITS = 'prefix_cache_hit_rate';

/** The facts of a series, for every kind of source. */
export const seriesFacts = z.object({
  name: z.string().describe('As objectives name it: `gpu_utilization`.'),
  metric: z.string().describe('As its source names it, or the PromQL that was asked.'),
  labels: z.record(z.string(), z.string()),
  kind: z.enum(MONITOR_KINDS),
  unit: z.enum(MONITOR_UNITS).describe('Of a value; of a counter, of what it counts (`s` of CPU time).'),
});
export type SeriesFacts = Immutable<z.infer<typeof seriesFacts>>;

/** A value of a series at one instant; for a `mean`, the sum and the count so far. Null if the look failed. */
export interface MonitorSample {
  /** From the start of the run, nanoseconds; below 0 before it. */
  readonly offsetNs: number;
  readonly value: number | null;
  readonly base: number | null;
}

const durations = z.object({ p50: maybeNumber, max: maybeNumber });

const source = z.object({
  name: z.string(),
  kind: z.enum(['generator', 'scrape', 'prometheus', 'process']),
  address: maybeText,
  shard: count.optional().describe('Of a merged run: the shard that looked.'),
  intervalS: z.number(),
  looks: count.describe('Looks that were due, those that failed too.'),
  failed: count,
  lastError: maybeText,
  off: maybeText.describe('Why the source was switched off at its first answer; null where it was not.'),
  tookMs: durations.describe('How long a look took.'),
  ageMs: durations.describe('How old values were when they were read; null where the source does not say.'),
  unknown: count.describe('Names in its answer that are in no preset and that nobody asked for.'),
  beyond: count.describe('Series over the limit of a source, of which nothing is kept.'),
  unstored: count.describe('Values beyond the limit of a run, which were not kept.'),
});
export type MonitorSourceDocument = Immutable<z.infer<typeof source>>;

const spread = {
  samples: count.describe('Values in the judged part of the run.'),
  missing: count.describe('Looks in it that failed.'),
  min: maybeNumber,
  mean: maybeNumber,
  p50: maybeNumber,
  p95: maybeNumber,
  max: maybeNumber,
};

const series = seriesFacts.extend({
  source: z.string(),
  ...spread,
  change: maybeNumber.describe(
    'Of a counter: what it grew by between the looks right before and after the judged part; of a mean, the mean over it. Null where one of them failed.',
  ),
  resets: count.describe('How often a counter began again.'),
  recorded: z
    .object(spread)
    .nullable()
    .describe('The same query over the recorded window; null where it was not asked, or had no answer.'),
});
export type MonitoredSeries = Immutable<z.infer<typeof series>>;

export const monitors = z
  .object({
    sources: z.array(source),
    series: z.array(series),
    notes: z.array(z.string()).describe('What could not be had, such as the recorded window.'),
    shardsWithout: z
      .array(count)
      .optional()
      .describe('Of a merged run: shards that saw nothing but their own generator, beside others that did.'),
  })
  .describe('What monitors saw beside the load, on the clock of the run.');
export type MonitorsDocument = Immutable<z.infer<typeof monitors>>;
