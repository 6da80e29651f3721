import { z } from 'zod';
import type { ReplayDocument } from '../analysis/replay-document.ts';
import type { ShardDocument } from '../analysis/shard-document.ts';
import { AppError } from '../core/errors.ts';
import { RUN_SUMMARY } from '../storage/run-schema.ts';
import { arrivals, readRunSummary } from './run-summary.ts';

const count = z.int().min(0);
const nullable = z.number().nullable();

/** What a merge takes from the summary of a shard, besides what a report does. All else of it may be there. */
const shardSummarySchema = z.looseObject({
  ...{ run: z.string(), capture: z.string(), target: z.string() },
  options: z.record(z.string(), z.unknown()),
  coverageUnexplained: nullable,
  fidelity: z.looseObject({ unfiltered: arrivals.nullable() }),
  shard: z.looseObject({
    ...{ index: count, count, planDigest: z.string(), host: z.string() },
    startAt: z.string().nullable(),
    clock: z.looseObject({ driftUs: z.number(), kernel: z.string().nullable() }),
    pace: z.number(),
    recordedStatuses: z.record(z.string(), z.number()),
    // Older shards do not say.
    recordedFailures: z.object({ unanswered: count, broken: count }).default({ unanswered: 0, broken: 0 }),
    whole: z.looseObject({
      ...{ recorded: arrivals, planned: arrivals },
      recordedToPlanned: z.looseObject({ ksGaps: nullable, mixDistance: nullable }),
      duplicates: z.looseObject({ ratio: nullable, exact: z.boolean() }),
    }),
  }),
});

/**
 * @throws AppError INPUT_INVALID for what is no summary of a shard, SCHEMA_TOO_NEW for that of a later version
 */
export function readShardSummary(
  directory: string,
  summary: object,
): ReplayDocument & { readonly shard: ShardDocument } {
  const document = readRunSummary(directory, summary) as ReplayDocument & { readonly shard?: unknown };
  if (document.shard == null) {
    throw new AppError('INPUT_INVALID', `The run ${directory} is no shard: it played a whole plan`, {
      hint: 'Only runs of replay --shard belong together; compare runs of whole plans by their documents.',
    });
  }
  const { success, data, error } = shardSummarySchema.safeParse(document);
  // Whatever else a shard wrote is there as it wrote it; what a merge reads of it was just looked at.
  if (success) return data as unknown as ReplayDocument & { readonly shard: ShardDocument };
  const [first] = error.issues;
  const where = first === undefined ? '' : `: ${first.path.join('.')}: ${first.message}`;
  throw new AppError('INPUT_INVALID', `${RUN_SUMMARY} of ${directory} is not that of a shard${where}`, {
    hint: 'Restore it from where the run was kept, or replay all shards again.',
  });
}
