import { z } from 'zod';
import { IDC_WINDOWS } from '../analysis/arrival-statistics.ts';
import { REPLAY_SCHEMA_VERSION, type ReplayDocument } from '../analysis/replay-document.ts';
import { AppError } from '../core/errors.ts';
import { RUN_SUMMARY } from '../storage/run-schema.ts';

const count = z.int().min(0);
const nullable = z.number().nullable();
const counts = z.record(z.string(), z.number());
const percentiles = z.looseObject({ p50: nullable, p95: nullable, p99: nullable, max: nullable });
const reason = z.looseObject({
  ...{ code: z.string(), title: z.string(), text: z.string(), means: z.string(), advice: z.string() },
  severity: z.enum(['fail', 'doubt', 'note']),
});

export const arrivals = z.looseObject({
  count,
  ratePerSecond: nullable,
  cv: nullable,
  ties: nullable,
  idc: z.looseObject(Object.fromEntries(IDC_WINDOWS.map((window) => [window, nullable]))),
  peak1s: z.number(),
  peakToMean1s: nullable,
  gapMs: z.looseObject({ p50: z.number(), p99: z.number() }).nullable(),
});

/** What a report and a comparison take from `summary.json`: the document of `replay --json`. All else of it may be there. */
export const runSummarySchema = z.looseObject({
  schemaVersion: z.literal(REPLAY_SCHEMA_VERSION),
  kind: z.literal('replay'),
  ...{ run: z.string(), version: z.string(), capture: z.string(), target: z.string(), startedAt: z.string() },
  options: z.record(z.string(), z.unknown()),
  verdict: z.enum(['PASS', 'FAIL', 'INCONCLUSIVE']).nullable(),
  valid: z.boolean(),
  reasons: z.array(reason),
  notes: z.array(reason),
  interrupted: z.string().nullable().default(null),
  slo: z.array(
    z.looseObject({
      expression: z.string(),
      unit: z.enum(['ms', 'share', 'count']),
      observed: z.union([z.number(), z.literal('Infinity')]).nullable(),
      limit: z.number(),
      ok: z.boolean().nullable(),
    }),
  ),
  ...{ recorded: count, selected: count, planned: count, sent: count, completed: count, failed: count },
  ...{ cancelled: count.default(0), refused: count, unreached: count, unreplayable: count },
  planCounted: z.boolean().optional(),
  // Older runs counted no more of a plan than they had read.
  unread: z.looseObject({ recorded: count, planned: count }).default({ recorded: 0, planned: 0 }),
  skipped: counts,
  multiplier: z.number(),
  effectiveMultiplier: nullable,
  coverage: nullable,
  scaling: z.string(),
  durationS: z.number(),
  lagUs: z.looseObject({ p50: nullable, p90: nullable, p99: nullable, max: nullable }),
  latencyMs: z.looseObject({ service: z.looseObject({ p50: nullable }) }),
  connectMs: percentiles,
  connectionWaitMs: percentiles.default({ p50: null, p95: null, p99: null, max: null }),
  connectionWaits: z.looseObject({ waited: count, late: count, boundMs: z.number() }).nullish(),
  fidelity: z.looseObject({
    recorded: arrivals,
    planned: arrivals,
    waitsFor: z.enum(['sessions', 'connections']).nullish(),
    resolved: arrivals.nullable().default(null),
    sent: arrivals,
    ksGaps: nullable,
    mixDistance: nullable,
    duplicateRatio: nullable,
    duplicateRatioExact: z.boolean(),
    recordedToPlanned: z.looseObject({ ksGaps: nullable, mixDistance: nullable }),
    recordedRejected: nullable,
  }),
  health: z.looseObject({
    busyShare: nullable,
    throttled: z.boolean().nullable(),
    starved: nullable,
    stalls: count,
    stalledMs: z.number(),
    longestStallMs: z.number(),
  }),
  warmup: z.looseObject({ playedS: z.number() }).nullable().default(null),
  calibration: z
    .looseObject({
      pairs: count,
      p50Ms: z.looseObject({
        recorded: nullable,
        observed: z.union([z.number(), z.literal('Infinity')]).nullable(),
      }),
      responseBytes: z.looseObject({ recorded: nullable, observed: nullable }),
      statusDistance: nullable,
      bounds: z.looseObject({ p50Factor: z.number(), statusShare: z.number(), sizeShare: z.number() }),
      representative: z.boolean().nullable(),
    })
    .nullable()
    .default(null),
  bounds: z.looseObject({
    arrivalShare: z.number(),
    arrivalDifference: z.number(),
    lagNs: z.number(),
    lagShare: z.number(),
    busyShare: z.number(),
  }),
  check: z
    .looseObject({
      level: z.string(),
      ...{ answers: count, checked: count, mismatched: count },
      rate: nullable,
      byKind: z.looseObject({
        ...{ status: count, shape: count, values: count, length: count, finish: count },
      }),
      unchecked: counts,
      examples: z.record(
        z.string(),
        z.array(z.looseObject({ index: count, segment: z.string(), exchangeId: count })),
      ),
    })
    .nullish(),
  windows: z.array(z.looseObject({ from: z.string(), to: z.string() })).optional(),
});

/** @throws AppError INPUT_INVALID for what is no summary of a run, SCHEMA_TOO_NEW for that of a later version */
export function readRunSummary(directory: string, summary: object): ReplayDocument {
  const { schemaVersion } = summary as { schemaVersion?: unknown };
  if (typeof schemaVersion === 'number' && schemaVersion > REPLAY_SCHEMA_VERSION) {
    throw new AppError(
      'SCHEMA_TOO_NEW',
      `${RUN_SUMMARY} of ${directory} has schema version ${schemaVersion}`,
      {
        hint: `This version reads up to ${REPLAY_SCHEMA_VERSION}; use the one that wrote it, or a later one.`,
      },
    );
  }
  const { kind } = summary as { kind?: unknown };
  if (typeof kind === 'string' && kind !== 'replay') {
    throw new AppError(
      'INPUT_INVALID',
      `${directory} does not hold a run, but a document of ${JSON.stringify(kind)}`,
      {
        hint: 'What was played to calibrate is a part of the report of the run that it lies in.',
      },
    );
  }
  const { success, data, error } = runSummarySchema.safeParse(summary);
  // Whatever else a replay wrote is there as it wrote it; what a report reads of it was just looked at.
  if (success) return data as unknown as ReplayDocument;
  const [first] = error.issues;
  const where = first === undefined ? '' : `: ${first.path.join('.') || 'the document'}: ${first.message}`;
  throw new AppError('INPUT_INVALID', `${RUN_SUMMARY} of ${directory} is not that of a run${where}`, {
    hint: 'Restore it from where the run was kept, or replay again. Moved away, a report tells what the rows say.',
  });
}
