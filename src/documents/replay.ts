import { z } from 'zod';
import { AppError } from '../core/errors.ts';
import { CHECK_LEVELS, FINISH_REASONS, MISMATCH_KINDS, SEND_ERRORS, UNCHECKED_REASONS } from '../core/run.ts';
import {
  count,
  counts,
  foundStretch,
  type Immutable,
  idc,
  interval,
  maybeNumber,
  maybeText,
  observation,
  runReason,
} from './parts.ts';

/** Raised when a field changes its meaning; fields are added without. */
export const REPLAY_SCHEMA_VERSION = 1;

const arrivals = z
  .object({
    count,
    spanS: z.number().describe('From the first arrival to the last.'),
    ratePerSecond: maybeNumber.describe('Arrivals ÷ span.'),
    cv: maybeNumber.describe(
      'Coefficient of variation of the gaps: 0 for a metronome, 1 for a Poisson process.',
    ),
    ties: maybeNumber.describe('Share of gaps that are exactly 0.'),
    idc,
    peak1s: z.number().describe('Most arrivals in a second; seconds are laid from the first arrival.'),
    peak60s: z.number(),
    peakToMean1s: maybeNumber,
    gapMs: z.object({ p50: z.number(), p90: z.number(), p99: z.number(), max: z.number() }).nullable(),
  })
  .describe('A stream of arrivals; null where there are too few of them.');
export type ArrivalFigures = Immutable<z.infer<typeof arrivals>>;

const streamDistance = z.object({
  ksGaps: maybeNumber.describe(
    'Kolmogorov–Smirnov distance of the gaps, each stream scaled to a mean gap of 1.',
  ),
  mixDistance: maybeNumber.describe('Total variation over route × model × size class.'),
});
export type StreamDistance = Immutable<z.infer<typeof streamDistance>>;

const duplicates = z.object({
  count: count.describe('Requests whose body is known.'),
  ratio: maybeNumber.describe('Share of them that repeat an earlier request.'),
  exact: z.boolean().describe('False where the ratio is an estimate.'),
});
export type DuplicateFigures = Immutable<z.infer<typeof duplicates>>;

const waitsFor = z.enum(['sessions', 'connections']);
/** What a request can wait for on our side: the request before it in its session, or its recorded connection. */
export type WaitsFor = z.infer<typeof waitsFor>;

const fidelity = z
  .object({
    recorded: arrivals,
    planned: arrivals,
    waitsFor: waitsFor
      .nullable()
      .describe('What put requests off beyond their planned instants; null where nothing did.'),
    resolved: arrivals
      .nullable()
      .describe(
        'Where requests wait: the instants that their sessions or connections came to. `sent` and `ksGaps` are held against these.',
      ),
    dueInTime: count
      .nullable()
      .describe('Where requests wait: those whose instant came before the last planned one.'),
    sent: arrivals,
    unfiltered: arrivals
      .nullable()
      .describe('Everything in the window, where filters left out a part of it.'),
    ksGaps: maybeNumber.describe('Planned to sent.'),
    mixDistance: maybeNumber.describe('Planned to sent.'),
    duplicateRatio: maybeNumber.describe('Share of planned requests that repeat an earlier one.'),
    duplicateRatioExact: z.boolean(),
    recordedToPlanned: streamDistance,
    recordedRejected: maybeNumber.describe('Share of recorded statuses 429 and 503.'),
    recordedRetries: z.null(),
    unordered: count.describe('Sends whose place in the order of sending is not known.'),
  })
  .describe('Of a run that was stopped: of what it had read of its plan until then.');
export type FidelityDocument = Immutable<z.infer<typeof fidelity>>;

const latencyMs = z.object({ p50: maybeNumber, p95: maybeNumber, p99: maybeNumber, max: maybeNumber });
/** Milliseconds; null where nothing was measured. */
export type LatencyMs = Immutable<z.infer<typeof latencyMs>>;

const trustedLatencyMs = latencyMs.extend({
  p50Interval: interval.describe('95 %; null where the run is too short for one.'),
  p95Interval: interval,
  p99Interval: interval,
});
export type TrustedLatencyMs = Immutable<z.infer<typeof trustedLatencyMs>>;

const lagUs = z.object({ p50: maybeNumber, p90: maybeNumber, p99: maybeNumber, max: maybeNumber });
/** Microseconds; null where nothing was measured. */
export type LagUs = Immutable<z.infer<typeof lagUs>>;

const sloLine = z.object({
  expression: z.string(),
  unit: z.enum(['ms', 'share', 'count']).describe('Of `observed` and `limit`.'),
  observed: observation.describe(
    '`"Infinity"` where too many requests had no answer; null where nothing was measured.',
  ),
  limit: z.number(),
  ok: z.boolean().nullable(),
});
/** One objective and what it came to. */
export type SloLine = Immutable<z.infer<typeof sloLine>>;
export type SloUnit = SloLine['unit'];

const health = z
  .object({
    busyShare: maybeNumber.describe('Share of time the busiest sender thread was at work.'),
    throttled: z.boolean().nullable().describe('Whether a CPU quota held the sender back.'),
    starved: count.nullable().describe('Requests that were due before they had reached the sender.'),
    refusedForBytes: count.describe('Of the refused: because of the bytes of bodies on their way.'),
    stalls: count.describe(
      'Stretches in which a due request was over 250 ms late. Their requests count, with their lag.',
    ),
    stalledMs: z.number(),
    longestStallMs: z.number(),
  })
  .describe('How the sending side did.');
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
    endedLate: count.describe('Answered, or failed, after the judged part had begun.'),
  })
  .describe('What was sent before the judged part; it is in no other figure.');
export type WarmupDocument = Immutable<z.infer<typeof warmup>>;
/** What became of the sends of the warm-up; `completed` + `failed` + `cancelled` were sent. */
export type WarmupFigures = Omit<WarmupDocument, 'askedS' | 'playedS'>;

const streams = z
  .object({
    completed: count,
    failed: count,
    refused: count,
    withoutContent: count.describe(
      'Completed without any content: infinitely slow for an objective of `ttft`.',
    ),
    unread: count.describe('Completed under a content coding: their times are not known.'),
    turnedAway: count.describe('Wanted as streams and answered by no 2xx: neither completed nor failed.'),
    whole: count.describe('Wanted as streams and answered whole by a 2xx: neither completed nor failed.'),
    gaps: count.describe('Gaps between tokens that `itlMs` is of.'),
  })
  .describe('Answers that came piece by piece.');
export type StreamsDocument = Immutable<z.infer<typeof streams>>;

export const tokens = z
  .object({
    answers: count,
    prompt: count,
    output: count,
    finishReasons: z.partialRecord(z.enum(FINISH_REASONS), count),
  })
  .describe('What servers said of tokens: sums over the completed answers that said it.');
export type TokensDocument = Immutable<z.infer<typeof tokens>>;

export const sendId = z.object({
  index: count.describe('Position in the schedule: the row of the run.'),
  segment: z.string(),
  exchangeId: count.describe('The recorded exchange.'),
});
/** Which exchange it was: enough to find its row and its payload, and nothing of either. */
export type SendId = Immutable<z.infer<typeof sendId>>;

const errorExamples = z
  .record(z.string(), z.array(sendId))
  .describe('By kind of failure (`reset`, `status_503` …) the first few that failed so.');
export type ErrorExamples = Immutable<z.infer<typeof errorExamples>>;

const mismatchExample = sendId.extend({
  pointer: maybeText.describe('JSON pointer of the first difference.'),
});
/** A send whose answer differs, and where: never what it says. */
export type MismatchExample = Immutable<z.infer<typeof mismatchExample>>;

const check = z
  .object({
    level: z.enum(CHECK_LEVELS),
    answers: count.describe('`checked` and those that could not be.'),
    checked: count,
    mismatched: count,
    rate: maybeNumber.describe('`mismatched` ÷ `checked`.'),
    byKind: z.record(z.enum(MISMATCH_KINDS), count),
    unchecked: z.partialRecord(z.enum(UNCHECKED_REASONS), count),
    examples: z.partialRecord(z.enum(MISMATCH_KINDS), z.array(mismatchExample)),
    tolerance: z.record(z.string(), z.number()),
    ignored: z
      .object({ asked: z.array(z.string()), byProtocol: z.record(z.string(), z.array(z.string())) })
      .describe('JSON pointers that were not compared: as asked for, and by protocol.'),
  })
  .describe('How answers compare with the recorded ones: counts, ids and places.');
export type CheckDocument = Immutable<z.infer<typeof check>>;
/** How the answers of a run compare with the recorded ones. */
export type CheckFigures = Omit<CheckDocument, 'level' | 'rate' | 'tolerance' | 'ignored'>;

const connectionWaits = z.object({
  waited: count,
  late: count.describe('Of them, those that waited for longer than `boundMs`.'),
  boundMs: z.number(),
});
/** Requests whose recorded connection was not free at their turn. */
export type ConnectionWaits = Immutable<z.infer<typeof connectionWaits>>;

const calibrationLimits = z.object({
  p50Factor: z.number(),
  statusShare: z.number(),
  sizeShare: z.number(),
});
/** How far the target may be from the recording. */
export type CalibrationLimits = Immutable<z.infer<typeof calibrationLimits>>;

export const calibration = z
  .object({
    pairs: count.describe('Requests that were answered while recording and were sent again.'),
    p50Ms: z.object({ recorded: maybeNumber, observed: observation }),
    responseBytes: z.object({ recorded: maybeNumber, observed: maybeNumber }),
    statuses: z.object({ recorded: counts.nullable(), observed: counts.nullable() }),
    statusDistance: maybeNumber.describe('Total variation between the statuses.'),
    bounds: calibrationLimits,
    representative: z
      .boolean()
      .nullable()
      .describe('Null where too little of the recording could be held against.'),
    differences: z.array(z.string()).describe('What is outside its bounds, in words.'),
    from: z.string().optional(),
    to: z.string().optional(),
    precedesWindow: z.boolean().optional().describe('False where it repeats the begin of the window.'),
    sent: count.optional(),
    failed: count.optional(),
  })
  .describe('What the target answered to some minutes of the recording at 1x, beside what was recorded.');
/** A calibration with what was played for it. */
export type CalibrationDocument = Immutable<z.infer<typeof calibration>>;
/** The comparison alone. */
export type Calibration = Omit<CalibrationDocument, 'from' | 'to' | 'precedesWindow' | 'sent' | 'failed'>;

const bounds = z
  .object({
    achievedShare: z.number().describe('Least share of planned sends that must have been sent.'),
    lagNs: z.number().describe('Lag p99 may be this, or `lagShare` of the least latency objective.'),
    lagShare: z.number(),
    busyShare: z.number().describe('Share of time a sender thread may be at work.'),
    arrivalShare: z
      .number()
      .describe('CV and IDC of what was sent may be off the plan by this share, or by `arrivalDifference`.'),
    arrivalDifference: z.number(),
    unexplainedShare: z
      .number()
      .describe('Share of what was seen that neither sampling nor an omission accounts for.'),
    multiplierShare: z.number().describe('How far the effective multiplier may be off.'),
    connectionWaitShare: z
      .number()
      .describe('Share of what was sent that may have waited for its recorded connection.'),
    statusShare: z.number().describe('How far statuses may be off the recording.'),
    uncheckedShare: z.number().describe('Share of answers that may be without comparison.'),
    unreadShare: z
      .number()
      .describe('Share of streams that may be unread before their objectives are in doubt.'),
  })
  .describe('Beyond these the run is inconclusive.');
export type JudgementBounds = Immutable<z.infer<typeof bounds>>;

const clock = z.object({
  driftUs: z
    .number()
    .describe('Wall clock minus monotonic clock, after the run less before it: steps and slewing meanwhile.'),
  kernel: maybeText.describe('Equal for processes under one kernel, which have one clock.'),
});

const recordedFailures = z.object({
  unanswered: count.describe('No server answered.'),
  broken: count.describe('The answer had begun, with a status below 500, and broke off.'),
});
/** Planned requests that failed when they were recorded, besides those answered 5xx. */
export type RecordedFailures = Immutable<z.infer<typeof recordedFailures>>;

export const shard = z
  .object({
    index: count.describe('From 0.'),
    count,
    planDigest: z.string().describe('Equal for shards of one plan on one capture.'),
    host: z.string(),
    startAt: maybeText,
    clock,
    pace: z.number().describe('Recorded time that passes in a second of the run.'),
    recordedStatuses: counts.describe('Of what was planned here.'),
    recordedFailures,
    whole: z
      .object({ recorded: arrivals, planned: arrivals, recordedToPlanned: streamDistance, duplicates })
      .describe('What the shard knows of the plan that all shards play.'),
  })
  .describe('What a run says of the shard it was, for people and so that it can be merged.');
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
        startedLateUs: z.number().describe('After the zero of the merged run, by the clock of its own host.'),
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
      driftMaxUs: z.number().describe('The most that a wall clock moved against its monotonic clock.'),
      betweenHostsUs: z.literal(0).nullable().describe('Between hosts runs cannot tell, and it is null.'),
    }),
  })
  .describe('What a merged run says besides what every run does.');
export type MergedDocument = Immutable<z.infer<typeof merged>>;

const windows = {
  windows: z.array(
    z.object({
      from: z.string(),
      to: z.string(),
      exchanges: count.nullable().describe('Over all passes; null in a plan.'),
      selected: count.nullable(),
    }),
  ),
  windowSearch: foundStretch.nullable().describe('The stretch that was looked for and found.'),
  loops: count.nullable().describe('Passes asked for; null for as many as the duration takes.'),
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
  thinned: count.describe('Exchanges of the window whose session was left out.'),
  copies: count.describe('Sends that repeat one of the recording.'),
  layered: count.describe('Sends that come from stretches laid over the window.'),
  perturbed: count,
  notPerturbed: count,
  bodiesUnread: count.describe('Copies with a compressed body that still says who it was.'),
  forgottenSessions: count,
  openedBefore: z
    .object({ exchanges: count, sessions: count, lookbackMs: z.number() })
    .nullable()
    .describe('Sessions begun before the window: they are played from its first instant on.'),
});

const scalingPlan = z
  .object({
    keeps: z.string(),
    bends: z.string(),
    seed: z.number(),
    stages: z.array(z.string()).nullable(),
    targetShare: z.number().describe('What the target is of what was recorded.'),
    coverageFactor: maybeNumber.describe('What the capture lacks of what was seen is made up for by this.'),
    keptSessions: leastAndMost.describe('Share of the sessions that is played.'),
    timesEach: leastAndMost.describe('How often each session is played.'),
    jitterMs: z.number(),
    perturb: z.array(z.string()),
    layers: z
      .array(z.object({ from: z.string(), to: z.string(), exchanges: count, share: z.number() }))
      .describe('Stretches of the capture that are laid over the window.'),
    expectedRequests: z.number(),
    counts: scalingCounts.optional(),
  })
  .describe('What the scaling was told, what it makes of that, and what it came to.');

const requestsPerConnection = z.object({ mean: z.number(), max: count });

const connections = z
  .object({
    policy: z.string(),
    opened: count,
    failed: count,
    openMax: count.describe('Most connections open at one instant.'),
    used: count.describe('Connections that carried a request.'),
    connect: z.object({ count, p50Ns: z.number(), p90Ns: z.number(), p99Ns: z.number(), maxNs: z.number() }),
    requestsPerConnection,
    byAddress: z.array(z.object({ address: z.string(), connections: count, requests: count })),
    recorded: z.object({
      connections: count,
      requestsPerConnection,
      unknown: count,
      forgotten: count,
      byRecorder: z.array(z.object({ recorder: z.string(), connections: count, requests: count })),
    }),
  })
  .partial()
  .required({ opened: true, failed: true })
  .describe('Connections as they were opened, beside those that the same requests were recorded on.');

const followUps = z
  .object({
    policy: z.string(),
    heldBack: count.describe('Sent after the instant their session had earned: beyond what is read ahead.'),
    notHeld: count.describe('Refused, because too many waited already.'),
    counts: z
      .object({
        sessions: count,
        followUps: count,
        overlapped: count,
        unknownEnds: count,
        forgotten: count,
      })
      .nullable(),
  })
  .describe('How sessions were played.');

/** What the plan and the sending side add to the summary of a run. */
const played = z
  .object({
    ...windows,
    scalingPlan,
    audit: z.object({
      unreplayableByReason: counts,
      maskedHeaders: counts,
      maskedQueryKeys: counts,
      maskedRequests: count,
    }),
    cancels: z.object({
      policy: z.string(),
      untimed: count.describe('Waited for, because the recording does not say when the client left.'),
    }),
    changes: z
      .object({
        pinOutputLength: maybeText,
        pinned: count,
        unpinned: count,
        requestUsage: z.boolean(),
        usageRequested: count,
      })
      .describe('Bodies that were sent otherwise than recorded.'),
    connections,
    shard: shard.nullable().describe('Null for a run that played a whole plan.'),
    merged: merged.nullable().describe('Null for a run that was not put together from shards.'),
    timeShift: z.object({ pointers: z.array(z.string()), shifted: count, unshifted: count }).nullable(),
    sessionOrder: followUps,
  })
  .partial();

/** What `replay --json` prints and `summary.json` holds. Fields are added, never renamed; readers let unknown ones pass. */
export const replaySchema = z.object({
  schemaVersion: z.literal(REPLAY_SCHEMA_VERSION),
  kind: z.literal('replay'),
  run: z.string(),
  version: z.string(),
  capture: z.string(),
  target: z.string(),
  startedAt: z.string(),
  endedAt: z.string(),
  verdict: verdict.nullable(),
  valid: z.boolean(),
  reasons: z.array(runReason),
  notes: z.array(runReason),
  interrupted: maybeText.describe('Why the schedule was not played to its end; null where it was.'),
  recorded: count.describe('Exchanges of the window: `selected`, and those that filters left out.'),
  selected: count,
  planned: count,
  planCounted: z
    .boolean()
    .describe(
      'False where a run was stopped before its plan was counted to the end: counts are lower bounds.',
    ),
  unread: z
    .object({ recorded: count, planned: count })
    .describe(
      'What of `selected` and `planned` a run that was stopped had not read of its plan: it has no rows.',
    ),
  sent: count.describe('`completed` + `failed` + `cancelled`'),
  completed: count,
  failed: count,
  cancelled: count.describe('Ended by us where the recorded client had left.'),
  refused: count,
  unreached: count,
  unreplayable: count,
  skipped: counts,
  multiplier: z.number(),
  effectiveMultiplier: maybeNumber,
  coverage: maybeNumber,
  coverageUnexplained: maybeNumber,
  scaling: z.string(),
  durationS: z.number(),
  lagUs,
  connectMs: latencyMs.describe("From the actual send to the request's first byte."),
  connectionWaitMs: latencyMs.describe(
    'Before the actual send: waiting for the recorded connection. Null where connections are pooled.',
  ),
  connectionWaits: connectionWaits.nullable().describe('How many waited for it; null where none could.'),
  fidelity,
  latencyMs: z
    .object({ scheduled: trustedLatencyMs, service: trustedLatencyMs })
    .describe('Of requests that completed.'),
  ttftMs: latencyMs.describe('Of streams that completed: first token minus intended send.'),
  itlMs: latencyMs.describe('Between tokens.'),
  tpotMs: latencyMs.describe('Per output token.'),
  streams,
  tokens,
  statuses: counts,
  errors: z.partialRecord(z.enum(SEND_ERRORS), count),
  errorExamples,
  check: check.nullable(),
  slo: z.array(sloLine),
  health,
  warmup: warmup.nullable(),
  calibration: calibration.nullable(),
  bounds,
  options: z.record(z.string(), z.unknown()),
  ...played.shape,
});
export type ReplayDocument = Immutable<z.infer<typeof replaySchema>>;
/** The document of a run that was a shard. */
export type ShardRunDocument = ReplayDocument & { readonly shard: ShardDocument };

/**
 * Checks the `summary.json` of a run, which somebody may have edited. What the schema does not name stays in it.
 * @throws AppError INPUT_INVALID for what is no summary of a run, SCHEMA_TOO_NEW for that of a later version
 */
export function readReplayDocument(directory: string, summary: object): ReplayDocument {
  const { schemaVersion, kind } = summary as { schemaVersion?: unknown; kind?: unknown };
  if (typeof schemaVersion === 'number' && schemaVersion > REPLAY_SCHEMA_VERSION) {
    throw new AppError('SCHEMA_TOO_NEW', `summary.json of ${directory} has schema version ${schemaVersion}`, {
      hint: `This version reads up to ${REPLAY_SCHEMA_VERSION}; use the one that wrote it, or a later one.`,
    });
  }
  if (typeof kind === 'string' && kind !== 'replay') {
    throw new AppError(
      'INPUT_INVALID',
      `${directory} does not hold a run, but a document of ${JSON.stringify(kind)}`,
      { hint: 'Name the directory of the run: what was played to calibrate it is a part of its report.' },
    );
  }
  const { success, error } = replaySchema.safeParse(summary);
  if (success) return summary as ReplayDocument;
  const [first] = error.issues;
  const where = first === undefined ? '' : `: ${first.path.join('.') || 'the document'}: ${first.message}`;
  throw new AppError('INPUT_INVALID', `summary.json of ${directory} is not that of a run${where}`, {
    hint: 'Restore it from where the run was kept, or replay again. Moved away, a report tells what the rows say.',
  });
}

/** Likewise of a shard. @throws AppError as `readReplayDocument`, and INPUT_INVALID for a run that is no shard */
export function readShardDocument(directory: string, summary: object): ShardRunDocument {
  const document = readReplayDocument(directory, summary);
  const { shard } = document;
  if (shard == null) {
    throw new AppError('INPUT_INVALID', `The run ${directory} is no shard: it played a whole plan`, {
      hint: 'Only runs of replay --shard belong together; compare runs of whole plans by their documents.',
    });
  }
  return { ...document, shard };
}
