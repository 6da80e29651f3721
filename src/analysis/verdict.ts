import { countOf, formatMs } from '../core/units.ts';
import { leftOutText } from './calibration.ts';
import { checkDoubts, isProvenMismatch } from './check-judgement.ts';
import { mayOweToWaits } from './connection-waits.ts';
import { emptyShard } from './empty-plan.ts';
import { failureDoubts } from './failure-doubts.ts';
import { findings, isOurSideLate, type Reason, turnedAwayText } from './findings.ts';
import { JUDGEMENT_BOUNDS, type JudgementBounds } from './judgement-bounds.ts';
import type { RunContext } from './run-context.ts';
import { sampleFloor } from './sample-floor.ts';
import { percent } from './share-text.ts';
import { STREAM_METRICS, type Threshold, unitOf } from './slo.ts';
import { evaluateSlo, isOfPlan, type SloResult, sampleCount } from './slo-evaluation.ts';

export type Verdict = 'PASS' | 'FAIL' | 'INCONCLUSIVE';

export interface Judgement {
  /** Null without an objective. */
  readonly verdict: Verdict | null;
  /** Nothing on our side or in the comparison speaks against the run. */
  readonly valid: boolean;
  /** What led to the verdict (or, without one, to the run not being valid). */
  readonly reasons: readonly Reason[];
  /** What the reader should know besides. */
  readonly notes: readonly Reason[];
  readonly slo: readonly SloResult[];
}

/**
 * Judges a run that is over, in this order: FAIL for a violated objective (violated without what our own lateness and
 * standstills may have added, and where we were late, by service latency too); INCONCLUSIVE for causes on our side or
 * in the comparison; only then PASS.
 */
export function judge(
  context: RunContext,
  thresholds: readonly Threshold[],
  bounds: JudgementBounds = JUDGEMENT_BOUNDS,
): Judgement {
  const slo = evaluateSlo(thresholds, context.figures, context.interrupted !== null);
  const late = isOurSideLate(context, bounds);
  const waited = mayOweToWaits(context.figures, bounds);
  // How little was sent of a plan that was stopped is our doing.
  const isOfStopped = ({ threshold }: SloResult) =>
    context.interrupted !== null && threshold.metric === 'achieved';
  const violated = slo.filter((result) => result.ok === false && !isOfStopped(result));
  const proven = violated.filter((result) => {
    if (result.threshold.metric === 'mismatch') return isProvenMismatch(result, context.figures, bounds);
    return (
      result.brokenByStreams !== false &&
      result.brokenWithoutUs !== false &&
      (!late || isProvenWhileLate(result)) &&
      (!waited || isProvenWhileWaiting(result))
    );
  });
  const doubts = [
    ...findings(context, bounds),
    ...failureDoubts(thresholds, context, bounds),
    ...sampleDoubts(slo, context),
    ...checkDoubts(thresholds, context.figures, bounds),
    ...unreadStreams(thresholds, context.figures),
    ...streamsMissing(violated, context.figures),
  ];
  const ours = lagNotes(violated, proven);
  // Where nothing else is in doubt, what we may have broken ourselves is neither kept nor broken.
  const reasons = doubts.length === 0 && proven.length === 0 ? ours : doubts;
  const notes = [...(reasons === ours ? [] : ours), ...standingNotes(context, bounds)];
  const valid = reasons.length === 0;
  if (proven.length > 0) {
    return { verdict: 'FAIL', valid, reasons: proven.map(violationOf), notes: [...doubts, ...notes], slo };
  }
  if (thresholds.length === 0) return { verdict: null, valid, reasons, notes, slo };
  return { verdict: valid ? 'PASS' : 'INCONCLUSIVE', valid, reasons, notes, slo };
}

/** As much of the streams may be unread before their objectives are in doubt: as of coverage. */
const UNREAD_SHARE = 0.01;

/** Exit status of a judged run: 0 passed or valid, 3 failed, 4 inconclusive or not valid. */
export function exitCodeOf({ verdict, valid }: Pick<Judgement, 'verdict' | 'valid'>): 0 | 3 | 4 {
  if (verdict === 'FAIL') return 3;
  if (verdict === 'PASS') return 0;
  return verdict === null && valid ? 0 : 4;
}

/** Lateness of our own cannot make a server slower or fail; what it adds to our reading of it is taken off before. */
function isProvenWhileLate(result: SloResult): boolean {
  const { metric } = result.threshold;
  if (metric === 'latency' || metric === 'ttft') return result.brokenByService === true;
  return metric === 'service' || metric === 'errors';
}

/**
 * What waited for its recorded connection waited in a queue of ours, which shows in scheduled latency and in the length
 * of the run, and may have kept requests from leaving at all. None of that proves anything; the target's own times do.
 */
function isProvenWhileWaiting({ threshold: { metric }, brokenBySent }: SloResult): boolean {
  return metric !== 'makespan' && metric !== 'achieved' && brokenBySent !== false;
}

function violationOf(result: SloResult): Reason {
  return {
    code: 'slo_violated',
    text: `${result.threshold.expression}: observed ${observedText(result)}`,
    advice:
      result.threshold.metric === 'mismatch'
        ? 'Their rows have a check_result in table send of the run.sqlite; look both answers up by their ids.'
        : 'The slowest and the failed requests stand in table send of the run.sqlite.',
  };
}

function sampleDoubts(results: readonly SloResult[], context: RunContext): Reason[] {
  return results.flatMap(({ threshold, observed }) => {
    const { aggregation, expression, metric } = threshold;
    // Its own doubts say why there is none.
    if (metric === 'mismatch') return [];
    // That a plan was stopped, and is not known to its end, is told.
    if (observed === null && context.interrupted !== null && isOfPlan(threshold)) return [];
    const samples = sampleCount(context.figures, context.interrupted !== null, metric);
    const floor = aggregation.kind === 'percentile' ? sampleFloor(aggregation.percent) : 1;
    if (observed !== null && (aggregation.kind !== 'percentile' || samples >= floor)) return [];
    if (metric === 'itl' && samples >= floor) return [gapless(expression, samples)];
    return [
      {
        code: 'too_few_samples',
        text: `${expression} needs ${floor} answers, there are ${samples}`,
        advice: 'Replay a longer window, or judge a lower percentile.',
      } satisfies Reason,
    ];
  });
}

/** There are streams enough, and nothing in them that could be measured. */
function gapless(expression: string, streams: number): Reason {
  return {
    code: 'too_few_samples',
    text: `${expression} needs times between tokens, and none of ${countOf(streams, 'stream')} had a second token`,
    advice: 'Judge answers of one token by ttft or latency, or replay such as are longer.',
  };
}

/** A stream that was not read is in no sample, so an objective of streams says nothing of it. */
function unreadStreams(thresholds: readonly Threshold[], { streams }: RunContext['figures']): Reason[] {
  const share = streams.completed === 0 ? 0 : streams.unread / streams.completed;
  if (share <= UNREAD_SHARE || !thresholds.some(({ metric }) => STREAM_METRICS.has(metric))) return [];
  return [
    {
      code: 'streams_unread',
      text: `${percent(share)} of the streams came under a content coding, so that nothing is known of their tokens`,
      advice: 'Send no Accept-Encoding: --remove-header accept-encoding.',
    },
  ];
}

/** What was wanted as a stream and came as none has no token: where an objective hangs on it, nobody knows. */
function streamsMissing(violated: readonly SloResult[], { streams }: RunContext['figures']): Reason[] {
  const open = violated.filter(({ brokenByStreams }) => brokenByStreams === false);
  if (open.length === 0) return [];
  const ways = [
    { requests: streams.turnedAway, how: 'turned away' },
    { requests: streams.whole, how: 'answered whole' },
  ].filter(({ requests }) => requests > 0);
  const missing = ways.map(({ requests, how }) => `${how} ${countOf(requests, 'request')}`).join(' and ');
  return [
    {
      code: 'not_comparable',
      text: `instead of a stream the target ${missing}, on which hangs ${open.map(({ threshold }) => threshold.expression).join('; ')}`,
      advice: 'See by which statuses and types; the target must serve what production served.',
    },
  ];
}

function lagNotes(violated: readonly SloResult[], proven: readonly SloResult[]): Reason[] {
  return violated
    .filter((result) => !proven.includes(result) && result.threshold.metric !== 'mismatch')
    .filter(({ brokenByStreams }) => brokenByStreams !== false)
    .map((result) => ({
      code: 'violated_by_our_lag',
      text: `${result.threshold.expression}: observed ${observedText(result)}, which our own lateness may explain`,
      advice: 'Replay with the cause of the lateness removed.',
    }));
}

/** What is not known counts neither for the run nor against it, and is said. */
function standingNotes(context: RunContext, bounds: JudgementBounds): Reason[] {
  const { figures, health, coverage, effectiveMultiplier } = context;
  const unknown = [
    health.busyShare === null ? 'how busy the sender was' : null,
    health.throttled === null ? 'whether a CPU quota held it back' : null,
    coverage.unexplained === null ? 'how much of the traffic the recording missed' : null,
    effectiveMultiplier === null
      ? 'the effective multiplier (the one given is of what the capture holds)'
      : null,
    // Of a run that was stopped before any of its plan was read, none were looked for.
    figures.statusMix.recordedAnswers === 0 && figures.fidelity.planned.count > 0
      ? 'the recorded statuses'
      : null,
  ].filter((each) => each !== null);
  const notes = [
    ...emptyShard(context),
    ...uncalibrated(context),
    ...partlyOpen(context),
    ...turnedAway(context, bounds),
  ];
  if (unknown.length > 0) {
    notes.push({
      code: 'unknown',
      text: `not known: ${unknown.join(', ')}`,
      advice: 'Judge with that in mind.',
    });
  }
  if (figures.latency.leftOut > 0) {
    const share = figures.latency.leftOut / figures.outcomes.sent;
    notes.push({
      code: 'left_out',
      text: `left out of the percentiles because the generator stood still when they were due or answered: ${figures.latency.leftOut} requests, ${percent(share)}`,
      advice: 'Their rows are in table send of the run.sqlite.',
    });
  }
  return notes;
}

function partlyOpen({ figures: { fidelity } }: RunContext): Reason[] {
  if (fidelity.waitsFor !== 'sessions') return [];
  return [
    {
      code: 'partly_open',
      text: 'follow-ups waited for what they follow, so a slower target was offered less: this is no capacity for an open load',
      advice: 'For a capacity, replay with --session-order open.',
    },
  ];
}

/** Too few to doubt the comparison; and still no fast answers, and nothing the recording explains. */
function turnedAway({ figures: { statusMix } }: RunContext, { statusShare }: JudgementBounds): Reason[] {
  const { turnedAwayExcess } = statusMix;
  if (turnedAwayExcess === 0 || turnedAwayExcess > statusShare) return [];
  return [
    {
      code: 'turned_away',
      text: turnedAwayText(statusMix),
      advice: 'See by which statuses: their latencies are those of refusals.',
    },
  ];
}

function uncalibrated({ calibration }: RunContext): Reason[] {
  if (calibration != null && calibration.representative !== null) return [];
  const why =
    calibration == null
      ? 'whether it answers as production did was not tested'
      : calibration.p50Ms.recorded === null && calibration.pairs > 0
        ? 'the recording has no latency to hold it against'
        : `too few of the recorded answers could be held against: ${calibration.pairs}${leftOutText(calibration.leftOut)}`;
  return [
    {
      code: 'uncalibrated',
      text: `the target was not calibrated: ${why}`,
      advice:
        calibration == null
          ? 'Give --calibrate: it plays at 1x first and holds latency, statuses and sizes against the recording.'
          : 'Calibrate with a recording that has answers, or for longer.',
    },
  ];
}

/** What was observed, in the unit of its limit. */
function observedText({ threshold, observed }: SloResult): string {
  if (observed === null) return 'nothing';
  const unit = unitOf(threshold);
  if (unit !== 'ms') return unit === 'share' ? percent(observed) : String(observed);
  return observed === Number.POSITIVE_INFINITY ? 'an answer that never came' : formatMs(observed);
}
