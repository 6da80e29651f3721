import { z } from 'zod';
import { AppError } from '../core/errors.ts';
import { FINISH_REASONS } from '../core/exchange.ts';
import { CHECK_LEVELS, MISMATCH_KINDS, SEND_ERRORS, UNCHECKED_REASONS } from '../core/run.ts';
import { autoscaling } from './autoscaling.ts';
import { connections } from './connections.ts';
import { faultsSchema } from './faults.ts';
import { monitors } from './monitors.ts';
import {
  asRecorded,
  capsSchema,
  comparedHits,
  count,
  counts,
  foundStretch,
  goodCounts,
  type Immutable,
  idc,
  interval,
  LAG_PERCENTS,
  latencyMs,
  maybeNumber,
  maybeText,
  observation,
  pauses,
  telemetrySchema,
  tested,
  throughput,
  untilSure,
} from './parts.ts';
import { byPercent, percentileFields } from './percentiles.ts';
import { runReason, withSubjects } from './reasons.ts';

/** Raised when a field changes its meaning; new fields do not raise it. */
export const REPLAY_SCHEMA_VERSION = 1;

const arrivals = z
  .object({
    count,
    spanS: z.number().describe('From first to last arrival.'),
    ratePerSecond: maybeNumber.describe('Arrivals ÷ span.'),
    cv: maybeNumber.describe(
      'Coefficient of variation of the gaps: 0 for equal gaps, 1 for a Poisson process.',
    ),
    ties: maybeNumber.describe('Share of gaps that are exactly 0.'),
    idc,
    peak1s: z.number().describe('Most arrivals in a second, counted from the first arrival.'),
    peak60s: z.number(),
    peakToMean1s: maybeNumber,
    gapMs: z.object({ ...byPercent(LAG_PERCENTS, () => z.number()), max: z.number() }).nullable(),
  })
  .describe('A series of arrivals; null if there are too few.');
export type ArrivalFigures = Immutable<z.infer<typeof arrivals>>;

const streamDistance = z.object({
  ksGaps: maybeNumber.describe(
    'Kolmogorov–Smirnov distance of the gaps, each stream scaled to a mean gap of 1.',
  ),
  mixDistance: maybeNumber.describe('Total variation distance over route × model × size class.'),
});

const duplicates = z.object({
  count: count.describe('Requests with a known body.'),
  ratio: maybeNumber.describe('Share of those that repeat an earlier request.'),
  exact: z.boolean().describe('False if the ratio is an estimate.'),
});
export type DuplicateFigures = Immutable<z.infer<typeof duplicates>>;

const repeats = z.object({
  time: z
    .enum(['latency', 'ttft'])
    .describe('Of which the means are: from the send to the last byte or token.'),
  pairs: count.describe('Exchanges that were sent more than once: the first send of each, and the second.'),
  firstMs: z.number().describe('Geometric mean.'),
  repeatMs: z.number().describe('Geometric mean.'),
  faster: z.boolean().describe('Second sends are certainly faster, so that a cache may answer them.'),
});
export type RepeatFigures = Immutable<z.infer<typeof repeats>>;

const waitsFor = z.enum(['sessions', 'connections', 'values']);
/**
 * What a request can wait for before it is sent: the previous request of its session, its recorded connection, or the
 * answer with a value that it needs.
 */
export type WaitsFor = z.infer<typeof waitsFor>;

const fidelity = z
  .object({
    recorded: arrivals,
    planned: arrivals,
    waitsFor: waitsFor
      .nullable()
      .describe('What delayed requests beyond their planned instants; null if nothing did.'),
    resolved: arrivals
      .nullable()
      .describe(
        'If requests wait: the instants that their sessions or connections reached. `sent` and `ksGaps` are compared with these.',
      ),
    dueInTime: count
      .nullable()
      .describe('If requests wait: those that were due in the planned time, by parts of the plan.'),
    sent: arrivals,
    unfiltered: arrivals.nullable().describe('Everything in the window, if filters excluded a part of it.'),
    ksGaps: maybeNumber.describe(
      'Planned to sent, differences of a millisecond aside; null if the mean gap is under 2 ms.',
    ),
    mixDistance: maybeNumber.describe('Planned to sent.'),
    duplicateRatio: maybeNumber.describe('Share of planned requests that repeat an earlier one.'),
    duplicateRatioExact: z.boolean(),
    recordedToPlanned: streamDistance,
    recordedRejected: maybeNumber.describe('Share of recorded statuses 429 and 503.'),
    recordedRetries: z.null(),
    unordered: count.describe('Sends with an unknown position in the sending order.'),
  })
  .describe('If the run was stopped: of the part of the plan read until then.');
export type FidelityDocument = Immutable<z.infer<typeof fidelity>>;

const trustedLatencyMs = latencyMs.extend(
  percentileFields(interval.describe('95 %; null if the run has too few independent samples.'), 'Interval'),
);
export type TrustedLatencyMs = Immutable<z.infer<typeof trustedLatencyMs>>;

const lagUs = z.object({ ...byPercent(LAG_PERCENTS, () => maybeNumber), max: maybeNumber });
/** Microseconds; null if nothing was measured. */
export type LagUs = Immutable<z.infer<typeof lagUs>>;

export const objectiveLine = z.object({
  expression: z.string(),
  unit: z.enum(['ms', 'share', 'count', 'number']).describe('Unit of `observed` and `limit`.'),
  observed: observation.describe(
    '`"Infinity"` if too many requests had no answer; null if nothing was measured.',
  ),
  limit: z.number(),
  ok: z.boolean().nullable(),
  slice: z
    .record(z.string(), z.string())
    .nullish()
    .describe('The requests that it is about, such as `{"model": "gpt"}`; null for all.'),
  requests: count.nullish().describe('How many those are, as planned; null for all.'),
  goodput: goodCounts.nullish().describe('Of an objective on goodput: requests that kept all limits.'),
  upperBound: observation.describe(
    'Of a percentile, mean or share within its limit: the truth is below this with the confidence of `bounds`. Null if it is compared as observed.',
  ),
  lowerBound: observation
    .optional()
    .describe(
      'Of a violated objective on sent requests: their value without lag and pauses of the generator. FAIL needs this to violate it.',
    ),
});
/** One objective and its result. */
export type ObjectiveLine = Immutable<z.infer<typeof objectiveLine>>;
export type ObjectiveUnit = ObjectiveLine['unit'];

const health = z
  .object({
    busyShare: maybeNumber.describe('Share of time that the busiest sender thread was working.'),
    niceness: maybeNumber
      .optional()
      .describe('Of the threads that keep time and send; below 0 they come before other programs.'),
    throttled: z.boolean().nullable().describe('Whether a CPU quota throttled the sender.'),
    starved: count.nullable().describe('Requests that were due before they reached the sender.'),
    refusedForBytes: count.describe('Refused requests, for the bytes of bodies in flight.'),
    caps: capsSchema,
    stalls: count.describe(
      'Periods in which a due request was over 250 ms late. Their requests count, with their lag.',
    ),
    stalledMs: z.number(),
    longestStallMs: z.number(),
  })
  .describe('Health of the sender.');
export type HealthDocument = Immutable<z.infer<typeof health>>;

const warmup = z
  .object({
    askedS: z.number(),
    playedS: z.number(),
    planned: count,
    sent: count,
    completed: count,
    failed: count,
    cancelled: count,
    refused: count,
    endedLate: count.describe('Answered, or failed, after the judged part began.'),
  })
  .describe('The sends before the judged part; no other figure includes them.');
export type WarmupDocument = Immutable<z.infer<typeof warmup>>;
/** Results of the warm-up's sends; `completed` + `failed` + `cancelled` were sent. */
export type WarmupFigures = Omit<WarmupDocument, 'askedS' | 'playedS'>;

const streams = z
  .object({
    completed: count,
    failed: count,
    refused: count,
    withoutContent: count.describe(
      'Completed without any content: they count as infinite in a `ttft` objective.',
    ),
    unread: count.describe('Completed with a content coding: their times are unknown.'),
    turnedAway: count.describe('Streams requested but not answered with 2xx: neither completed nor failed.'),
    whole: count.describe('Streams requested but answered whole with 2xx: neither completed nor failed.'),
    gaps: count.describe('The number of gaps between tokens in `itlMs`.'),
  })
  .describe('Streamed answers.');
export type StreamsDocument = Immutable<z.infer<typeof streams>>;

export const tokens = z
  .object({
    answers: count,
    prompt: count,
    output: count,
    finishReasons: z.partialRecord(z.enum(FINISH_REASONS), count),
  })
  .describe('Token counts of servers: sums over the completed answers that have them.');
export type TokensDocument = Immutable<z.infer<typeof tokens>>;

export const sendId = z.object({
  index: count.describe('Position in the schedule, which is the row in the run.'),
  segment: z.string(),
  exchangeId: count.describe('The recorded exchange.'),
});
/** Identifies an exchange, to find its row and payload. It contains no data of them. */
export type SendId = Immutable<z.infer<typeof sendId>>;

const errorExamples = z
  .record(z.string(), z.array(sendId))
  .describe('The first few failures of each kind (`reset`, `status_503`, `UNAVAILABLE` of a gRPC call …).');

const mismatchExample = sendId.extend({
  pointer: maybeText.describe('JSON pointer of the first difference.'),
});
/** A send with a different answer, and the place of the difference, but never its content. */
export type MismatchExample = Immutable<z.infer<typeof mismatchExample>>;

const check = z
  .object({
    level: z.enum(CHECK_LEVELS),
    answers: count.describe('`checked` plus those that could not be checked.'),
    checked: count,
    mismatched: count,
    rate: maybeNumber.describe('`mismatched` ÷ `checked`.'),
    byKind: z.record(z.enum(MISMATCH_KINDS), count),
    unchecked: z.partialRecord(z.enum(UNCHECKED_REASONS), count),
    examples: z.partialRecord(z.enum(MISMATCH_KINDS), z.array(mismatchExample)),
    tolerance: z.record(z.string(), z.number()),
    ignored: z
      .object({ asked: z.array(z.string()), byProtocol: z.record(z.string(), z.array(z.string())) })
      .describe('JSON pointers that were not compared: requested ones, and defaults of the protocol.'),
  })
  .describe('Comparison of answers with the recorded ones: counts, ids and places.');
export type CheckDocument = Immutable<z.infer<typeof check>>;
/** Results of comparing a run's answers with the recorded ones. */
export type CheckFigures = Omit<CheckDocument, 'level' | 'rate' | 'tolerance' | 'ignored'>;

const connectionWaits = z.object({
  waited: count,
  late: count.describe('Of those, requests that waited longer than `boundMs`.'),
  boundMs: z.number(),
});
/** Requests whose recorded connection was busy when they were due. */
export type ConnectionWaits = Immutable<z.infer<typeof connectionWaits>>;

const calibrationLimits = z.object({
  p50Factor: z.number(),
  statusShare: z.number(),
  sizeShare: z.number(),
});
/** How far the target may differ from the recording. */
export type CalibrationLimits = Immutable<z.infer<typeof calibrationLimits>>;

export const calibration = z
  .object({
    pairs: count.describe('Requests that were answered when recorded and were sent again.'),
    p50Ms: z.object({ recorded: maybeNumber, observed: observation }),
    responseBytes: z.object({ recorded: maybeNumber, observed: maybeNumber }),
    statuses: z.object({ recorded: counts.nullable(), observed: counts.nullable() }),
    statusDistance: maybeNumber.describe('Total variation distance between the statuses.'),
    bounds: calibrationLimits,
    representative: z.boolean().nullable().describe('Null if too little of the recording could be compared.'),
    differences: z.array(z.string()).describe('What is out of bounds, as text.'),
    from: z.string().optional(),
    to: z.string().optional(),
    precedesWindow: z.boolean().optional().describe('False if it repeats the start of the window.'),
    sent: count.optional(),
    failed: count.optional(),
  })
  .describe('Answers of the target to some minutes of the recording at 1x, compared with the recorded ones.');
/** A calibration with the window that was replayed for it. */
export type CalibrationDocument = Immutable<z.infer<typeof calibration>>;
/** Only the comparison of a calibration. */
export type Calibration = Omit<CalibrationDocument, 'from' | 'to' | 'precedesWindow' | 'sent' | 'failed'>;

const bounds = z
  .object({
    achievedShare: z.number().describe('Least share of planned sends that must be sent.'),
    lagNs: z.number().describe('Lag p99 may be this, or `lagShare` of the smallest latency objective.'),
    lagShare: z.number(),
    busyShare: z.number().describe('Share of time that a sender thread may be working.'),
    arrivalShare: z
      .number()
      .describe('CV and IDC of the sends may differ from the plan by this share, or by `arrivalDifference`.'),
    arrivalDifference: z.number(),
    unexplainedShare: z
      .number()
      .describe('Share of seen exchanges that neither sampling nor an omission explains.'),
    multiplierShare: z.number().describe('How far the effective multiplier may deviate, up or down.'),
    connectionWaitShare: z
      .number()
      .describe('Share of sends that may have waited for their recorded connection.'),
    statusShare: z.number().describe('How far statuses may differ from the recording.'),
    sizeFactor: z.number().describe('How many times the median answer of a route may be larger or smaller.'),
    rejectedShare: z.number().describe('Share of recorded refusals (429, 503) beyond which they are noted.'),
    uncheckedShare: z.number().describe('Share of answers that may lack a comparison.'),
    confidence: maybeNumber.describe(
      'How sure PASS must be that a percentile is within its limit; null compares the observed value.',
    ),
    violationConfidence: maybeNumber
      .optional()
      .describe('How sure FAIL must be that an objective is violated; else the observed value counts.'),
    unreadShare: z
      .number()
      .describe('Share of streams that may be unread before their objectives are doubtful.'),
  })
  .describe('Beyond these bounds the run is inconclusive.');
export type JudgementBounds = Immutable<z.infer<typeof bounds>>;

const clock = z.object({
  driftUs: z
    .number()
    .describe('Change of wall clock minus monotonic clock during the run, by steps and slewing.'),
  kernel: maybeText.describe('Equal for processes on one kernel, which share a clock.'),
});

const recordedFailures = z.object({
  unanswered: count.describe('No server answered.'),
  broken: count.describe('The answer began, with a status below 500, and broke off.'),
});
/** Planned requests that failed when recorded, besides those answered with 5xx. */
export type RecordedFailures = Immutable<z.infer<typeof recordedFailures>>;

const shard = z
  .object({
    index: count.describe('From 0.'),
    count,
    planDigest: z.string().describe('Equal for shards of one plan on one capture.'),
    host: z.string(),
    startAt: maybeText,
    clock,
    pace: z.number().describe('Seconds of recorded time per second of the run.'),
    recordedStatuses: counts.describe('Of the requests planned here.'),
    recordedFailures,
    whole: z
      .object({ recorded: arrivals, planned: arrivals, recordedToPlanned: streamDistance, duplicates })
      .describe('Facts of the whole plan, which all shards share.'),
  })
  .describe('Facts of the shard that this run replayed, for people and for merging.');
export type ShardDocument = Immutable<z.infer<typeof shard>>;
export type WholePlan = ShardDocument['whole'];

const verdict = z.enum(['PASS', 'FAIL', 'INCONCLUSIVE']);
export type Verdict = z.infer<typeof verdict>;

const merged = z
  .object({
    planDigest: z.string(),
    count,
    missing: z.array(count),
    shards: z.array(
      z.object({
        index: count,
        run: z.string(),
        host: z.string(),
        startedAt: z.string(),
        startedLateUs: z.number().describe('After the start of the merged run, by the clock of its host.'),
        clockDriftUs: z.number(),
        verdict: verdict.nullable(),
        valid: z.boolean(),
        planned: count,
        sent: count,
        failed: count,
        refused: count,
        lagUs,
        busyShare: maybeNumber,
      }),
    ),
    clockSkew: z.object({
      startSpreadUs: z.number().describe('From the first start to the last, each by its own clock.'),
      driftMaxUs: z.number().describe('The largest change of a wall clock against its monotonic clock.'),
      betweenHostsUs: z.literal(0).nullable().describe('Null between hosts, where it is unknown.'),
    }),
  })
  .describe('Additional facts of a merged run.');
export type MergedDocument = Immutable<z.infer<typeof merged>>;

const windows = {
  windows: z.array(
    z.object({
      from: z.string(),
      to: z.string(),
      exchanges: count.nullable().describe('In all passes; null in a plan.'),
      selected: count.nullable(),
    }),
  ),
  windowSearch: foundStretch.nullable().describe('The window that was searched and found.'),
  loops: count.nullable().describe('Requested passes; null for as many as the duration needs.'),
  passes: count.nullable().describe('Passes begun; null in a plan.'),
  seam: maybeText,
  maxDurationS: maybeNumber,
  filters: z
    .object({
      methods: z.array(z.string()),
      paths: z.array(z.string()),
      statuses: z.array(z.string()),
      models: z.array(z.string()),
      clients: z.array(z.string()),
      minRequestBytes: maybeNumber,
      maxRequestBytes: maybeNumber,
    })
    .nullable(),
};
export type WindowsDocument = Immutable<z.infer<z.ZodObject<typeof windows>>>;

const leastAndMost = z.tuple([z.number(), z.number()]);

const scalingCounts = z.object({
  thinned: count.describe('Exchanges of the window whose session was excluded.'),
  copies: count.describe('Sends that are copies of a recorded exchange.'),
  layered: count.describe('Sends from other parts of the capture, overlaid on the window.'),
  perturbed: count,
  notPerturbed: count,
  ownPrompts: count.optional().describe('Copies whose prompt begins with its own words.'),
  samePrompts: count.optional().describe('Copies whose prompt has too few words for that.'),
  bodiesUnread: count.describe(
    'Copies whose body is compressed or of an unknown gRPC service, so that its identity was not changed.',
  ),
  forgottenSessions: count,
  openedBefore: z
    .object({ exchanges: count, sessions: count, lookbackMs: z.number() })
    .nullable()
    .describe('Sessions that began before the window; they are replayed from its start.'),
});
/** Counts of what a scaling did. */
export type ScalingCounts = Immutable<z.infer<typeof scalingCounts>>;

const scalingPlan = z
  .object({
    keeps: z.string(),
    bends: z.string(),
    seed: z.number(),
    stages: z.array(z.string()).nullable(),
    stageMultipliers: leastAndMost.optional().describe('Least and largest of stages; absent if equal.'),
    targetShare: z.number().describe('Target rate ÷ recorded rate.'),
    coverageFactor: maybeNumber.describe('Factor that compensates for exchanges seen but not recorded.'),
    keptSessions: leastAndMost.describe('Share of sessions replayed.'),
    timesEach: leastAndMost.describe('How often each session is replayed.'),
    jitterMs: z.number(),
    perturb: z.array(z.string()),
    copyPrompts: z.enum(['own', 'same']).optional(),
    reuse: z.string().optional().describe('What the scaling does to the reuse of prompts by a cache.'),
    layers: z
      .array(z.object({ from: z.string(), to: z.string(), exchanges: count, share: z.number() }))
      .describe('Parts of the capture that are overlaid on the window.'),
    expectedRequests: z.number(),
    drawn: z
      .object({ asked: z.number(), planned: z.number(), largest: z.number() })
      .nullable()
      .optional()
      .describe(
        'Requests that draws were to plan, those they plan, and the most that one draw decides over.',
      ),
    counts: scalingCounts.optional(),
  })
  .describe('The scaling as requested, as planned and as achieved.');
export type ScalingPlan = Immutable<z.infer<typeof scalingPlan>>;

/** Of a plan and of a run. */
export const plannedValues = z.object({
  linked: count.describe('Requests that need values of answers of the run.'),
  willWait: count.describe('Of the planned ones: those that wait if the target is as fast as recorded.'),
  unissued: count.describe('Values sent as recorded: the exchange that issued them is not in the plan.'),
  missed: counts.describe('How often a limit on the search for links was reached.'),
});

const liveValues = plannedValues
  .extend({
    waited: count.describe('Those that waited for an answer.'),
    diverged: count.describe('Requests for which an answer had no such value.'),
    skipped: count.describe('Not sent for that reason, and those of their sessions after them.'),
    forgotten: count.describe('Values, cookies and sessions that were given up: too many were held.'),
  })
  .describe('Values that the server issued, sent as the target issued them.');
export type LiveValuesDocument = Immutable<z.infer<typeof liveValues>>;

const followUps = z
  .object({
    policy: z.string(),
    heldBack: count.describe(
      'Sent after the instant that their session reached, because the plan was not read so far ahead.',
    ),
    notHeld: count.describe('Refused, because too many were waiting.'),
    counts: z
      .object({
        sessions: count,
        followUps: count,
        overlapped: count,
        unknownEnds: count,
        forgotten: count,
      })
      .nullable(),
    values: liveValues.nullable().optional().describe('Null if no request needed a value of an answer.'),
  })
  .describe('How sessions were replayed.');
export type SessionOrderDocument = Immutable<z.infer<typeof followUps>>;

const audit = z.object({
  unreplayableByReason: counts,
  maskedHeaders: counts.describe('Requests sent without a header that was masked, by header.'),
  maskedQueryKeys: counts.describe('Requests sent with a query value as masked, by key.'),
  maskedRequests: count,
});
export type AuditDocument = Immutable<z.infer<typeof audit>>;

const bodyChanges = z
  .object({
    pinOutputLength: maybeText,
    pinned: count,
    unpinned: count.describe('Their recorded length is not known, or their body is no plain JSON.'),
    requestUsage: z.boolean(),
    usageRequested: count,
  })
  .describe('Bodies that were sent with changes.');
/** The requested changes of bodies, and how often each was made. */
export type BodyChangeCounts = Immutable<z.infer<typeof bodyChanges>>;

const timeShift = z.object({ pointers: z.array(z.string()), shifted: count, unshifted: count });
/** Counts of values in sent requests. Each place of each request counts once. */
export type TimeShiftCounts = Immutable<z.infer<typeof timeShift>>;

/** Parts that the plan and the senders add to the summary of a run. */
const played = z
  .object({
    ...windows,
    scalingPlan,
    audit,
    cancels: z.object({
      policy: z.string(),
      untimed: count.describe('Awaited, because the recording does not say when the client left.'),
    }),
    changes: bodyChanges,
    connections,
    shard: shard.nullable().describe('Null if the run replayed a whole plan.'),
    merged: merged.nullable().describe('Null if the run was not merged from shards.'),
    timeShift: timeShift.nullable(),
    sessionOrder: followUps,
    monitors,
    telemetry: telemetrySchema.nullable().describe('Null if nothing was exported.'),
    faults: faultsSchema.nullable().describe('Null if no dependency failed by plan.'),
    untilSure,
    autoscaling: autoscaling.nullable().describe('Null where no ready replicas were watched.'),
  })
  .partial();

/**
 * The document of `replay --json` and `summary.json`. Fields are added, never renamed; readers ignore unknown
 * ones.
 */
export const replaySchema = z.object({
  schemaVersion: z.literal(REPLAY_SCHEMA_VERSION),
  kind: z.literal('replay'),
  run: z.string(),
  version: z.string(),
  capture: z.string(),
  target: z.string(),
  ...tested,
  startedAt: z.string(),
  endedAt: z.string(),
  verdict: verdict.nullable(),
  valid: z.boolean(),
  reasons: z.array(runReason),
  notes: z.array(runReason),
  interrupted: maybeText.describe('Why the schedule was not replayed to its end; null if it was.'),
  recorded: count.describe('Exchanges in the window: `selected` and those excluded by filters.'),
  selected: count,
  planned: count,
  planCounted: z
    .boolean()
    .describe('False if the run was stopped before its whole plan was counted: counts are lower bounds.'),
  sent: count.describe('`completed` + `failed` + `cancelled`'),
  completed: count,
  failed: count,
  cancelled: count.describe('Cancelled by the replay where the recorded client had left.'),
  refused: count,
  unreached: count,
  unreplayable: count,
  skipped: counts,
  multiplier: z.number(),
  effectiveMultiplier: maybeNumber,
  coverage: maybeNumber,
  coverageUnexplained: maybeNumber,
  scaling: z.string(),
  closedLoop: z
    .object({ concurrency: z.int() })
    .optional()
    .describe('Only of a closed loop, which has no scheduled latency and no verdict.'),
  durationS: z.number(),
  lagUs,
  connectMs: latencyMs.describe(
    'From the actual send to the call that writes: choosing or opening a connection.',
  ),
  connectionWaitMs: latencyMs.describe(
    'Before the actual send: the wait for the recorded connection. Null if connections are pooled.',
  ),
  pauses: pauses.optional(),
  connectionWaits: connectionWaits.nullable().describe('How many waited for it; null if none could.'),
  fidelity,
  latencyMs: z
    .object({ scheduled: trustedLatencyMs, service: trustedLatencyMs })
    .describe('Of served requests: answers that neither failed nor turned the request away.'),
  ttftMs: latencyMs.describe('Of streams with a token: first token minus intended send.'),
  itlMs: latencyMs.describe('Between tokens.'),
  tpotMs: latencyMs.describe('Per output token.'),
  streams,
  tokens,
  cacheHits: comparedHits.nullish().describe('Null if neither server reports cached tokens.'),
  statuses: counts,
  grpcStatuses: counts
    .optional()
    .describe(
      'Answers to gRPC calls by the name of their status, such as `UNAVAILABLE`; `statuses` has their HTTP statuses.',
    ),
  errors: z.partialRecord(z.enum(SEND_ERRORS), count),
  errorExamples,
  repeats: repeats
    .nullable()
    .optional()
    .describe(
      'Second sends of the same recorded exchange, by `--loop` or as copies; null if there were none.',
    ),
  asRecorded: asRecorded.optional(),
  throughput: throughput.optional(),
  check: check.nullable(),
  slo: z.array(objectiveLine),
  health,
  warmup: warmup.nullable(),
  calibration: calibration.nullable(),
  bounds,
  options: z.record(z.string(), z.unknown()),
  ...played.shape,
});
export type ReplayDocument = Immutable<z.infer<typeof replaySchema>>;
/** The document of a run that replayed a shard. */
export type ShardRunDocument = ReplayDocument & { readonly shard: ShardDocument };

/**
 * Validates the `summary.json` of a run, which may have been edited. Unknown fields stay.
 * @throws AppError INPUT_INVALID when it is no summary of a run, SCHEMA_TOO_NEW for a later version
 */
export function readReplayDocument(directory: string, summary: object): ReplayDocument {
  const { schemaVersion, kind } = summary as { schemaVersion?: unknown; kind?: unknown };
  if (typeof schemaVersion === 'number' && schemaVersion > REPLAY_SCHEMA_VERSION) {
    throw new AppError('SCHEMA_TOO_NEW', `summary.json of ${directory} has schema version ${schemaVersion}`, {
      hint: `This version reads up to ${REPLAY_SCHEMA_VERSION}; use the one that wrote it, or a later one.`,
    });
  }
  if (typeof kind === 'string' && kind !== 'replay') {
    throw new AppError('INPUT_INVALID', `${directory} holds no run but a ${JSON.stringify(kind)} document`, {
      hint: 'Pass the directory of the run; its report includes the calibration.',
    });
  }
  const { success, error } = replaySchema.safeParse(summary);
  if (success) return withSubjects(summary as ReplayDocument);
  const [first] = error.issues;
  const where = first === undefined ? '' : `: ${first.path.join('.') || 'the document'}: ${first.message}`;
  throw new AppError('INPUT_INVALID', `summary.json of ${directory} is not that of a run${where}`, {
    hint: 'Restore it from a copy, or replay again. If you remove it, report uses the rows alone.',
  });
}

/**
 * Validates the `summary.json` of a shard.
 * @throws AppError like `readReplayDocument`, and INPUT_INVALID if the run is no shard
 */
export function readShardDocument(directory: string, summary: object): ShardRunDocument {
  const document = readReplayDocument(directory, summary);
  const { shard } = document;
  if (shard == null) {
    throw new AppError('INPUT_INVALID', `The run ${directory} is not a shard: it played a whole plan`, {
      hint: 'Only runs of replay --shard can be merged. Use compare for runs of whole plans.',
    });
  }
  return { ...document, shard };
}
