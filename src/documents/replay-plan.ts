import { z } from 'zod';
import { formatMultiplier } from '../core/units.ts';
import { count, counts, type Immutable, maybeNumber, maybeText, untilSure } from './parts.ts';
import { objectiveLine, plannedValues, replaySchema } from './replay.ts';

const { shape } = replaySchema;
const stretch = { from: z.string(), to: z.string() };
const load = z
  .object({
    multiplier: z.number(),
    ratePerSecond: maybeNumber.describe('Of --rate.'),
    concurrency: count.nullable().describe('Of --concurrency.'),
    stageMultipliers: shape.scalingPlan.unwrap().shape.stageMultipliers,
    meanMultiplier: z.number().optional().describe('Of --stages, over their time; absent without stages.'),
  })
  .describe('The load as given.');

/** Facts of a plan that need no exchange to be read. An export has them too. */
const planned = z.object({
  capture: shape.capture,
  target: maybeText,
  window: z.object(stretch),
  ...replaySchema
    .pick({ windows: true, windowSearch: true, loops: true, seam: true, maxDurationS: true, filters: true })
    .required().shape,
  passes: count.nullable(),
  repeats: z.boolean().describe('Whether the windows are replayed more than once.'),
  load,
  multiplier: shape.multiplier.describe('With stages, their mean.'),
  scaling: shape.scaling,
  scalingKeeps: z.string(),
  scalingBends: z.string(),
  scalingPlan: shape.scalingPlan.unwrap(),
  sessionOrder: z.string(),
  sessionsKnown: z.boolean().describe('Whether a recorder of the capture had a session key.'),
  maxRequests: count.nullable(),
  maxRatePerSecond: maybeNumber.describe('Of --max-rate.'),
  shard: z.object({ index: count, count, planDigest: z.string().optional() }).nullable(),
  startAt: maybeText,
  durationS: z.number(),
  endsWith: z.enum(['windows', 'stages', 'duration', 'requests']),
  recordedS: z.number().describe('How much of the recording is replayed.'),
  expected: z
    .object({ exchanges: z.number(), requests: z.number() })
    .describe('Estimated from roll-ups, before any exchange is read.'),
  peak: z.object({
    second: maybeText,
    recordedPerSecond: count,
    plannedPerSecondAtMost: z.number(),
  }),
  coverage: maybeNumber,
  coverageIsAtLeast: z
    .boolean()
    .describe('The coverage is a lower bound: a killed recording did not count what it saw last.'),
  shiftTime: z.array(z.string()),
});
export type PlanFacts = Immutable<z.infer<typeof planned>>;

/** What is played before the judged part, and what judges it. Also known before any exchange is read. */
/** An objective before anything is sent. */
export const plannedObjective = objectiveLine.pick({ expression: true, unit: true, limit: true }).extend({
  origin: z
    .enum(['stated', 'default', 'recording'])
    .optional()
    .describe('Not stated: a default; of `recording`, its limit is above the share that production refused.'),
});
export type PlannedObjective = Immutable<z.infer<typeof plannedObjective>>;

const asked = z.object({
  calibration: z
    .object({ ...stretch, durationS: z.number(), precedesWindow: z.boolean(), plannedRequests: count })
    .nullable(),
  warmup: z
    .object({
      askedS: z.number(),
      recordedS: z.number().describe('How much of it the recording has.'),
      playedS: z.number(),
      planned: count,
    })
    .nullable(),
  slo: z.array(plannedObjective),
  needs: untilSure.unwrap().shape.needs,
  untilSure: untilSure
    .unwrap()
    .extend({ openToTheEnd: z.array(z.string()).describe('Objectives that only the whole run decides.') })
    .nullable(),
  faults: z.array(
    z.object({
      name: z.string(),
      fault: z.string(),
      attributes: z.record(z.string(), z.unknown()),
      proxy: z.string(),
      control: z.string(),
      fromS: z.number(),
      toS: z.number(),
      recoveryS: z.number(),
      during: z.array(z.string()).describe('Its own objectives; empty if those of the run judge it.'),
    }),
  ),
});

const alternation = z.object({
  targets: z.array(z.string()).describe('A and B.'),
  order: z.string().describe('Which of them each run is against, such as `ABBAABBA`.'),
  atLeastS: z.number().describe('Of all runs together, without the waiting for last answers.'),
  budgetS: z.number().describe('How much longer it goes on if noise leaves it undecided.'),
  mostRuns: count.describe('Runs that it ends with at most.'),
});
/** What a replay against two targets does. */
export type AlternationFacts = Immutable<z.infer<typeof alternation>>;
export type AskedPlan = PlanFacts & Immutable<z.infer<typeof asked>>;

/** Findings that make the recorded answer unlikely, although the request can be sent. A closed list. */
export const PAYLOAD_FINDINGS = [
  'masked',
  'presigned_url',
  'json_web_token',
  'timestamp',
  'server_issued_id',
  'compressed_body',
] as const;
export type PayloadFinding = (typeof PAYLOAD_FINDINGS)[number];

const payloads = z
  .object({
    sampled: count,
    found: z.record(z.enum(PAYLOAD_FINDINGS), count),
    comparableAnswers: count.describe('Whose recorded answer is complete and unmasked.'),
    unreplayableByReason: counts.describe('That the HTTP client cannot send as they were.'),
  })
  .describe('Findings of a bounded sample of requests.');
export type PayloadAudit = Immutable<z.infer<typeof payloads>>;

/**
 * The document of `replay --dry-run --json`: what a run is going to do. The keys that it shares with the document of a
 * run mean the same there.
 */
export const replayPlanSchema = z.object({
  schemaVersion: shape.schemaVersion,
  kind: z.literal('replay_plan'),
  version: shape.version,
  ...planned.shape,
  ...asked.shape,
  alternation: alternation.nullish().describe('The plan is that of each run. Null with one target.'),
  ...replaySchema.pick({
    effectiveMultiplier: true,
    recorded: true,
    selected: true,
    planned: true,
    refused: true,
    skipped: true,
    reasons: true,
    notes: true,
    bounds: true,
    options: true,
  }).shape,
  playedMultiplier: maybeNumber.describe('Planned rate ÷ recorded rate.'),
  sendable: z.boolean().describe('False for a capture of arrivals alone.'),
  fidelity: shape.fidelity.pick({
    recorded: true,
    planned: true,
    unfiltered: true,
    recordedToPlanned: true,
    duplicateRatio: true,
    duplicateRatioExact: true,
  }),
  connections: z.object({
    policy: z.string(),
    openMax: count
      .nullable()
      .describe('In use at one time if the target is as fast as recorded; null if unknown.'),
  }),
  values: plannedValues.nullable().optional().describe('Null if no request needs a value of an answer.'),
  payloads,
});
export type ReplayPlanDocument = Immutable<z.infer<typeof replayPlanSchema>>;

/** Whether the load rests on a coverage that is unknown or a bound. A fixed rate and a closed loop use none. */
export function assumesCoverage({ load, coverage, coverageIsAtLeast }: PlanFacts): boolean {
  const isScaled = load.ratePerSecond === null && load.concurrency === null;
  return isScaled && (coverage === null || coverageIsAtLeast);
}

/** The filters of a window as text, one for each kind. */
export function describeFilters(filters: PlanFacts['filters']): string[] {
  if (filters === null) return [];
  const among = (name: string, values: readonly string[]) =>
    values.length === 0 ? [] : [`${name} ${values.join(' or ')}`];
  return [
    ...among('method', filters.methods),
    ...among('path', filters.paths),
    ...among('status', filters.statuses),
    ...among('model', filters.models),
    ...among('client', filters.clients),
    ...(filters.minRequestBytes === null ? [] : [`request body of at least ${filters.minRequestBytes} B`]),
    ...(filters.maxRequestBytes === null ? [] : [`request body of at most ${filters.maxRequestBytes} B`]),
  ];
}

/** `over stages of 1x to 4x, 1.75x on average`; null for a load with one multiplier. */
export function stagesText(
  multiplier: number,
  of: Pick<PlanFacts['load'], 'stageMultipliers'> | undefined,
): string | null {
  if (of?.stageMultipliers === undefined) return null;
  const [least, most] = of.stageMultipliers.map(formatMultiplier);
  return `over stages of ${least}x to ${most}x, ${formatMultiplier(multiplier)}x on average`;
}
