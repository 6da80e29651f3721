import { z } from 'zod';
import { count, type Immutable, latencyMs, maybeNumber } from './parts.ts';
import { percentileFields } from './percentiles.ts';
import { calibration, objectiveLine, replaySchema } from './replay.ts';

/** Raised when a field changes its meaning; new fields and events do not raise it. */
export const EVENTS_SCHEMA_VERSION = 1;

const start = z
  .object({
    event: z.literal('start'),
    schemaVersion: z.literal(EVENTS_SCHEMA_VERSION),
    at: z.string(),
    run: z.string(),
    directory: z.string(),
    capture: z.string(),
    target: z.string(),
    multiplier: z.number(),
    scaling: z.string(),
    plannedRequests: z.number().describe('An estimate: the plan has not been read yet.'),
    plannedS: z.number(),
    warmupS: z.number(),
    calibrates: z.boolean(),
  })
  .describe('Emitted before anything is sent.');
export type StartEvent = Immutable<z.infer<typeof start>>;

const phase = z
  .enum(['calibration', 'warmup', 'run', 'drain'])
  .describe('The current phase. `drain`: everything was sent, and the last answers are pending.');
export type ReplayPhase = z.infer<typeof phase>;

const recentMs = z.object(percentileFields(maybeNumber));
export type RecentMs = Immutable<z.infer<typeof recentMs>>;

const second = z
  .object({
    event: z.literal('second'),
    phase,
    elapsedS: z.number().describe('Since its phase began.'),
    spanS: z.number().describe('Since the previous event; a span may begin in the previous phase.'),
    offered: count,
    achieved: count,
    inFlight: count.describe('At the target.'),
    waiting: count.describe('Unsent requests waiting for their recorded connection.'),
    lagP99Us: maybeNumber,
    errors: count,
    refused: count,
    statuses: z
      .record(z.string(), count)
      .describe('Requests that ended in the span, by status; `none` is without an answer.'),
    latencyMs: latencyMs.describe('Scheduled latency of the requests that were served in the span.'),
    ttftMs: latencyMs.describe('The same up to the first token of a stream.'),
    recentLatencyMs: recentMs.describe(
      'The same over the last spans: of each percentile as few as have enough requests, at most 30, else null.',
    ),
    recentTtftMs: recentMs.describe('The same up to the first token of a stream.'),
    slo: z
      .array(objectiveLine.pick({ expression: true, unit: true, observed: true, limit: true, ok: true }))
      .describe(
        'Objectives over the judged part so far; `observed` is null where only the end of the run decides. The verdict may differ.',
      ),
    etaS: z.number(),
  })
  .describe('Changes since the previous event; counts add up to the run.');
export type SecondEvent = Immutable<z.infer<typeof second>>;

const calibrated = calibration.extend({ event: z.literal('calibration') });

export const endEventSchema = replaySchema
  .pick({
    run: true,
    verdict: true,
    valid: true,
    reasons: true,
    interrupted: true,
    planned: true,
    sent: true,
    completed: true,
    failed: true,
    cancelled: true,
    refused: true,
    unreached: true,
    latencyMs: true,
    slo: true,
  })
  .extend({
    event: z.literal('end'),
    exitCode: z.int(),
    summary: z.string().describe('The file with the whole document.'),
  });
export type EndEvent = Immutable<z.infer<typeof endEventSchema>>;

/** One line of `replay --ndjson`. */
export const replayEventSchema = z.discriminatedUnion('event', [start, second, calibrated, endEventSchema]);
export type ReplayEvent = Immutable<z.infer<typeof replayEventSchema>>;
