import { z } from 'zod';
import { explanation } from './explanation.ts';
import { seriesFacts } from './monitors.ts';
import {
  count,
  counts,
  distribution,
  type Immutable,
  maybeNumber,
  maybeText,
  nistEvidence,
  observation,
  share,
} from './parts.ts';
import { percentileFields } from './percentiles.ts';
import { runReason } from './reasons.ts';
import { replaySchema, sendId, tokens } from './replay.ts';

/** Raised when a field changes its meaning; new fields do not raise it. */
export const REPORT_SCHEMA_VERSION = 1;

const ladder = z
  .object({
    count,
    meanMs: maybeNumber,
    maxMs: maybeNumber,
    steps: z.array(
      z.object({
        percent: z.number(),
        ms: maybeNumber,
        samplesNeeded: count.describe('The fewest samples for a reliable percentile.'),
        enough: z.boolean(),
      }),
    ),
  })
  .describe('Percentiles of completed requests, milliseconds.');
export type PercentileLadder = Immutable<z.infer<typeof ladder>>;

const group = z.object({
  name: maybeText,
  sent: count,
  share,
  failed: count,
  latencyMs: distribution.describe('Scheduled latency of completed requests.'),
  recordedMs: distribution.describe('Of the same requests when recorded, if they completed then.'),
});
export type ReportGroup = Immutable<z.infer<typeof group>>;

const groups = z.object({
  groups: z.array(group).describe('The commonest first.'),
  ungrouped: count.describe('Requests of names beyond the limit of groups.'),
});
export type ReportGroups = Immutable<z.infer<typeof groups>>;

const overTime = z
  .object({
    stepS: z.number(),
    at: z.array(z.number()).describe('Seconds after the start of the run at which a step begins.'),
    offered: z.array(count).describe('Requests planned for the step, including the warm-up.'),
    sent: z.array(count),
    completed: z.array(count),
    failed: z.array(count),
    refused: z.array(count),
    inFlight: z.array(z.int()).describe('The maximum over the ends of its seconds.'),
    lagMaxMs: z.array(maybeNumber),
    samples: z.array(count).describe('Completed requests of the judged part that were planned for the step.'),
    ...percentileFields(z.array(maybeNumber), 'Ms'),
    serviceP99Ms: z.array(maybeNumber),
  })
  .describe('Columns of equal length, at most 720.');
export type TimeColumns = Immutable<z.infer<typeof overTime>>;

const latencySteps = z
  .object({
    stepS: z.number(),
    percent: z
      .number()
      .describe('Which percentile `tailMs` holds: that of the shown latency objective; 95 without one.'),
    at: z.array(z.number()).describe('Seconds after the start of the run at which a step begins.'),
    samples: z.array(count),
    p50Ms: z.array(observation),
    tailMs: z.array(observation),
  })
  .describe(
    'Scheduled latency in steps so wide that most of them have the samples of their percentile; null where one has not. Failed and refused requests are infinitely slow, and those that were left took as long as we waited, as objectives count them.',
  );
export type LatencySteps = Immutable<z.infer<typeof latencySteps>>;

const objectiveSteps = z
  .object({
    expression: z.string(),
    metric: z.string(),
    unit: z.enum(['ms', 'share']),
    stepS: z.number(),
    percent: maybeNumber.describe('Which percentile `values` holds; null for a share.'),
    at: z.array(z.number()).describe('Seconds after the start of the run at which a step begins.'),
    samples: z.array(count),
    median: z.array(observation).nullable().describe('Null for a share.'),
    values: z.array(observation),
  })
  .describe(
    'The metric of the first violated objective, else of the first, over time. Null if that is the latency of all requests, which `latencySteps` has, or a monitored series.',
  );
export type ObjectiveSteps = Immutable<z.infer<typeof objectiveSteps>>;

const monitoredLine = seriesFacts.extend({
  source: z.string(),
  values: z
    .array(maybeNumber)
    .describe(
      'The greatest of each step, or the least where the shown objective asks for more; null where nothing is known. Of a counter, its rate a second.',
    ),
});
/** A monitored series over the steps of `overTime`. */
export type MonitoredLine = Immutable<z.infer<typeof monitoredLine>>;

const latencyMap = z.object({
  columnS: z.number(),
  at: z.array(z.number()).describe('Seconds after the start of the run at which a column begins.'),
  classes: z.array(
    z.object({
      fromMs: z.number(),
      toMs: z.number(),
      shares: z.array(share.nullable()).describe('Of the completed requests of each column.'),
    }),
  ),
});
export type LatencyMap = Immutable<z.infer<typeof latencyMap>>;

const skippedLine = z.object({ reason: z.string(), requests: count, meaning: z.string() });
/** Something recorded that was not sent. */
export type SkippedLine = Immutable<z.infer<typeof skippedLine>>;

const errorLine = z.object({
  kind: z.string().describe('`reset`, `status_503`, `UNAVAILABLE` of a gRPC call …'),
  requests: count,
  share: share.describe('Of everything sent.'),
  meaning: z.string(),
  examples: z.array(sendId),
});
export type ErrorLine = Immutable<z.infer<typeof errorLine>>;

const recording = z
  .object({
    capture: maybeText,
    unavailable: maybeText.describe('Why the recorded answers are unavailable; null if they are available.'),
    found: count.describe('Sent requests whose exchange is in the capture.'),
    timed: count.describe('Requests that were served in both, with a recorded latency.'),
    sought: count,
    statuses: counts.nullable().describe('Of the exchanges found.'),
  })
  .describe("Where the recording's own answers come from.");
export type RecordingSource = Immutable<z.infer<typeof recording>>;

const run = z
  .object({
    id: maybeText,
    directory: z.string(),
    version: maybeText,
    capture: maybeText,
    target: maybeText,
    startedAt: maybeText,
    endedAt: maybeText,
    sealed: z.boolean().describe('Whether the run ended properly.'),
    multiplier: maybeNumber,
    effectiveMultiplier: maybeNumber,
    scaling: maybeText,
    durationS: z.number().describe('Of the judged part, to the end of its last answer.'),
    warmupS: z.number().describe('Of the warm-up before it, which is not measured.'),
  })
  .describe('Request and target of the run. Null if an unsealed run does not say.');
export type ReportedRun = Immutable<z.infer<typeof run>>;

const reportedCounts = z
  .object({
    recorded: count.nullable(),
    selected: count.nullable(),
    planned: count.nullable(),
    sent: count,
    completed: count,
    failed: count,
    cancelled: count,
    refused: count,
    unreached: count,
    unreplayable: count.nullable(),
  })
  .describe('Requests by outcome. Null if only a sealed run has them.');
export type ReportedCounts = Immutable<z.infer<typeof reportedCounts>>;

const latencyMs = z.object({
  scheduled: ladder.describe('Last byte minus intended send.'),
  service: ladder.describe('Last byte minus actual send.'),
  recorded: ladder
    .nullable()
    .describe('Of the same requests when recorded; null if the recording was not read.'),
});

const streams = z
  .object({
    completed: count,
    failed: count,
    turnedAway: count.describe('Streams requested but not answered with 2xx.'),
    whole: count.describe('Streams requested but answered whole.'),
    ttft: ladder,
    itl: ladder,
    tpot: ladder,
    recordedTtft: ladder.nullable(),
    tokens,
  })
  .describe('Of completed streams.');
export type ReportedStreams = Immutable<z.infer<typeof streams>>;

/** The document of `report --json`. Fields are added, never renamed; readers ignore unknown ones. */
export const reportSchema = z.object({
  schemaVersion: z.literal(REPORT_SCHEMA_VERSION),
  kind: z.literal('report'),
  run,
  verdict: replaySchema.shape.verdict,
  valid: z.boolean(),
  headline: z.string().describe('The verdict as a sentence.'),
  reasons: z.array(runReason),
  notes: z.array(runReason),
  slo: replaySchema.shape.slo,
  counts: reportedCounts,
  overTime,
  latencySteps,
  objectiveSteps: objectiveSteps.nullish(),
  monitored: z
    .array(monitoredLine)
    .optional()
    .describe(
      'What monitors saw, over the same steps; at most 64 series, those of the shown objective first.',
    ),
  latencyMap,
  latencyMs,
  streams,
  routes: groups,
  models: groups,
  inputSizes: groups,
  skipped: z.array(skippedLine),
  errors: z.array(errorLine),
  statuses: counts,
  grpcStatuses: counts.optional().describe('Answers to gRPC calls by the name of their status.'),
  recording,
  explanation: explanation
    .nullish()
    .describe('Why objectives were violated, as `explain` finds it; null if none was.'),
  nist: nistEvidence.nullable().optional().describe('Null for an unsealed run.'),
  summary: replaySchema
    .nullable()
    .describe('The document of `replay --json` stored with the run; null for an unsealed run.'),
});
export type ReportDocument = Immutable<z.infer<typeof reportSchema>>;
