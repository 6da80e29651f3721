import { z } from 'zod';
import { count, type Immutable, interval, maybeNumber, maybeText, observation, tested } from './parts.ts';
import { reason } from './reasons.ts';

const side = z.object({
  kind: z.enum(['run', 'recording', 'profile']),
  name: z.string().describe('Its path, as given.'),
  run: maybeText,
  target: maybeText,
  version: maybeText,
  startedAt: maybeText,
  verdict: maybeText.describe('The verdict of a run itself.'),
  label: maybeText.optional().describe('What `--name` called the run.'),
  ...tested,
  stopped: z
    .object({
      cause: z.string(),
      sent: count,
      planned: count.describe('As the other side has it if this one had not read all of it.'),
      planCounted: z.boolean().describe('If false, `planned` is a lower bound.'),
    })
    .nullish()
    .describe('If the run was stopped before its end: why, and how much of its plan it sent.'),
});
/** One of the two compared documents. */
export type ComparedSide = Immutable<z.infer<typeof side>>;

const comparedMetric = z
  .object({
    name: z.string(),
    unit: z.enum(['ms', 'share']),
    a: observation.describe('Over all pairs.'),
    b: observation,
    ratio: maybeNumber.describe('B ÷ A; for a time, from the mean of its logarithm over paired windows.'),
    ratioLessLag: maybeNumber.describe(
      'The same for times since each request was sent, without sender lag; null if nothing was late.',
    ),
    difference: maybeNumber.describe('B − A for a share; null for a time.'),
    interval: interval.describe('Of the ratio or difference; all intervals hold together at 99 %.'),
    interval90: interval.describe('Of this metric alone, at 90 %; it decides SAME.'),
    noise: maybeNumber
      .optional()
      .describe(
        'Standard deviation between runs of one side: as a share of the time, or of a share. Null with one run of each: not known.',
      ),
    windows: count.describe('Of one run; or the number of runs, if there are several.'),
    blindWindows: count.describe('Of these, windows in which neither side has an answer at the percentile.'),
    pairs: count,
    verdict: z.enum(['better', 'same', 'worse', 'undecided']),
    doubt: z
      .enum(['no_answer', 'our_lag'])
      .nullable()
      .describe('Why it is undecided if more pairs would not help.'),
    required: z.boolean().describe('Whether SAME needs it.'),
    pairsNeeded: count.nullable().describe('Pairs that would probably decide it.'),
    windowNeededS: z
      .number()
      .nullish()
      .describe('How long a run of this traffic holds so many pairs: time of the run, not of the recording.'),
    runsNeeded: count.nullish().describe('Of several runs: how many of each side hold so many pairs.'),
  })
  .describe('A metric of two runs, or of a run and its recording.');
export type ComparedMetric = Immutable<z.infer<typeof comparedMetric>>;

const comparedRoute = z.object({
  route: maybeText,
  pairs: count,
  verdict: z.enum(['better', 'same', 'worse', 'undecided']),
  differs: z.string().describe('The metric that differs most; the first one if nothing changed for certain.'),
  metrics: z.array(comparedMetric).describe('The intervals of all routes hold together at 99 %.'),
});
/** The pairs of one route, judged in the same way as all pairs. */
export type ComparedRoute = Immutable<z.infer<typeof comparedRoute>>;

const routeComparison = z.object({
  shown: z.array(comparedRoute).describe('Those that differ most, at most 20; worse ones first.'),
  worse: count.describe('Routes that are worse, shown or not.'),
  better: count,
  same: count,
  undecided: count.describe('Most often a route with too few pairs.'),
  unjudged: count.describe(
    'Routes beyond the hundred with the most pairs. Those beyond 10,000 count as one.',
  ),
});
export type RouteComparison = Immutable<z.infer<typeof routeComparison>>;

const shiftedFigure = z
  .object({
    name: z.string(),
    group: z.string().describe('The bound that applies.'),
    a: maybeNumber,
    b: maybeNumber,
    ratio: maybeNumber.describe('B ÷ A; null if meaningless.'),
    shift: maybeNumber.describe('The difference as a share.'),
    bound: z.number(),
    interval: z.null(),
    verdict: z.enum(['same', 'worse', 'undecided']),
  })
  .describe('Of two profiles.');
export type ShiftedFigure = Immutable<z.infer<typeof shiftedFigure>>;

const runBounds = z.object({
  floor: z.number().describe('A smaller change of a latency counts as the same.'),
  detect: z.number().describe('SAME requires that a latency change of this size would have been detected.'),
  failureFloor: z.number().describe('A smaller change of the share of failed requests counts as the same.'),
  looks: count
    .optional()
    .describe('How often the runs may be compared until it is decided: the error is divided among them.'),
});
/** Limits as shares. Two runs differ if a difference is above its limit. */
export type ComparisonBounds = Immutable<z.infer<typeof runBounds>>;

const repeatedRun = z.object({
  side: z.enum(['A', 'B']),
  name: z.string(),
  run: z.string(),
  startedAt: z.string(),
  verdict: maybeText,
});

const difference = z.object({ fact: z.string(), a: z.string(), b: z.string() });
/** A fact that both sides should share but do not. */
export type FactDifference = Immutable<z.infer<typeof difference>>;

const both = z.object({ a: maybeNumber, b: maybeNumber });
const windowLine = z.object({
  fromS: z.number().describe('Its begin, since the first pair.'),
  pairs: count,
  p50: both,
  p95: both,
});
export type WindowLine = Immutable<z.infer<typeof windowLine>>;

const verdict = z.enum(['BETTER', 'SAME', 'WORSE', 'INCONCLUSIVE']);
export type ComparisonVerdict = z.infer<typeof verdict>;

/** The document of `compare --json`. Fields are added, never renamed; readers ignore unknown ones. */
export const comparisonSchema = z.object({
  schemaVersion: z.literal(1),
  kind: z.literal('comparison'),
  compares: z.enum(['runs', 'recording', 'profiles']),
  verdict,
  reasons: z.array(reason),
  notes: z.array(reason),
  a: side,
  b: side,
  runs: z
    .array(repeatedRun)
    .nullish()
    .describe(
      'Several runs of each side in the order in which they started; null with one of each: then the noise between runs is not known.',
    ),
  pairs: count.nullable().describe('Requests on both sides; null for profiles.'),
  unpaired: z.object({ onlyA: count, onlyB: count, leftOut: count }).nullable(),
  differences: z
    .array(difference)
    .describe('Facts that both sides should share but do not; empty unless differences were allowed.'),
  metrics: z.array(z.union([comparedMetric, shiftedFigure])),
  routes: routeComparison.nullish().describe('Null for one route, and for profiles.'),
  undecided: z
    .array(z.string())
    .describe('Metrics that could not be decided: the verdict does not cover them.'),
  moreS: maybeNumber
    .optional()
    .describe(
      'What is undecided for noise alone: about how long both targets together must be replayed to decide it. Null if it is decided, not known, or something else is in doubt.',
    ),
  cacheHits: both
    .nullish()
    .describe(
      'Share of the prompt tokens that came from a cache, as each server reports it; null for profiles.',
    ),
  windows: z
    .array(windowLine)
    .describe('Latencies over the plan, milliseconds, null if too many had no answer; empty for profiles.'),
  bounds: z
    .union([runBounds, z.record(z.string(), z.number())])
    .describe('Bounds beyond which something changed; for profiles by group: shares.'),
});
export type ComparisonDocument = Immutable<z.infer<typeof comparisonSchema>>;
