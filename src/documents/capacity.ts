import { z } from 'zod';
import { seriesFacts } from './monitors.ts';
import {
  count,
  counts,
  type Immutable,
  interval,
  latencyMs,
  maybeNumber,
  maybeText,
  observation,
  queueForecast,
  share,
  tested,
} from './parts.ts';
import { subject } from './reasons.ts';
import { calibration } from './replay.ts';
import { plannedObjective } from './replay-plan.ts';
import { serverDetails } from './server-details.ts';

/** Raised when a field changes its meaning; new fields do not raise it. */
export const CAPACITY_SCHEMA_VERSION = 1;

const stepWindow = z
  .object({
    index: count,
    result: z
      .enum(['good', 'bad', 'void'])
      .describe(
        '`void`: the load was not as planned, or nothing was measured. It shows nothing about the target.',
      ),
    doubts: z.array(z.string()).describe('Codes of what speaks against the window.'),
    goals: z
      .record(z.string(), z.boolean().nullable())
      .describe('Whether each objective held; null if unknown.'),
    observed: z.record(z.string(), observation),
    planned: count,
    sent: count,
    completed: count,
    failed: count,
    good: count
      .nullish()
      .describe(
        'Requests that were served within every limit that concerns them: of all requests, of their slice, and of streams if they are one. With tiers, the limits of every tier. Null if too many times are not known.',
      ),
    latencyMs: latencyMs.describe('Scheduled latency of requests that were served.'),
    latencyMeanMs: maybeNumber,
  })
  .describe('A part of a step, judged alone: a trial.');
export type StepWindow = Immutable<z.infer<typeof stepWindow>>;

const stepReason = z.object({ code: z.string(), text: z.string(), ...subject });
export type StepReason = Immutable<z.infer<typeof stepReason>>;

const seen = z.object({ p50: maybeNumber, p95: maybeNumber, max: maybeNumber });
export type MonitoredAtLoad = Immutable<z.infer<typeof seen>>;
const monitored = seriesFacts.omit({ metric: true }).extend({ source: z.string() });

const step = z
  .object({
    multiplier: z.number(),
    purpose: z
      .enum(['calibrate', 'double', 'halve', 'check', 'decide', 'narrow', 'widen'])
      .describe(
        'Why it was replayed. `check`: a load that a doubling skipped. `widen`: beyond the bounds, because windows contradict them.',
      ),
    verdict: z.enum(['PASS', 'FAIL', 'INCONCLUSIVE']).describe('Of most of its windows.'),
    reasons: z.array(stepReason),
    ratePerSecond: z
      .number()
      .describe(
        'Requests sent in a second, on average over its windows; if it ended before one, until its end.',
      ),
    achieved: z.object({
      share: share.nullable().describe('Sent of what was planned and due.'),
      ratePerSecond: z.number().describe('Completed requests in a second.'),
    }),
    latencyMs,
    latencyMeanMs: maybeNumber,
    littlesLaw: share
      .nullable()
      .optional()
      .describe(
        'Share of the time in flight that is of requests open at the end for longer than most answers take; near 0 if steady. Null if that is not known.',
      ),
    windowS: z.number().describe('Length of its windows: whole passes over the load.'),
    windows: z.array(stepWindow),
    monitors: z
      .array(monitored.extend(seen.shape))
      .optional()
      .describe('What monitors saw behind the settling time of the step; of counters the rate a second.'),
    endedEarly: maybeText.describe(
      'Why the step ended before its plan: `hopeless`, `failed`, `budget`; else null.',
    ),
    spentS: z.number().describe('With settling, cool-down and the last answers.'),
    settledS: z.number().describe('Until the target was ready and as fast as before.'),
    run: z.string().describe('Directory of the run, below that of the search.'),
  })
  .describe('The recording at one multiplier.');
export type CapacityStep = Immutable<z.infer<typeof step>>;

const searchedLoad = z
  .object({
    isBusiest: z.boolean().describe('Whether it is the busiest stretch of what was chosen.'),
    windows: z.array(z.object({ from: z.string(), to: z.string() })),
    seconds: z.number(),
    ratePerSecond: z.number().describe('Recorded requests in a second, on average.'),
  })
  .describe('The stretch of the recording that is 1x: every window of every step replays it whole.');
export type SearchedLoadDocument = Immutable<z.infer<typeof searchedLoad>>;

const point = z.object({ multiplier: z.number(), ratePerSecond: z.number() });
export type LoadPoint = Immutable<z.infer<typeof point>>;

const goal = z.object({
  name: z.string().describe('An objective, or `all` for every objective together.'),
  passes: point.nullable(),
  fails: point.nullable(),
  boundary: point.nullable().describe('Half of the windows pass here.'),
  interval: interval.describe(
    'Multipliers; holds the boundary with 95 %. Its lower end allows for an overload that a step is too short to show.',
  ),
});
export type CapacityGoal = Immutable<z.infer<typeof goal>>;

const noise = z.object({
  share: share.describe('How far the target differs from itself at 1x, as a share of its service time.'),
  source: z.enum(['measured', 'file', 'stated', 'none']),
  pairs: count.describe('Requests that both halves of the pair answered.'),
});
export type NoiseFigures = Immutable<z.infer<typeof noise>>;

/** Why a search ended. */
const ENDS_OF_SEARCH = [
  'resolved',
  'target_failed',
  'generator',
  'max_multiplier',
  'max_rate',
  'min_multiplier',
  'budget',
  'unjudged',
  'recording',
  'repeats_cached',
  'not_representative',
  'not_ready',
  'interrupted',
] as const;
export type EndedBy = (typeof ENDS_OF_SEARCH)[number];

/** The document of `capacity --json`. Fields are added, never renamed; readers ignore unknown ones. */
export const capacitySchema = z.object({
  schemaVersion: z.literal(CAPACITY_SCHEMA_VERSION),
  kind: z.literal('capacity'),
  version: z.string(),
  capture: z.string(),
  target: z.string(),
  name: maybeText.optional().describe('What `--name` calls the test.'),
  ...tested,
  startedAt: z.string(),
  endedAt: z.string(),
  objectives: z.array(z.string()),
  load: searchedLoad,
  scaling: z.string(),
  scalingKeeps: z.string(),
  scalingBends: z.string(),
  limitedBy: z
    .enum(['objective', ...ENDS_OF_SEARCH])
    .describe('`objective` if there is an interval; otherwise what kept the search from a breaking point.'),
  endedBy: z
    .enum(ENDS_OF_SEARCH)
    .describe(
      '`resolved` if the interval is as narrow as asked. `recording`: a forecast is not possible, because recorded latencies do not depend on the load.',
    ),
  breakingPoint: z.object({
    passes: point.nullable().describe('The largest load that passes, below the smallest that fails.'),
    fails: point.nullable().describe('The smallest load that fails.'),
    boundary: point.nullable().describe('Half of the windows pass here.'),
    interval: interval.describe('Multipliers; holds the boundary with 95 %. Null without one.'),
    conditionalPerSecond: z
      .number()
      .nullable()
      .optional()
      .describe('Good answers in a second at the largest passing load, in its middle window (MLRsearch).'),
    shape: z
      .enum(['smooth', 'cliff'])
      .nullable()
      .describe('`cliff` if all windows pass up to a load and none beyond.'),
    transition: maybeNumber.describe(
      'From the load at which 90 % of windows pass to that at which 10 % pass, as a share of the boundary: the fitted curve.',
    ),
  }),
  gaveFirst: z
    .object({
      objective: z.string(),
      multiplier: z.number(),
      window: count.describe('The first window of the step that broke it, from 0.'),
      observed: observation,
    })
    .nullable()
    .describe('The objective that broke at the smallest failing load.'),
  goals: z.array(goal).describe('Every objective, judged from the same rows.'),
  tiers: z
    .array(goal.extend({ name: z.string(), objectives: z.array(z.string()) }))
    .optional()
    .describe('Every tier, judged from the same rows: its objectives together, and those of every tier.'),
  curve: z
    .array(
      point.extend({
        completedPerSecond: z.number(),
        goodPerSecond: maybeNumber
          .optional()
          .describe('Good requests (`good` of windows) in a second; with tiers, good by every tier.'),
        latencyMeanMs: maybeNumber,
        latencyMs,
      }),
    )
    .describe('One point a load, ascending.'),
  knee: point
    .nullable()
    .describe('The load with the most throughput for its latency; null if the curve does not show it.'),
  monitors: z
    .array(
      monitored.extend({
        knee: seen.nullable().describe('At the knee; null without one, or if it was not seen there.'),
        loads: z.array(seen.extend({ multiplier: z.number() })).describe('At each load of the curve.'),
      }),
    )
    .optional()
    .describe(
      'What monitors saw at each load; of counters the rate a second. If a load was replayed in several steps, `max` is that of all of them.',
    ),
  sizing: z
    .object({
      replicas: count.describe('Of the target that was searched.'),
      peakPerSecond: z
        .number()
        .describe('The busiest recorded minute of what was replayed, or all of it if that is shorter.'),
      certainMultiplier: maybeNumber
        .optional()
        .describe(
          'The lower end of the interval of 95 %, at most the load that passed. Null without an interval.',
        ),
      replicasNeeded: z.array(
        z.object({
          timesPeak: z.number(),
          replicas: count.describe('By `certainMultiplier`; if that is null, by the largest passing load.'),
          replicasPassed: count.optional().describe('By the largest passing load.'),
        }),
      ),
      overProvisionedShare: z
        .number()
        .describe(
          'Share of the replicas that the recorded peak does not need, on the same basis as `replicas`; negative if there are too few.',
        ),
      costPerThousandGood: maybeNumber.describe(
        'At the largest passing load, with all replicas paid for. Good as `good` of windows; null if that is not known.',
      ),
    })
    .nullable()
    .describe('If capacity grows with the number of replicas; null if no load passes.'),
  calibration: calibration
    .pick({ pairs: true, representative: true, differences: true, p50Ms: true, statusDistance: true })
    .nullable()
    .describe('How the target at 1x compares with the recording; null if it was not asked for.'),
  noise,
  forecast: queueForecast
    .optional()
    .describe('Of a search without a server (`--simulate`): what it assumes. Nothing was sent.'),
  width: z.number().describe('The relative width that the interval was to have.'),
  windowS: z.number().describe('Least length of a window.'),
  windowsToDecide: count,
  voidWindows: counts.describe('Windows that say nothing, by the code of the reason.'),
  inverted: z
    .array(z.number())
    .describe('Larger loads that passed although a smaller one failed: they count for nothing.'),
  unplayed: z
    .array(z.tuple([z.number(), z.number()]))
    .describe(
      'Between these multipliers nothing was replayed, although the largest passing load lies above: a load that fails there was not seen. Nor was one below the smallest load.',
    ),
  steps: z.array(step),
  budgetS: z.number(),
  spentS: z.number(),
  directory: z.string(),
});
export type CapacityDocument = Immutable<z.infer<typeof capacitySchema>>;

/** The document of a dry run of a search: what it is going to play, at most. */
export const capacityPlanSchema = z.object({
  schemaVersion: z.literal(CAPACITY_SCHEMA_VERSION),
  kind: z.literal('capacity_plan'),
  version: z.string(),
  capture: z.string(),
  target: maybeText,
  window: z.object({ from: z.string(), to: z.string() }),
  load: searchedLoad,
  ratePerSecond: z.number().describe('At 1x, on average.'),
  windowS: z.number().describe('Least length of a window.'),
  leastWindowS: z.number().describe('In shorter windows, loads just above the capacity may pass.'),
  objectives: z.array(plannedObjective),
  largestLimitS: z.number().describe('Of the objectives on times; 0 if there is none.'),
  settlingS: z.number().describe('Of each step, before its first window.'),
  samples: z.number().describe('Requests that the objectives need in a window.'),
  calibrates: z.boolean(),
  multipliers: z.array(z.number()).describe('Played in this order, while they pass.'),
  ceilingBy: z.enum(['max_multiplier', 'max_rate']),
  scaling: z.string(),
  scalingBends: z.string(),
  budgetS: z.number(),
  longestS: z.number(),
  width: z.number(),
});
export type CapacityPlanDocument = Immutable<z.infer<typeof capacityPlanSchema>>;

/** The state that a search stores after each step, so that it can be resumed. */
export const capacityStateSchema = z.object({
  schemaVersion: z.literal(CAPACITY_SCHEMA_VERSION),
  kind: z.literal('capacity-state'),
  settings: z.string().describe('What a search that goes on must ask for again: a hash.'),
  generator: z
    .string()
    .describe('Options of the generator, which may change: then what it invalidated is replayed.'),
  windowS: z.number(),
  load: z.object({
    isBusiest: z.boolean(),
    parts: z.array(z.object({ fromUs: z.number(), toUs: z.number() })),
  }),
  startedAt: z.string(),
  endedAt: maybeText.describe('When the last step was over.'),
  calibration: calibration.nullable(),
  noise: noise.nullable(),
  baselineMs: maybeNumber.describe('Of the probe request at rest.'),
  serverDetails: serverDetails.optional(),
  steps: z.array(step),
});
export type CapacityState = Immutable<z.infer<typeof capacityStateSchema>>;

/** The file of `--noise`: measured noise by target. */
export const noiseFileSchema = z.object({
  schemaVersion: z.literal(CAPACITY_SCHEMA_VERSION),
  kind: z.literal('capacity-noise'),
  targets: z.record(z.string(), noise.extend({ measuredAt: z.string() })),
});
export type NoiseFile = Immutable<z.infer<typeof noiseFileSchema>>;
