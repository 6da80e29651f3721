import { Histogram } from '../../core/histogram.ts';
import { picked } from '../../core/picked.ts';
import type { Run } from '../../core/run.ts';
import { formatInstantUs, NS_PER_S } from '../../core/units.ts';
import { type Objective, originOf, unitOf, withRejected } from '../../documents/metrics/objectives.ts';
import type { AsRecordedDocument, ThroughputDocument } from '../../documents/parts.ts';
import {
  type CheckDocument,
  type JudgementBounds,
  type ObjectiveLine,
  REPLAY_SCHEMA_VERSION,
  type ReplayDocument,
  type StreamsDocument,
  type WarmupDocument,
} from '../../documents/replay.ts';
import type { PlannedObjective } from '../../documents/replay-plan.ts';
import {
  type LatencyFigures,
  lagUs,
  latencyMs,
  pausedShare,
  trustedLatencyMs,
} from '../metrics/answer-times.ts';
import { goodputOf, judgedByLimits, missingIn } from '../metrics/goodput.ts';
import type { StreamFigures } from '../metrics/streams.ts';
import { WindowPercentiles } from '../stats/percentiles.ts';
import type { ObjectiveResult, ObjectiveSoFar } from './evaluate.ts';
import { type Reason, reason } from './reasons.ts';
import {
  connectionWaitsOf,
  JUDGEMENT_BOUNDS,
  type PlanMultipliers,
  planMultipliers,
  type RunContext,
} from './run-context.ts';
import { judge } from './verdict.ts';

export interface ReplaySummaryInput
  extends Pick<
    RunContext,
    | 'figures'
    | 'coverage'
    | 'health'
    | 'interrupted'
    | 'shards'
    | 'calibration'
    | 'multiplier'
    | 'faults'
    | 'concurrency'
    | 'expectedRequests'
    | 'liveValues'
  > {
  readonly run: Run;
  readonly objectives: readonly Objective[];
  /** How the multiplier was achieved, such as `compress`. */
  readonly scaling: string;
  /** Recorded time per second of the run; the multiplier by default. */
  readonly pace?: number;
  /** The target's share of the recorded traffic. The effective multiplier refers to this share. */
  readonly targetShare?: number;
  /** Recorded exchanges that were not planned, by reason, and those the client library cannot send. */
  readonly skipped: Readonly<Record<string, number>>;
  readonly unreplayable: number;
  /** Exchanges of the window that filters left out. They are not part of `figures`. */
  readonly filtered?: number;
  /** For a shard, or if shards are missing: the counts for the effective multiplier. */
  readonly played?: { readonly recorded: number; readonly planned: number };
  readonly bounds?: Partial<JudgementBounds>;
  /** Null or absent if answers were not compared. */
  readonly check?: CheckDocument | null;
  /**
   * Length of the warm-up in run time, nanoseconds: as requested, as available in the recording, and from its first
   * request on.
   */
  readonly warmup?: { readonly askedNs: number; readonly heldNs: number; readonly playedNs: number } | null;
}

/** Judges a finished run and builds its document, which can be written as JSON. */
export function summariseReplay(input: ReplaySummaryInput): ReplayDocument {
  const { run, figures, coverage, health, interrupted, multiplier, filtered = 0, concurrency = null } = input;
  const multipliers = multipliersOf(input);
  const plannedElsewhere = Math.max(0, (input.played?.planned ?? 0) - figures.planned);
  const bounds = boundsOf(input);
  const { notes, results, ...judgement } = judge(
    { ...input, ...multipliers, plannedElsewhere },
    input.objectives,
    bounds,
  );
  const { latency, streams, planned, statusMix, planCounted } = figures;
  const { stopped: _stopped, leftUnanswered: _left, ...outcomes } = figures.outcomes;
  const { duplicates, ...fidelity } = figures.fidelity;
  return {
    schemaVersion: REPLAY_SCHEMA_VERSION,
    kind: 'replay',
    run: run.id,
    version: run.version,
    capture: run.capture,
    target: run.target,
    options: run.options,
    startedAt: formatInstantUs(run.startedAtUs),
    endedAt: formatInstantUs(run.endedAtUs),
    ...judgement,
    slo: results.map((each) => objectiveLine(each, interrupted !== null)),
    notes: [...closedLoopNotes(input), ...notes, ...warmupNotes(input)],
    interrupted,
    recorded: figures.recorded + filtered,
    selected: figures.recorded,
    planned,
    planCounted,
    ...outcomes,
    unreached: planned - outcomes.sent - outcomes.refused,
    unreplayable: input.unreplayable,
    skipped: { ...input.skipped, filtered },
    multiplier,
    effectiveMultiplier: multipliers.effectiveMultiplier,
    coverage: coverage.share,
    coverageUnexplained: coverage.unexplained,
    scaling: input.scaling,
    ...(concurrency !== null && { closedLoop: { concurrency } }),
    durationS: figures.endOffsetNs / NS_PER_S,
    lagUs: lagUs(latency.lag),
    connectMs: latencyMs(latency.connect),
    connectionWaitMs: latencyMs(latency.connectionWait),
    pauses: pausesDocument(latency),
    connectionWaits: connectionWaitsOf(figures, bounds),
    fidelity: {
      ...fidelity,
      duplicateRatio: duplicates.ratio,
      duplicateRatioExact: duplicates.exact,
      recordedRejected: statusMix.recordedRejected,
      recordedRetries: null,
    },
    latencyMs: latencyDocument(input),
    ttftMs: latencyMs(streams.ttft),
    itlMs: latencyMs(streams.itl),
    tpotMs: latencyMs(streams.tpot),
    streams: streamsDocument(streams),
    tokens: streams.tokens,
    cacheHits: figures.cacheHits ?? null,
    repeats: figures.repeats ?? null,
    asRecorded: asRecordedDocument(input),
    throughput: throughputDocument(input),
    check: input.check ?? null,
    health,
    warmup: warmupDocument(input),
    calibration: input.calibration ?? null,
    bounds,
  };
}

/** Multipliers of the plan. If sessions waited for the target, only requests that were due in time count. */
function multipliersOf(input: ReplaySummaryInput): PlanMultipliers {
  const { figures, multiplier, pace = multiplier, targetShare = 1, coverage } = input;
  const { recorded, planned } = input.played ?? figures;
  return planMultipliers({
    multiplier,
    recorded,
    pace,
    targetShare,
    planned: planned * offeredShare(input),
    coverage: coverage.share,
  });
}

/**
 * Share of the planned requests that were due within the time of the plan. It is below 1 only in two cases: sessions or
 * connections waited for the target, or a stop came before all requests that were read were due.
 */
function offeredShare(input: ReplaySummaryInput): number {
  const { dueInTime, planned } = input.figures.fidelity;
  if (dueInTime === null || planned.count === 0) return 1;
  return Math.max(dueInTime, hardlyWaited(input)) / planned.count;
}

/** Number of requests that waited for a connection no longer than the lag limit. They count as due in time. */
function hardlyWaited(input: ReplaySummaryInput): number {
  const { figures } = input;
  const waits = connectionWaitsOf(figures, boundsOf(input));
  if (waits === null) return 0;
  return figures.latency.lag.count - waits.late + figures.outcomes.refused;
}

function boundsOf(input: ReplaySummaryInput): JudgementBounds {
  return { ...JUDGEMENT_BOUNDS, ...input.bounds };
}

function asRecordedDocument({ figures }: ReplaySummaryInput): AsRecordedDocument {
  const { recordedLatency, statusMix } = figures;
  const { recordedFailed, recordedKnown } = statusMix;
  return {
    answers: recordedLatency.count,
    latencyMs: latencyMs(recordedLatency),
    failedShare: recordedKnown === 0 ? null : recordedFailed / recordedKnown,
  };
}

function throughputDocument({ figures, interrupted }: ReplaySummaryInput): ThroughputDocument {
  const { makespanNs, streams, allLimits } = figures;
  const perSecond = (count: number) => (makespanNs ? count / (makespanNs / NS_PER_S) : null);
  const goodput = allLimits && {
    limits: allLimits.limits,
    good: allLimits.counts.good,
    of: judgedByLimits(allLimits.counts, interrupted !== null),
    unknown: allLimits.counts.unknown,
    perSecond: perSecond(allLimits.counts.good),
    missing: missingIn(allLimits.counts, interrupted !== null),
  };
  const { answers, output } = streams.tokens;
  const spanS = makespanNs && makespanNs / NS_PER_S;
  return { spanS, outputTokensPerSecond: answers === 0 ? null : perSecond(output), goodput };
}

function streamsDocument(streams: StreamFigures): StreamsDocument {
  const { completed, failed, refused, withoutContent, unread, turnedAway, whole, itl } = streams;
  return { completed, failed, refused, withoutContent, unread, turnedAway, whole, gaps: itl.count };
}

function warmupDocument({ warmup, figures }: ReplaySummaryInput): WarmupDocument | null {
  if (warmup == null) return null;
  return { askedS: warmup.askedNs / NS_PER_S, playedS: warmup.playedNs / NS_PER_S, ...figures.warmup };
}

function pausesDocument(latency: LatencyFigures): ReplayDocument['pauses'] {
  const { p99, max } = latencyMs(latency.paused);
  return { share: pausedShare(latency), p99Ms: p99, maxMs: max };
}

/** A closed loop has no planned instants, so it has no scheduled latency. */
function latencyDocument({ figures: { latency }, concurrency = null }: ReplaySummaryInput) {
  const isPlanned = concurrency === null;
  return {
    scheduled: isPlanned
      ? trustedLatencyMs(latency.scheduled, latency.byWindow.scheduled)
      : trustedLatencyMs(new Histogram(), new WindowPercentiles()),
    service: trustedLatencyMs(latency.service, latency.byWindow.service),
  };
}

function closedLoopNotes({ concurrency = null }: ReplaySummaryInput): Reason[] {
  return concurrency === null ? [] : [reason('closed_loop', { concurrency })];
}

function warmupNotes({ warmup }: ReplaySummaryInput): Reason[] {
  // With a tolerance of 1 ms, because the recording begins with its first request.
  if (warmup == null || warmup.heldNs >= warmup.askedNs - 1e6) return [];
  return [reason('warmup_short', { heldMs: warmup.heldNs / 1e6, askedMs: warmup.askedNs / 1e6 })];
}

/** JSON has no infinity, so it is a text. */
function finite(value: number | null): number | null | 'Infinity' {
  return value === Number.POSITIVE_INFINITY ? 'Infinity' : value;
}

/** The state of an objective, of a finished or a running run. */
export function objectiveState({ objective, observed, ok }: ObjectiveSoFar) {
  const { expression, limit } = objective;
  return { expression, unit: unitOf(objective), observed: finite(observed), limit, ok };
}

/** What a run or a search is going to be judged by, defaults among it. */
export function plannedObjectives(objectives: readonly Objective[]): PlannedObjective[] {
  return withRejected(objectives, null).map((objective) => ({
    ...picked(objectiveState({ objective, observed: null, ok: null }), 'expression', 'unit', 'limit'),
    origin: originOf(objective),
  }));
}

function objectiveLine(result: ObjectiveResult, interrupted: boolean): ObjectiveLine {
  const { objective, requests, figures, margin } = result;
  const { slice } = objective;
  const goodput = goodputOf(objective, figures);
  const perSecond = goodput && figures.makespanNs ? goodput.good / (figures.makespanNs / NS_PER_S) : null;
  return {
    slice: slice && Object.fromEntries(slice.tags.map(({ key, value }) => [key, value])),
    requests,
    goodput: goodput && {
      good: goodput.good,
      perSecond,
      unknown: goodput.unknown,
      missing: { ...missingIn(goodput, interrupted), cancelled: goodput.leftOver },
    },
    ...objectiveState(result),
    upperBound: finite(margin?.upperBound ?? null),
    lowerBound: finite(result.fromSends),
  };
}
