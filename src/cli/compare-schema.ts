import { z } from 'zod';

const count = z.int().min(0);
const nullable = z.number().nullable();
const name = z.string().nullable();
const value = z.union([z.number(), z.literal('Infinity')]).nullable();
const interval = z.tuple([z.number(), z.number()]).nullable();
const reasons = z.array(z.object({ code: z.string(), text: z.string(), advice: z.string() }));
const both = z.object({ a: nullable, b: nullable });

const side = z.object({
  kind: z.enum(['run', 'recording', 'profile']),
  name: z.string().describe('Where it lies, as it was named.'),
  ...{ run: name, target: name, version: name, startedAt: name },
  verdict: name.describe('Of a run its own verdict.'),
});

const comparedMetric = z
  .object({
    name: z.string(),
    unit: z.enum(['ms', 'share']),
    a: value.describe('Over all pairs; "Infinity" where too many requests had no answer.'),
    b: value,
    ratio: nullable.describe('B ÷ A; of a time by the mean over paired windows of its logarithm.'),
    ratioLessLag: nullable.describe(
      'The same of times from when each request was sent, without our own lag.',
    ),
    difference: nullable.describe('B − A of a share; null of a time.'),
    interval: interval.describe('All of them hold together with 99 %: of the ratio, or of the difference.'),
    interval90: interval.describe('Of this metric alone, with 90 %.'),
    shift: nullable,
    windows: count,
    blindWindows: count.describe('Of these: neither side has an answer at the percentile.'),
    pairs: count,
    verdict: z.enum(['better', 'same', 'worse', 'undecided']),
    doubt: z
      .enum(['no_answer', 'our_lag'])
      .nullable()
      .describe('Why it is undecided where more pairs would not tell.'),
    required: z.boolean().describe('Whether SAME needs it.'),
    pairsNeeded: count.nullable(),
  })
  .describe('Of two runs, or of a run and its recording.');

const shiftedFigure = z
  .object({
    name: z.string(),
    group: z.string().describe('Which bound it is held against.'),
    ...{ a: nullable, b: nullable, ratio: nullable, shift: nullable, bound: z.number() },
    interval: z.null(),
    verdict: z.enum(['same', 'worse', 'undecided']),
  })
  .describe('Of two profiles.');

/** The document of `compare --json`. Fields are added, never renamed; readers let unknown ones pass. */
export const comparisonSchema = z.object({
  schemaVersion: z.literal(1),
  kind: z.literal('comparison'),
  compares: z.enum(['runs', 'recording', 'profiles']),
  verdict: z.enum(['BETTER', 'SAME', 'WORSE', 'INCONCLUSIVE']),
  reasons,
  notes: reasons,
  a: side,
  b: side,
  pairs: count.nullable().describe('Requests on both sides; null of profiles.'),
  unpaired: z.object({ onlyA: count, onlyB: count, leftOut: count }).nullable(),
  differences: z
    .array(z.object({ fact: z.string(), a: z.string(), b: z.string() }))
    .describe('What both sides should have in common and have not; empty unless it was allowed.'),
  metrics: z.array(z.union([comparedMetric, shiftedFigure])),
  undecided: z
    .array(z.string())
    .describe('Metrics that could not be told: the verdict says nothing of them.'),
  windows: z
    .array(z.object({ fromS: z.number(), pairs: count, p50: both, p95: both }))
    .describe('Latencies over the plan, milliseconds, null where too many had no answer; empty of profiles.'),
  bounds: z.record(z.string(), z.number()).describe('Beyond these something has changed: shares.'),
});

/** The same as a JSON Schema, for whoever reads the document by another program. */
export function comparisonJsonSchema(): object {
  return {
    $id: 'https://reprise.invalid/compare.schema.json',
    title: 'Comparison of Reprise',
    ...z.toJSONSchema(comparisonSchema, { target: 'draft-2020-12', io: 'input', reused: 'ref' }),
  };
}
