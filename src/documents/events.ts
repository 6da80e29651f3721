import { z } from 'zod';
import { count, type Immutable, maybeNumber } from './parts.ts';
import { calibration, replaySchema } from './replay.ts';

/** Raised when a field changes its meaning; fields and events are added without. */
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
    plannedRequests: z.number().describe('An estimate: the plan was not read yet.'),
    plannedS: z.number(),
    warmupS: z.number(),
    calibrates: z.boolean(),
  })
  .describe('Before anything is sent.');
export type StartEvent = Immutable<z.infer<typeof start>>;

const phase = z
  .enum(['calibration', 'warmup', 'run', 'drain'])
  .describe('What is being played. `drain`: everything was sent, and the last answers are waited for.');
export type ReplayPhase = z.infer<typeof phase>;

const second = z
  .object({
    event: z.literal('second'),
    phase,
    elapsedS: z.number().describe("From its phase's start."),
    spanS: z.number().describe('Since the event before; a span may begin in the phase before.'),
    offered: count,
    achieved: count,
    inFlight: count.describe('At the target.'),
    waiting: count.describe('On our side, for their recorded connection.'),
    lagP99Us: maybeNumber,
    errors: count,
    refused: count,
    etaS: z.number(),
  })
  .describe('What happened since the event before; counts add up to the run.');
export type SecondEvent = Immutable<z.infer<typeof second>>;

const calibrated = calibration.extend({ event: z.literal('calibration') });

const end = replaySchema
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
    summary: z.string().describe('The file that holds the whole document.'),
  });
export type EndEvent = Immutable<z.infer<typeof end>>;

/** One line of `replay --ndjson`. */
export const replayEventSchema = z.discriminatedUnion('event', [start, second, calibrated, end]);
export type ReplayEvent = Immutable<z.infer<typeof replayEventSchema>>;
