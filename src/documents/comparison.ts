import { z } from 'zod';
import { count, type Immutable, interval, maybeNumber, maybeText, observation, reason } from './parts.ts';

const side = z.object({
  kind: z.enum(['run', 'recording', 'profile']),
  name: z.string().describe('Where it lies, as it was named.'),
  run: maybeText,
  target: maybeText,
  version: maybeText,
  startedAt: maybeText,
  verdict: maybeText.describe('Of a run its own verdict.'),
});
/** One of the two things that are compared. */
export type ComparedSide = Immutable<z.infer<typeof side>>;

const comparedMetric = z
  .object({
    name: z.string(),
    unit: z.enum(['ms', 'share']),
    a: observation.describe('Over all pairs.'),
    b: observation,
    ratio: maybeNumber.describe('B ÷ A; of a time by the mean over paired windows of its logarithm.'),
    ratioLessLag: maybeNumber.describe(
      'The same of times from when each request was sent, without our own lag; null where nothing was late.',
    ),
    difference: maybeNumber.describe('B − A of a share; null of a time.'),
    interval: interval.describe('All of them hold together with 99 %: of the ratio, or of the difference.'),
    interval90: interval.describe('Of this metric alone, with 90 %: by it SAME is told.'),
    shift: maybeNumber.describe('Hodges–Lehmann estimate over the windows: a ratio, or a difference.'),
    windows: count,
    blindWindows: count.describe('Of these: neither side has an answer at the percentile.'),
    pairs: count,
    verdict: z.enum(['better', 'same', 'worse', 'undecided']),
    doubt: z
      .enum(['no_answer', 'our_lag'])
      .nullable()
      .describe('Why it is undecided where more pairs would not tell.'),
    required: z.boolean().describe('Whether SAME needs it.'),
    pairsNeeded: count.nullable().describe('Pairs from which it can probably be told.'),
  })
  .describe('Of two runs, or of a run and its recording.');
export type ComparedMetric = Immutable<z.infer<typeof comparedMetric>>;

const shiftedFigure = z
  .object({
    name: z.string(),
    group: z.string().describe('Which bound it is held against.'),
    a: maybeNumber,
    b: maybeNumber,
    ratio: maybeNumber.describe('B ÷ A; null where it says nothing.'),
    shift: maybeNumber.describe('How far they lie apart: a share.'),
    bound: z.number(),
    interval: z.null(),
    verdict: z.enum(['same', 'worse', 'undecided']),
  })
  .describe('Of two profiles.');
export type ShiftedFigure = Immutable<z.infer<typeof shiftedFigure>>;

const runBounds = z.object({
  floor: z.number().describe('A latency that changes by less is the same.'),
  detect: z
    .number()
    .describe('SAME is only said where a change of a latency by so much would have been seen.'),
  failureFloor: z.number().describe('A share of failed requests that changes by less is the same.'),
});
/** Beyond these something has changed between two runs: shares. */
export type ComparisonBounds = Immutable<z.infer<typeof runBounds>>;

const difference = z.object({ fact: z.string(), a: z.string(), b: z.string() });
/** What both sides should have in common and have not. */
export type FactDifference = Immutable<z.infer<typeof difference>>;

const both = z.object({ a: maybeNumber, b: maybeNumber });
const windowLine = z.object({
  fromS: z.number().describe('From the first pair to where it begins.'),
  pairs: count,
  p50: both,
  p95: both,
});
export type WindowLine = Immutable<z.infer<typeof windowLine>>;

const verdict = z.enum(['BETTER', 'SAME', 'WORSE', 'INCONCLUSIVE']);
export type ComparisonVerdict = z.infer<typeof verdict>;

/** What `compare --json` prints. Fields are added, never renamed; readers let unknown ones pass. */
export const comparisonSchema = z.object({
  schemaVersion: z.literal(1),
  kind: z.literal('comparison'),
  compares: z.enum(['runs', 'recording', 'profiles']),
  verdict,
  reasons: z.array(reason),
  notes: z.array(reason),
  a: side,
  b: side,
  pairs: count.nullable().describe('Requests on both sides; null of profiles.'),
  unpaired: z.object({ onlyA: count, onlyB: count, leftOut: count }).nullable(),
  differences: z
    .array(difference)
    .describe('What both sides should have in common and have not; empty unless it was allowed.'),
  metrics: z.array(z.union([comparedMetric, shiftedFigure])),
  undecided: z
    .array(z.string())
    .describe('Metrics that could not be told: the verdict says nothing of them.'),
  windows: z
    .array(windowLine)
    .describe('Latencies over the plan, milliseconds, null where too many had no answer; empty of profiles.'),
  bounds: z
    .union([runBounds, z.record(z.string(), z.number())])
    .describe('Beyond these something has changed; of profiles by group: shares.'),
});
export type ComparisonDocument = Immutable<z.infer<typeof comparisonSchema>>;
