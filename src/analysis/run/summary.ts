import type { Run } from '../../core/run.ts';
import { formatInstantUs } from '../../core/units.ts';
import {
  type Calibration,
  type CheckDocument,
  type FidelityDocument,
  type HealthDocument,
  type JudgementBounds,
  REPLAY_SCHEMA_VERSION,
  type ReplayDocument,
  type SloLine,
  type StreamsDocument,
  type WarmupDocument,
} from '../../documents/replay.ts';
import type { SloResult } from '../verdict/evaluate.ts';
import { type Reason, reason } from '../verdict/reasons.ts';
import {
  type Coverage,
  connectionWaitsOf,
  JUDGEMENT_BOUNDS,
  type PlanMultipliers,
  planMultipliers,
  type RunContext,
  type SenderHealth,
  type ShardsContext,
} from '../verdict/run-context.ts';
import { type Threshold, unitOf } from '../verdict/slo.ts';
import { judge } from '../verdict/verdict.ts';
import { lagUs, latencyMs, trustedLatencyMs } from './latency.ts';
import type { RunFigures } from './run-statistics.ts';
import type { StreamFigures } from './streams.ts';

const NS_PER_S = 1e9;

export interface ReplaySummaryInput {
  readonly run: Run;
  readonly figures: RunFigures;
  readonly thresholds: readonly Threshold[];
  readonly multiplier: number;
  /** How the multiplier was reached: `compress`. */
  readonly scaling: string;
  /** Recorded time that passed in a second of the run; the multiplier where it is not said. */
  readonly pace?: number;
  /** What the target is of what was recorded: the effective multiplier is of that share of what was seen. */
  readonly targetShare?: number;
  /** Recorded exchanges that were not planned, by reason, and those the client library cannot send. */
  readonly skipped: Readonly<Record<string, number>>;
  readonly unreplayable: number;
  /** Exchanges of the window that filters left out; they are no part of `figures`. */
  readonly filtered?: number;
  /** Of a shard or of shards that are missing others: what the effective multiplier is reckoned from. */
  readonly played?: { readonly recorded: number; readonly planned: number };
  readonly coverage: Coverage;
  readonly health: SenderHealth;
  /** Why the schedule was not played to its end; null when it was. */
  readonly interrupted: string | null;
  /** Of a run that was put together from shards. */
  readonly shards?: ShardsContext;
  readonly bounds?: Partial<JudgementBounds>;
  /** Null or left out where it was not asked for. */
  readonly calibration?: Calibration | null;
  /** Null or left out where answers were not compared. */
  readonly check?: CheckDocument | null;
  /**
   * Run time of the warm-up, nanoseconds: asked for, as far as the recording reaches back, and from its first
   * request on.
   */
  readonly warmup?: { readonly askedNs: number; readonly heldNs: number; readonly playedNs: number } | null;
}

/** Judges a run that is over and writes everything about it into one document that JSON can hold. */
export function summariseReplay(input: ReplaySummaryInput): ReplayDocument {
  const { run, figures, coverage, health, interrupted, multiplier } = input;
  const calibration = input.calibration ?? null;
  const context = contextOf(input);
  const bounds = boundsOf(input);
  const judgement = judge(context, input.thresholds, bounds);
  const { outcomes, latency, streams, planned } = figures;
  return {
    schemaVersion: REPLAY_SCHEMA_VERSION,
    kind: 'replay',
    run: run.id,
    version: run.version,
    capture: run.capture,
    target: run.target,
    startedAt: formatInstantUs(run.startedAtUs),
    endedAt: formatInstantUs(run.endedAtUs),
    verdict: judgement.verdict,
    valid: judgement.valid,
    reasons: judgement.reasons,
    notes: [...judgement.notes, ...warmupNotes(input)],
    interrupted,
    recorded: figures.recorded + (input.filtered ?? 0),
    selected: figures.recorded,
    planned,
    planCounted: figures.unread.toTheEnd,
    unread: { recorded: figures.unread.recorded, planned: figures.unread.planned },
    sent: outcomes.sent,
    completed: outcomes.completed,
    failed: outcomes.failed,
    cancelled: outcomes.cancelled,
    refused: outcomes.refused,
    unreached: planned - outcomes.sent - outcomes.refused,
    unreplayable: input.unreplayable,
    skipped: { ...input.skipped, filtered: input.filtered ?? 0 },
    multiplier,
    effectiveMultiplier: context.effectiveMultiplier,
    coverage: coverage.share,
    coverageUnexplained: coverage.unexplained,
    scaling: input.scaling,
    durationS: figures.endOffsetNs / 1e9,
    lagUs: lagUs(latency.lag),
    connectMs: latencyMs(latency.connect),
    connectionWaitMs: latencyMs(latency.connectionWait),
    connectionWaits: connectionWaitsOf(figures, bounds),
    fidelity: fidelityDocument(figures),
    latencyMs: {
      scheduled: trustedLatencyMs(latency.scheduled, latency.byWindow.scheduled.intervals()),
      service: trustedLatencyMs(latency.service, latency.byWindow.service.intervals()),
    },
    ttftMs: latencyMs(streams.ttft),
    itlMs: latencyMs(streams.itl),
    tpotMs: latencyMs(streams.tpot),
    streams: streamsDocument(streams),
    tokens: streams.tokens,
    statuses: outcomes.statuses,
    errors: outcomes.errors,
    errorExamples: figures.errorExamples,
    check: input.check ?? null,
    slo: judgement.slo.map(sloLine),
    health: healthDocument(health),
    warmup: warmupDocument(input),
    calibration,
    bounds,
    options: run.options,
  };
}

function contextOf(input: ReplaySummaryInput): RunContext {
  const { figures, health, coverage, interrupted, calibration = null, shards } = input;
  const plannedElsewhere = Math.max(0, (input.played?.planned ?? 0) - figures.planned);
  return {
    figures,
    health,
    coverage,
    ...multipliersOf(input),
    interrupted,
    calibration,
    shards,
    plannedElsewhere,
  };
}

/** Of the plan; where sessions waited for the target, of what came due of it. */
function multipliersOf(input: ReplaySummaryInput): PlanMultipliers {
  const { figures, multiplier, pace = multiplier, targetShare = 1, coverage } = input;
  const { recorded, planned } = input.played ?? figures;
  return planMultipliers({
    ...{ multiplier, recorded, pace, targetShare },
    planned: planned * offeredShare(input),
    coverage: coverage.share,
  });
}

/**
 * What came due in the time of the plan, of what was planned and read: less than 1 only where sessions or connections
 * waited for the target, or where the run was stopped before it came to all that it had read.
 */
function offeredShare(input: ReplaySummaryInput): number {
  const { dueInTime, planned } = input.figures.fidelity;
  if (dueInTime === null || planned.count === 0) return 1;
  return Math.max(dueInTime, hardlyWaited(input)) / planned.count;
}

/** Who waited for a connection no longer than lag may last was not put off, however late in the plan that was. */
function hardlyWaited(input: ReplaySummaryInput): number {
  const { figures } = input;
  const waits = connectionWaitsOf(figures, boundsOf(input));
  if (waits === null) return 0;
  return figures.latency.lag.count - waits.late + figures.outcomes.refused;
}

function boundsOf(input: ReplaySummaryInput): JudgementBounds {
  return { ...JUDGEMENT_BOUNDS, ...input.bounds };
}

function fidelityDocument({ fidelity, statusMix }: RunFigures): FidelityDocument {
  return {
    recorded: fidelity.recorded,
    planned: fidelity.planned,
    waitsFor: fidelity.waitsFor,
    resolved: fidelity.resolved,
    dueInTime: fidelity.dueInTime,
    sent: fidelity.sent,
    unfiltered: fidelity.unfiltered,
    ksGaps: fidelity.plannedToSent.ksGaps,
    mixDistance: fidelity.plannedToSent.mixDistance,
    duplicateRatio: fidelity.duplicates.ratio,
    duplicateRatioExact: fidelity.duplicates.exact,
    recordedToPlanned: fidelity.recordedToPlanned,
    recordedRejected: statusMix.recordedRejected,
    recordedRetries: null,
    unordered: fidelity.unordered,
  };
}

function streamsDocument(streams: StreamFigures): StreamsDocument {
  const { completed, failed, refused, withoutContent, unread, turnedAway, whole, itl } = streams;
  return { completed, failed, refused, withoutContent, unread, turnedAway, whole, gaps: itl.count };
}

function healthDocument(health: SenderHealth): HealthDocument {
  const { stalls } = health;
  return {
    busyShare: health.busyShare,
    throttled: health.throttled,
    starved: health.starved,
    refusedForBytes: health.refusedForBytes ?? 0,
    stalls: stalls.count,
    stalledMs: stalls.totalNs / 1e6,
    longestStallMs: stalls.longestNs / 1e6,
  };
}

function warmupDocument({ warmup, figures }: ReplaySummaryInput): WarmupDocument | null {
  if (warmup == null) return null;
  return { askedS: warmup.askedNs / NS_PER_S, playedS: warmup.playedNs / NS_PER_S, ...figures.warmup };
}

function warmupNotes({ warmup }: ReplaySummaryInput): Reason[] {
  // Within a millisecond: where the recording begins is where its first request came.
  if (warmup == null || warmup.heldNs >= warmup.askedNs - 1e6) return [];
  return [reason('warmup_short', { heldMs: warmup.heldNs / 1e6, askedMs: warmup.askedNs / 1e6 })];
}

function sloLine({ threshold, observed, ok }: SloResult): SloLine {
  return {
    expression: threshold.expression,
    unit: unitOf(threshold),
    observed: observed === Number.POSITIVE_INFINITY ? 'Infinity' : observed,
    limit: threshold.limit,
    ok,
  };
}
