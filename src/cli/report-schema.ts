import { z } from 'zod';
import { runSummarySchema } from './run-summary.ts';

const count = z.int().min(0);
const nullable = z.number().nullable();
const name = z.string().nullable();
const share = z.number().min(0).max(1);
const counts = z.record(z.string(), count);

const distribution = z.object({
  count,
  mean: nullable,
  p50: nullable,
  p90: nullable,
  p95: nullable,
  p99: nullable,
  max: nullable,
});

const ladder = z
  .object({
    count,
    meanMs: nullable,
    maxMs: nullable,
    steps: z.array(
      z.object({
        percent: z.number(),
        ms: nullable,
        samplesNeeded: count.describe('The fewest samples from which this percentile can be trusted.'),
        enough: z.boolean(),
      }),
    ),
  })
  .describe('A distribution from p50 to p99.99, milliseconds.');

const reasons = z.array(
  z.object({
    code: z.string(),
    severity: z
      .enum(['fail', 'doubt', 'note'])
      .describe('Whether it could change the answer: a note cannot.'),
    title: z.string(),
    text: z.string().describe('What was found in this run.'),
    means: z.string(),
    advice: z.string().describe('The one thing to do.'),
  }),
);

const groups = z.object({
  groups: z.array(
    z.object({
      name,
      sent: count,
      share,
      failed: count,
      latencyMs: distribution.describe('Scheduled latency of completed requests.'),
      recordedMs: distribution.describe(
        'Latency of the same requests when they were recorded, of those that completed then.',
      ),
    }),
  ),
  ungrouped: count,
});

const overTime = z
  .object({
    stepS: z.number(),
    at: z.array(z.number()),
    ...{ offered: z.array(count), sent: z.array(count), completed: z.array(count) },
    ...{ failed: z.array(count), refused: z.array(count), inFlight: z.array(z.int()) },
    lagMaxMs: z.array(nullable),
    samples: z.array(count),
    ...{ p50Ms: z.array(nullable), p95Ms: z.array(nullable), p99Ms: z.array(nullable) },
    serviceP99Ms: z.array(nullable),
  })
  .describe('Columns of one length, at most 720; `at` is seconds after the start of the run.');

/** The document of `report --json`. Fields are added, never renamed; readers let unknown ones pass. */
export const reportSchema = z.object({
  schemaVersion: z.literal(1),
  kind: z.literal('report'),
  run: z.object({
    ...{ id: name, directory: z.string(), version: name, capture: name, target: name },
    ...{ startedAt: name, endedAt: name, sealed: z.boolean() },
    ...{ multiplier: nullable, effectiveMultiplier: nullable, scaling: name },
    ...{ durationS: z.number(), warmupS: z.number() },
  }),
  verdict: z.enum(['PASS', 'FAIL', 'INCONCLUSIVE']).nullable(),
  valid: z.boolean(),
  headline: z.string(),
  reasons,
  notes: reasons,
  slo: runSummarySchema.shape.slo,
  counts: z.object({
    ...{ recorded: count.nullable(), selected: count.nullable(), planned: count.nullable() },
    ...{ sent: count, completed: count, failed: count, cancelled: count, refused: count },
    ...{ unreached: count, unreplayable: count.nullable() },
  }),
  overTime,
  latencyMap: z.object({
    columnS: z.number(),
    at: z.array(z.number()),
    classes: z.array(z.object({ fromMs: z.number(), toMs: z.number(), shares: z.array(share.nullable()) })),
  }),
  latencyMs: z.object({
    scheduled: ladder,
    service: ladder,
    recorded: ladder.nullable(),
  }),
  streams: z.object({
    ...{
      completed: count,
      failed: count,
      turnedAway: count,
      whole: count,
      ttft: ladder,
      itl: ladder,
      tpot: ladder,
    },
    recordedTtft: ladder.nullable(),
    tokens: z.object({ answers: count, prompt: count, output: count, finishReasons: counts }),
  }),
  ...{ routes: groups, models: groups, inputSizes: groups },
  skipped: z.array(z.object({ reason: z.string(), requests: count, meaning: z.string() })),
  errors: z.array(
    z.object({
      kind: z.string(),
      requests: count,
      share,
      meaning: z.string(),
      examples: z.array(z.object({ index: count, segment: z.string(), exchangeId: count })),
    }),
  ),
  statuses: counts,
  recording: z.object({
    capture: name,
    unavailable: name.describe('Why the recorded answers are not here; null where they are.'),
    ...{ found: count, timed: count, sought: count },
    statuses: counts.nullable(),
  }),
  summary: runSummarySchema
    .nullable()
    .describe('The document of `replay --json` as the run kept it; null for a run that was not sealed.'),
});

/** The same as a JSON Schema, for whoever reads the document by another program. */
export function reportJsonSchema(): object {
  return {
    $id: 'https://reprise.invalid/report.schema.json',
    title: 'Report of a run of Reprise',
    ...z.toJSONSchema(reportSchema, { target: 'draft-2020-12', io: 'input', reused: 'ref' }),
  };
}
