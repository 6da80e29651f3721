import { FIRST_SERVER_ERROR } from '../../core/exchange.ts';
import { isTurnedAway, UNCHECKED_REASONS, UNCHECKED_TEXTS, type UncheckedReason } from '../../core/run.ts';
import { formatBytes, NS_PER_MS } from '../../core/units.ts';
import { factsOf, isOfStreams, needsComparison } from '../../documents/metrics/metrics.ts';
import { holds, type Objective } from '../../documents/metrics/objectives.ts';
import { sliceText } from '../../documents/metrics/slices.ts';
import { IDC_WINDOWS } from '../../documents/parts.ts';
import type { ArrivalFigures, CheckFigures, JudgementBounds } from '../../documents/replay.ts';
import { pausedShare } from '../metrics/answer-times.ts';
import { goodputOf } from '../metrics/goodput.ts';
import { measureOf } from '../metrics/index.ts';
import { judgedSends, type Margin } from '../metrics/measure.ts';
import { isBrokenByChecked } from '../metrics/shares.ts';
import { differencesIn, fasterIn } from '../run/likeness.ts';
import { answerKinds, type OutcomeFigures, type StatusMixFigures, uncheckedOf } from '../run/outcomes.ts';
import { lessLoad, type SendingSide } from './advice.ts';
import { type ObjectiveResult, sampleCount } from './evaluate.ts';
import { type FactsOf, type Reason, reason } from './reasons.ts';
import {
  beyondMultiplier,
  connectionWaitsOf,
  DIVERGED_DOUBT,
  DIVERGED_NOTE,
  divergedOf,
  isStoppedByFailures,
  lagBoundNs,
  type PlanMultipliers,
  type RunContext,
  reachedText,
} from './run-context.ts';

/** A run with its objectives and their results. */
interface EvaluatedRun {
  readonly context: RunContext;
  readonly objectives: readonly Objective[];
  readonly results: readonly ObjectiveResult[];
  /** Violated objectives without a proof against the target. */
  readonly open: readonly ObjectiveResult[];
  readonly bounds: JudgementBounds;
}

/** Every reason on our side, or in the comparison, why a run cannot be judged. Empty for a valid run. */
export function doubtsOf(run: EvaluatedRun): Reason[] {
  const parts = [...sliceDoubts(run), ...sampleDoubts(run), ...monitorDoubts(run)];
  const load = [...planDoubts(run), ...loadDoubts(run), ...pauseDoubts(run)];
  return [...load, ...likenessDoubts(run), ...faultDoubts(run), ...parts];
}

/** Whether each planned fault was active, and whether the recovery time is known. */
function* faultDoubts({ context }: EvaluatedRun): Generator<Reason> {
  const { faults = [], interrupted: cause } = context;
  for (const { name, problem, injected, recovery } of faults) {
    if (problem !== null) yield reason('fault_not_as_planned', { name, problem });
    else if (cause === null && injected === 0) yield reason('fault_not_felt', { name });
    if (recovery.limitS !== null && recovery.ok === null) yield reason('recovery_unknown', { name });
  }
}

/** A violated objective with the failures that caused it, if missing answers violate it. */
export function violationOf(result: ObjectiveResult, context: RunContext): Reason {
  const { objective, observed, fromSends, figures, brokenBy } = result;
  const { interrupted, scaling } = context;
  const { sent, failed } = judgedSends(figures, interrupted !== null);
  const isOfFailures = factsOf(objective).explainsOthers || observed === Number.POSITIVE_INFINITY;
  const failures = { failed, sent, ...failuresIn(figures.outcomes, context) };
  const { refused, unreached } = figures.outcomes;
  const unsent = interrupted === null ? refused + unreached : refused;
  const isUnanswered = observed === Number.POSITIVE_INFINITY;
  const caps = capsThatRefused(context);
  const refusals = { refused, caps, scaling, isOfSentToo: brokenBy === 'target' };
  return reason('slo_violated', {
    objective,
    observed,
    fromSends,
    failures: isOfFailures && failed > 0 ? failures : null,
    unsent: isUnanswered ? unsent : 0,
    refusals: isUnanswered && refused > 0 && caps.length > 0 ? refusals : null,
  });
}

/** The faults from which the target did not recover within the stated time. */
export function unrecoveredOf({ faults = [] }: RunContext): Reason[] {
  if (faults.some(({ problem }) => problem !== null)) return [];
  return faults
    .filter(({ recovery }) => recovery.ok === false)
    .map(({ name, recovery: { s, limitS, by } }) =>
      reason('recovery_too_slow', { name, seconds: s, limitS: limitS ?? 0, by }),
    );
}

/** Whether the plan was replayed. */
function* planDoubts({ context, open, bounds }: EvaluatedRun): Generator<Reason> {
  const { figures, interrupted: cause, scaling } = context;
  const { planned, outcomes, fidelity } = figures;
  const { sent, failed, refused, unreached, stopped } = outcomes;
  const expected = figures.planCounted ? undefined : context.expectedRequests;
  if (cause !== null) {
    const refusedAlone = isRefusedAlone(outcomes) ? 0 : failed - stopped;
    const failures = { failed: refusedAlone, sent, ...failuresIn(outcomes, context) };
    yield reason('interrupted', {
      cause,
      sent,
      planned,
      expected,
      scaling,
      failures: isStoppedByFailures(cause) ? failures : null,
    });
  }
  if (isEmptyPlan(context)) yield reason('nothing_planned', { elsewhere: 0, scaling });
  const caps = capsThatRefused(context);
  // Refused requests, and requests that waited for their connection, have reasons of their own.
  const isElsewhere = refused > 0 || fidelity.waitsFor === 'connections';
  const violated = isElsewhere ? [] : expressions(open, 'unsent');
  if (planned > 0 && (sent / planned < bounds.achievedShare || violated.length > 0)) {
    const isStopped = cause !== null && planned - sent - refused > refused;
    const isWaiting = fidelity.waitsFor === 'connections' && unreached > refused;
    const why = isStopped ? 'stopped' : isWaiting ? 'connections' : 'caps';
    const atLeast = cause !== null && !figures.planCounted;
    yield reason('achieved_below', { sent, planned, atLeast, expected, cause, caps, violated, why, scaling });
  }
  const off = arrivalsOff(fidelity, bounds);
  if (off.length > 0) yield reason('arrivals_off_plan', { off, refused, side: sendingSideOf(context) });
  if (refused > 0) {
    const violated = expressions(open, 'unsent');
    yield reason('in_flight_cap', { refused, caps, violated, scaling });
  }
}

function sendingSideOf({ figures, health, scaling }: RunContext): SendingSide {
  const { busyShare, throttled } = health;
  return { busyShare, throttled, ratePerSecond: figures.fidelity.sent.ratePerSecond, scaling };
}

/**
 * Our limits, with the number of requests that each refused. The limit of requests in flight refused those without
 * another cause.
 */
function capsThatRefused({ figures: { outcomes }, health: { refusedForBytes, caps } }: RunContext) {
  const { refused } = outcomes;
  if (refused === 0) return [];
  const withoutSocket = outcomes.errors.no_socket ?? 0;
  const { maxInFlight, maxInFlightBytes, maxRatePerSecond, refusedForRate } = caps;
  const inFlight = Math.max(0, refused - refusedForBytes - refusedForRate - withoutSocket);
  const bytes = maxInFlightBytes === null ? null : formatBytes(maxInFlightBytes);
  return [
    { flag: '--max-in-flight', limit: maxInFlight === null ? null : String(maxInFlight), refused: inFlight },
    { flag: '--max-in-flight bytes', limit: bytes, refused: refusedForBytes },
    {
      flag: '--max-rate',
      limit: maxRatePerSecond === null ? null : `${Math.round(maxRatePerSecond * 10) / 10}/s`,
      refused: refusedForRate,
    },
    { flag: 'the open files or local ports of this host', limit: null, refused: withoutSocket },
  ].filter((cap) => cap.refused > 0);
}

/** A timer may be this late. */
const TIMER_S = 0.001;

/**
 * How far the CV of the sends may be from that of an even plan: as far as a timer's error is of a gap, but not farther
 * than a Poisson stream, whose CV is 1. A few late sends are no bursts.
 */
function evenTolerance(
  { cv, ratePerSecond }: ArrivalFigures,
  { arrivalDifference }: JudgementBounds,
): number {
  return (cv ?? 1) > arrivalDifference ? 0 : Math.min(1, TIMER_S * (ratePerSecond ?? 0));
}

/** Measures of burstiness that differ between sent and planned requests. */
function arrivalsOff(fidelity: RunContext['figures']['fidelity'], bounds: JudgementBounds) {
  const planned = fidelity.resolved ?? fidelity.planned;
  const pairs = [
    { name: 'CV', planned: planned.cv, sent: fidelity.sent.cv, tolerance: evenTolerance(planned, bounds) },
    ...IDC_WINDOWS.map((window) => ({
      name: `IDC ${window} s`,
      planned: planned.idc[window],
      sent: fidelity.sent.idc[window],
      tolerance: 0,
    })),
  ];
  return pairs.flatMap(({ name, planned, sent, tolerance }) => {
    if (planned === null || sent === null) return [];
    const difference = Math.abs(sent - planned);
    const allowed = Math.max(bounds.arrivalShare * planned, bounds.arrivalDifference, tolerance);
    const isOff = difference > allowed;
    return isOff ? [{ name, planned, sent }] : [];
  });
}

/** Whether the load was production's, times the multiplier. */
function* loadDoubts({ context, open, bounds }: EvaluatedRun): Generator<Reason> {
  const { figures, shards, coverage, interrupted: cause, scaling } = context;
  const { waitsFor } = figures.fidelity;
  if (shards !== undefined && shards.missing.length > 0) {
    yield reason('shards_missing', { missing: shards.missing, count: shards.count });
  }
  const spreadMs = (shards?.startSpreadUs ?? 0) / 1e3;
  if (spreadMs * NS_PER_MS > lagBoundNs(figures, [], bounds)) yield reason('shards_apart', { spreadMs });
  const { unexplained } = coverage;
  if (unexplained !== null && unexplained > bounds.unexplainedShare) {
    yield reason('coverage_unexplained', { share: unexplained });
  }
  // A stopped run does not show how far its sessions would have come.
  const isOpenEnded = waitsFor !== null && cause !== null;
  if (!isEmptyPlan(context) && !isOpenEnded && isOffMultiplier(context, bounds)) {
    const facts = { reached: reachedText(context), asked: context.multiplier, waitsFor, scaling };
    yield reason('multiplier_not_reached', facts);
  }
  const diverged = divergedOf(context);
  if (diverged !== null && diverged.share > DIVERGED_DOUBT) yield reason('diverged', diverged, 'doubt');
  const waits = connectionWaitsOf(figures, bounds);
  if (waits === null) return;
  const { connectionWait: waited, lag } = figures.latency;
  // In a stopped run, unsent requests did not wait for a connection.
  const unsent = cause === null ? figures.outcomes.unreached : 0;
  const [late, all] = [waits.late + unsent, lag.count + unsent];
  const violated = [
    ...(waitsExplain(context) ? expressions(open, 'lag') : []),
    ...(figures.outcomes.refused === 0 ? expressions(open, 'unsent') : []),
  ];
  if (late <= bounds.connectionWaitShare * all && violated.length === 0) return;
  const ms = (ns: number | null) => (ns ?? 0) / NS_PER_MS;
  const waitMs = { p50: ms(waited.percentile(50)), p99: ms(waited.percentile(99)), max: ms(waited.max) };
  yield reason('connection_wait', { late, all, unsent, boundMs: waits.boundMs, waitMs, violated, scaling });
}

/** From this share of delayed answers on, pauses are named as a cause. */
const MOST_PAUSED = 0.01;

/** Whether only pauses of the sender violate an objective. */
function* pauseDoubts({ context, open }: EvaluatedRun): Generator<Reason> {
  const violated = open.filter(({ brokenBy }) => brokenBy === 'pauses');
  if (violated.length === 0) return;
  const { latency } = context.figures;
  const share = pausedShare(latency);
  yield reason('generator_paused', {
    violated: violated.map(({ objective, observed, fromSends }) => ({
      objective,
      observed,
      least: fromSends,
    })),
    share,
    longestMs: share === null ? null : (latency.paused.max ?? 0) / NS_PER_MS,
    side: sendingSideOf(context),
  });
}

/** Whether the answers were of the recorded kind. */
function* likenessDoubts({ context, objectives, open, bounds }: EvaluatedRun): Generator<Reason> {
  const { figures, calibration } = context;
  const { turnedAwayExcess, sentTurnedAway, recordedTurnedAway, distance, recordedFailed, recordedKnown } =
    figures.statusMix;
  if (turnedAwayExcess > bounds.statusShare) {
    const facts = { share: sentTurnedAway ?? 0, recorded: recordedTurnedAway, status: refusalOf(figures) };
    yield reason('not_comparable', { kind: 'turned_away', ...facts });
  } else if (distance !== null && distance > bounds.statusShare) {
    yield reason('not_comparable', { kind: 'statuses', share: distance });
  }
  // Without objectives, the recording limits the failures: each recorded failure explains one current failure. If more
  // fail, the latency of the other requests shows nothing about the target.
  const { sent, failed } = judgedSends(figures, context.interrupted !== null);
  const explained = recordedFailed * (sent / Math.max(recordedKnown, sent));
  if (objectives.length === 0 && sent > 0 && (failed - explained) / sent > bounds.statusShare) {
    yield reason('not_comparable', {
      kind: 'failures',
      failed,
      sent,
      ...failuresIn(figures.outcomes, context),
      recorded: recordedKnown === 0 ? null : recordedFailed / recordedKnown,
    });
  }
  // Requests without a stream have no token. An objective that only they violate is undecided.
  const unserved = open.filter((each) => each.brokenBy === 'streams' && countsOf(each) !== null);
  if (unserved.length > 0) {
    const requests = Math.max(...unserved.map((each) => countsOf(each)?.unserved ?? 0));
    const violated = expressions(unserved, 'streams');
    yield reason('not_comparable', { kind: 'unserved', requests, violated });
  }
  const violated = expressions(
    open.filter((each) => !unserved.includes(each)),
    'streams',
  );
  if (violated.length > 0) {
    const { turnedAway, whole } = figures.streams;
    yield reason('not_comparable', { kind: 'streams', turnedAway, whole, violated });
  }
  const isMixOff = turnedAwayExcess > bounds.statusShare || (distance ?? 0) > bounds.statusShare;
  const differences = figures.likeness.flatMap((route) => differencesIn(route, bounds, !isMixOff));
  if (differences.length > 0) yield reason('not_comparable', { kind: 'answers', differences });
  const mismatches = unjudgedMismatches(context, objectives);
  if (mismatches !== null && mismatches.mismatched > MOST_MISMATCHED * mismatches.checked) {
    yield reason('not_comparable', { kind: 'mismatches', ...mismatches });
  }
  if (figures.repeats?.faster === true)
    yield reason('repeats_cached', { ...figures.repeats, scaling: context.scaling });
  if (calibration?.representative === false) {
    yield reason('staging_not_representative', { differences: calibration.differences });
  }
}

/** The share of compared answers that may differ from the recorded ones without an objective on it. */
const MOST_MISMATCHED = 0.05;

/** Answers that differ from the recorded ones; null for none, and if an objective limits them. */
function unjudgedMismatches({ figures }: RunContext, objectives: EvaluatedRun['objectives']) {
  const { mismatched = 0, checked = 0 } = figures.check ?? {};
  if (mismatched === 0 || objectives.some((each) => needsComparison(each) && each.slice === null))
    return null;
  return { mismatched, checked };
}

/** Slices without requests, requests in no slice, and goodput with too many unknown times. */
function* sliceDoubts({ context, objectives, results, bounds }: EvaluatedRun): Generator<Reason> {
  for (const { objective, requests } of results) {
    if (requests === 0) yield reason('slice_empty', { expression: objective.expression });
  }
  for (const { slice, expression } of objectives) {
    const sliced = slice && context.figures.slices.get(sliceText(slice));
    if (slice?.each == null || sliced == null || sliced.beyond === 0) continue;
    const { beyond, mostParts } = sliced;
    yield reason('slices_beyond', { expression, key: slice.each, beyond, mostParts });
  }
  for (const result of results) {
    const goodput = countsOf(result);
    const all = goodput === null ? 0 : goodput.served + goodput.unknown;
    if (goodput === null || goodput.unknown <= bounds.unreadShare * all) continue;
    const { expression } = result.objective;
    yield reason('goodput_unknown', { expression, unknown: goodput.unknown, all });
  }
}

/** Whether enough answers could be judged. */
function* sampleDoubts(run: EvaluatedRun): Generator<Reason> {
  const { context, objectives, results, bounds } = run;
  const { figures } = context;
  const late = slownessOf(run);
  const isStopped = context.interrupted !== null;
  for (const { objective, observed, mayHold } of results) {
    if (mayHold === null) continue;
    const { confidence, value: otherwise } = mayHold;
    yield reason('too_close', { objective, observed, confidence, otherwise, more: 'longer', ...late });
  }
  const short = new Map<Objective, FactsOf<'too_few_samples'>>();
  for (const { objective, asked, observed, margin, figures: judged, requests } of results) {
    const { expression } = objective;
    const measure = measureOf(objective);
    // `slice_empty` reports why nothing was measured.
    if (requests === 0) continue;
    // `interrupted` reports why the complete plan is unknown.
    if (observed === null && isStopped && measure.isOfPlan?.(objective) === true) continue;
    const samples = sampleCount(judged, isStopped, objective);
    const floor = measure.floor(objective);
    if (samples === null || (observed !== null && (floor === 1 || samples >= floor))) {
      if (observed !== null && margin?.holds === false)
        yield tooClose({ objective, observed, margin }, figures, late);
      continue;
    }
    // `not_comparable` reports that these answers were refusals.
    const { turnedAwayExcess } = context.figures.statusMix;
    if (observed === null && turnedAwayExcess > bounds.statusShare) continue;
    // There are enough streams, but none with two tokens.
    const gapless = measure.isOfGaps === true && samples >= floor;
    const known = short.get(asked);
    const parts = [...(known?.parts ?? []), expression];
    const least = known === undefined || samples < known.samples ? { samples, gapless } : known;
    const spanMs = figures.plannedSpanNs / NS_PER_MS;
    short.set(asked, {
      ...least,
      floor,
      spanMs,
      scaling: context.scaling,
      expression: parts.length > 1 ? asked.expression : expression,
      parts,
    });
  }
  for (const facts of short.values()) yield reason('too_few_samples', facts);
  const censored = results.filter((each) => each.censored).map(({ objective }) => objective.expression);
  if (censored.length > 0) {
    yield reason('censored', { cancelled: figures.outcomes.cancelled, expressions: censored });
  }
  const check = figures.check ?? null;
  // An answer that was not compared may have had any content.
  if (objectives.some(needsComparison) && !isCheckedEnough(check, bounds)) {
    const known = UNCHECKED_REASONS.filter((each) => check?.unchecked[each] !== undefined);
    yield reason('answers_unchecked', {
      unchecked: check === null ? 0 : uncheckedOf(check),
      answers: check?.answers ?? 0,
      bound: bounds.uncheckedShare,
      why: known.map((each) => `${each} ${check?.unchecked[each]}`).join(', '),
      advice: uncheckedAdvice(commonestUnchecked(check), context.scaling),
    });
  }
  // Streams that could not be read are in no sample, so objectives on streams do not cover them.
  const { completed, unread } = figures.streams;
  const share = completed === 0 ? 0 : unread / completed;
  if (share > bounds.unreadShare && objectives.some(isOfStreams)) {
    yield reason('streams_unread', { share });
  }
}

function countsOf({ objective, figures }: ObjectiveResult) {
  return goodputOf(objective, figures);
}

/** The share of a monitor's readings that may have failed, because a peak may be hidden in a longer gap. */
const MOST_MISSED = 0.05;

/** Whether there are enough readings of each monitored series with an objective. */
function* monitorDoubts({ context, results }: EvaluatedRun): Generator<Reason> {
  for (const { objective, observed } of results) {
    if (objective.series === undefined) continue;
    const seen = context.figures.monitored?.get(objective.series) ?? [];
    const worst = seen.map(({ samples, missing, unkept = 0 }) => ({
      samples: samples.length,
      missing,
      unkept,
    }));
    const short = worst.filter(
      ({ samples, missing, unkept }) =>
        samples < monitorFloor(objective) || missing > MOST_MISSED * (samples + missing) || unkept > 0,
    );
    const least = short.sort((a, b) => a.samples - b.samples)[0];
    if (observed !== null && least === undefined) continue;
    const { samples, missing, unkept } = least ?? { samples: 0, missing: 0, unkept: 0 };
    yield reason('not_monitored', {
      expression: objective.expression,
      series: seen.length,
      samples,
      missing,
      unkept,
      floor: monitorFloor(objective),
      mostMissed: MOST_MISSED,
      scaling: context.scaling,
    });
  }
}

/**
 * The fewest readings. A p95 over time needs 20 readings, so that one is beyond it. The change of a counter needs only
 * both edges.
 */
function monitorFloor({ aggregation }: Objective): number {
  if (aggregation.kind === 'count') return 0;
  return aggregation.kind === 'percentile' ? Math.ceil(100 / (100 - aggregation.percent)) : 1;
}

function tooClose(
  { objective, observed, margin }: { objective: Objective; observed: number; margin: Margin },
  { planned, plannedSpanNs }: RunContext['figures'],
  late: Pick<FactsOf<'too_close'>, 'late' | 'paused'>,
): Reason {
  const more = margin.timesNeeded === null ? null : margin.timesNeeded - 1;
  return reason('too_close', {
    objective,
    observed,
    ...late,
    confidence: margin.confidence,
    otherwise: margin.upperBound,
    slowest: margin.slowest,
    more:
      more === null ? null : { requests: Math.ceil(more * planned), ms: (more * plannedSpanNs) / NS_PER_MS },
  });
}

/** Notes for the reader that cannot change the verdict. */
export function* notesOf({ context, objectives, bounds }: EvaluatedRun): Generator<Reason> {
  for (const { slice, expression } of objectives) {
    const unnamed = (slice && context.figures.slices.get(sliceText(slice))?.unnamed) ?? 0;
    if (slice?.each != null && unnamed > 0)
      yield reason('slice_unnamed', { expression, key: slice.each, unnamed });
  }
  const { figures, health, calibration, plannedElsewhere } = context;
  if (health.busyShare !== null && health.busyShare > bounds.busyShare) {
    yield reason('sender_busy', {
      share: health.busyShare,
      bound: bounds.busyShare,
      scaling: context.scaling,
    });
  }
  if (health.throttled === true) yield reason('cpu_throttled', null);
  // A shard without requests is no error, because the other shards replay the complete plan.
  if (figures.planned === 0 && plannedElsewhere > 0) {
    yield reason('nothing_planned', { elsewhere: plannedElsewhere }, 'note');
  }
  const { share, isAtLeast = false } = context.coverage;
  if (isAtLeast) yield reason('coverage_assumed', { share });
  if (calibration == null) yield reason('uncalibrated', { why: 'not_asked', pairs: 0 });
  else if (calibration.representative === null) {
    const why = calibration.p50Ms.recorded === null && calibration.pairs > 0 ? 'no_latency' : 'few_pairs';
    yield reason('uncalibrated', { why, pairs: calibration.pairs });
  }
  if (figures.fidelity.waitsFor === 'sessions') yield reason('partly_open', null);
  const { liveValues } = context;
  if (liveValues != null && liveValues.waited > 0)
    yield reason('partly_open', { awaited: liveValues.waited });
  const diverged = divergedOf(context);
  const isNoted = diverged !== null && diverged.share > DIVERGED_NOTE && diverged.share <= DIVERGED_DOUBT;
  if (isNoted) yield reason('diverged', diverged);
  // Too few to doubt the comparison, but their latency is unknown.
  const { turnedAwayExcess, sentTurnedAway, recordedTurnedAway } = figures.statusMix;
  if (turnedAwayExcess > 0 && turnedAwayExcess <= bounds.statusShare) {
    yield reason('turned_away', {
      share: sentTurnedAway ?? 0,
      recorded: recordedTurnedAway,
      status: refusalOf(figures),
    });
  }
  const { recordedRejected } = figures.statusMix;
  if ((recordedRejected ?? 0) > bounds.rejectedShare) {
    yield reason('recorded_refusals', { share: recordedRejected ?? 0 });
  }
  yield* recordingNotes(objectives, figures.statusMix);
  const mismatches = unjudgedMismatches(context, objectives);
  if (mismatches !== null && mismatches.mismatched <= MOST_MISMATCHED * mismatches.checked) {
    yield reason('not_comparable', { kind: 'mismatches', ...mismatches }, 'note');
  }
  const faster = figures.likeness.flatMap(fasterIn);
  if (faster.length > 0) yield reason('far_faster', { faster });
  const what = unknownsOf(context);
  if (what.length > 0) yield reason('unknown', { what });
}

/** From this share on, client errors in the recording are noted. */
const CLIENT_ERRORS = 0.05;

/** Notes about what was recorded: client errors, and objectives that production did not meet. */
export function* recordingNotes(objectives: readonly Objective[], mix: StatusMixFigures): Generator<Reason> {
  const { recordedClientErrors: share } = mix;
  if (share !== null && share >= CLIENT_ERRORS) yield reason('recorded_client_errors', { share });
  for (const objective of objectives.filter(({ slice }) => slice === null)) {
    const observed = measureOf(objective).inRecording?.(objective, mix) ?? null;
    if (observed !== null && !holds(observed, objective))
      yield reason('recorded_violation', { objective, observed });
  }
}

/** What made times longer and less regular on our side. */
function slownessOf(run: EvaluatedRun): Pick<FactsOf<'too_close'>, 'late' | 'paused'> {
  const share = pausedShare(run.context.figures.latency) ?? 0;
  const paused = share > MOST_PAUSED ? share : null;
  return { late: isLate(run) || paused !== null ? sendingSideOf(run.context) : null, paused };
}

/** Whether requests were sent later than objectives on times allow. */
function isLate({ context, objectives, bounds }: EvaluatedRun): boolean {
  const { lag } = context.figures.latency;
  return (
    context.concurrency == null && (lag.percentile(99) ?? 0) > lagBoundNs(context.figures, objectives, bounds)
  );
}

/**
 * The effect of our lag: a doubt if an objective is violated only by the time before the actual sends. Otherwise a note
 * if lag is over its limit, or if the sender stalled. Empty if lag is within its limit, and for a closed loop.
 */
export function latenessOf({ context, objectives, open, bounds }: EvaluatedRun): Reason[] {
  const { figures, health } = context;
  const { lag } = figures.latency;
  const boundNs = lagBoundNs(figures, objectives, bounds);
  const violated = open.filter(({ brokenBy }) => brokenBy === 'lag');
  const isOurs = violated.length > 0 && !waitsExplain(context);
  const p99Ns = lag.percentile(99) ?? 0;
  const isLate = isOurs || p99Ns > boundNs;
  if ((!isLate && health.stalls === 0) || context.concurrency != null) return [];
  const facts = {
    p99Ms: p99Ns / NS_PER_MS,
    maxMs: (lag.max ?? 0) / NS_PER_MS,
    boundMs: boundNs / NS_PER_MS,
    violated: isOurs ? violated.map(({ objective, observed }) => ({ objective, observed })) : [],
    stalls: isLate ? null : { times: health.stalls, ms: health.stalledMs },
    side: sendingSideOf(context),
  };
  return [reason('lag_over_bound', facts, isOurs ? 'doubt' : 'note')];
}

/** Whether a violated objective on mismatches is proved, although answers that were not compared may be equal. */
export function isProvenMismatch(
  { objective }: ObjectiveResult,
  context: RunContext,
  bounds: JudgementBounds,
): boolean {
  const { figures } = context;
  return isCheckedEnough(figures.check ?? null, bounds) || isBrokenByChecked(objective, figures);
}

/** The doubt about a plan's multiplier, before anything is sent. */
export function planShort(multipliers: PlanMultipliers, bounds: JudgementBounds): Reason | null {
  if (!isOffMultiplier(multipliers, bounds)) return null;
  const facts = { reached: reachedText(multipliers), asked: multipliers.multiplier, waitsFor: null };
  return reason('multiplier_not_reached', facts);
}

/** The objectives that only this kind of cause violates. */
function expressions(open: readonly ObjectiveResult[], brokenBy: ObjectiveResult['brokenBy']): string[] {
  return open.filter((each) => each.brokenBy === brokenBy).map(({ objective }) => objective.expression);
}

/** The most frequent status of refusals. */
function refusalOf({ outcomes }: RunContext['figures']): string | null {
  const away = answerKinds(outcomes).filter(({ status }) => isTurnedAway(status));
  return commonestOf(away);
}

/**
 * How requests failed. @param outcomes outcomes of an objective, whose slice may have no answer although others have
 */
function failuresIn(outcomes: OutcomeFigures, { figures, scaling }: RunContext) {
  const { statuses, cancelled, leftUnanswered } = figures.outcomes;
  const answered = Object.keys(statuses).length > 0 || cancelled > leftUnanswered;
  return { commonest: commonestFailure(outcomes), answered, scaling };
}

/** Whether a target refused every request, like a wrong server. Its only 5xx are 501, for unknown methods. */
function isRefusedAlone({ statuses, failed, stopped }: OutcomeFigures): boolean {
  return (
    failed - stopped === (statuses['501'] ?? 0) && Object.keys(statuses).every((each) => Number(each) >= 400)
  );
}

/** The most frequent 5xx status or error. Requests that were open at the end count only if nothing else failed. */
function commonestFailure(outcomes: OutcomeFigures): string {
  const errors = Object.entries(outcomes.errors).map(([kind, answers]) => ({ kind, answers }));
  const failures = [
    ...answerKinds(outcomes).filter(({ status }) => status >= FIRST_SERVER_ERROR),
    ...errors.filter(({ kind }) => kind !== 'stopped' && kind !== 'no_socket'),
  ];
  return commonestOf(failures) ?? 'no answer by the end of the run';
}

/** The most frequent kind: an error, a status alone, or the name of a gRPC call's status. */
function commonestOf(kinds: readonly { readonly kind: string; readonly answers: number }[]): string | null {
  const [first] = kinds.toSorted((a, b) => b.answers - a.answers);
  return first?.kind.replace(/^status_/, '') ?? null;
}

function isEmptyPlan({ figures, interrupted: cause, plannedElsewhere }: RunContext): boolean {
  return figures.planned === 0 && cause === null && plannedElsewhere === 0;
}

/** Whether a plan differs from the requested multiplier by more than allowed. */
function isOffMultiplier(multipliers: PlanMultipliers, { multiplierShare }: JudgementBounds): boolean {
  const beyond = beyondMultiplier(multipliers);
  return beyond !== null && Math.abs(beyond) > multiplierShare;
}

/** Whether requests were sent late, or never, because their recorded connection was busy. */
function waitsExplain({ figures }: RunContext): boolean {
  return figures.fidelity.waitsFor === 'connections' && (figures.latency.connectionWait.max ?? 0) > 0;
}

function isCheckedEnough(check: CheckFigures | null, { uncheckedShare }: JudgementBounds): boolean {
  return check !== null && check.checked > 0 && uncheckedOf(check) <= uncheckedShare * check.answers;
}

const UNCHECKED_ADVICE: Readonly<Partial<Record<UncheckedReason, string>>> = {
  no_recorded_body: 'Record with --bodies all, or compare by what was recorded: --check status.',
  recorded_truncated: 'Record with a higher cap on response bodies, or compare by --check status.',
  redacted:
    'Leave what is masked out of it on purpose (--check ignore=/POINTER), or compare by --check status.',
};

function commonestUnchecked(check: CheckFigures | null): UncheckedReason | null {
  const counts = Object.entries(check?.unchecked ?? {}) as [UncheckedReason, number][];
  return counts.sort(([, a], [, b]) => b - a)[0]?.[0] ?? null;
}

/** @param reason the most frequent one; null if nothing was compared */
export function uncheckedAdvice(reason: UncheckedReason | null, scaling?: string): string {
  if (reason === null) return 'Replay with --check.';
  if (reason === 'backlog') return `Run the replay on cores that nothing else uses, or ${lessLoad(scaling)}.`;
  return (
    UNCHECKED_ADVICE[reason] ??
    `Most of them: ${UNCHECKED_TEXTS[reason]}. Replay what was recorded whole, or compare by --check status.`
  );
}

function unknownsOf({ figures, health, coverage: held, effectiveMultiplier }: RunContext): string[] {
  return [
    health.busyShare === null ? 'how busy the sender was' : null,
    health.throttled === null ? 'whether a CPU quota held it back' : null,
    held.unexplained === null ? 'how much of the traffic the recording missed' : null,
    effectiveMultiplier === null
      ? 'the effective multiplier (the one given is of what the capture holds)'
      : null,
    // A run that was stopped before any plan was read has no recorded statuses to find.
    figures.statusMix.recordedAnswers === 0 && figures.fidelity.planned.count > 0
      ? 'the recorded statuses'
      : null,
  ].filter((each) => each !== null);
}
