import type { JudgementBounds, Verdict } from '../../documents/replay.ts';
import { type Threshold, withRejected } from '../objectives/slo.ts';
import { evaluateSlo, type SloResult } from './evaluate.ts';
import type { Reason } from './reasons.ts';
import { beyondMultiplier, JUDGEMENT_BOUNDS, type RunContext } from './run-context.ts';
import { doubtsOf, isProvenMismatch, latenessOf, notesOf, unrecoveredOf, violationOf } from './validity.ts';

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
 * Judges a run that is over, in this order:
 * 1. FAIL where what was sent violates an objective, counted from the actual sends. What was not sent counts as well
 *    then, because the target may have been the cause.
 * 2. INCONCLUSIVE where only the time before the actual sends violates one, or the load was not as planned, or the
 *    answers were none.
 * 3. Else PASS. Our own lag is then a note: scheduled latency counts it.
 */
export function judge(
  context: RunContext,
  stated: readonly Threshold[],
  bounds: JudgementBounds = JUDGEMENT_BOUNDS,
): Judgement {
  const thresholds = withRejected(stated, context.figures.statusMix.recordedRefused);
  const slo = evaluateSlo(
    thresholds,
    context.figures,
    context.interrupted !== null,
    bounds.confidence,
    bounds.violationConfidence,
  );
  // Failures first: they are infinitely slow in the objectives on times.
  const violated = slo
    .filter(({ ok }) => ok === false)
    .toSorted((a, b) => Number(b.threshold.metric === 'errors') - Number(a.threshold.metric === 'errors'));
  const proven = provenOf(violated, context, bounds);
  const open = violated.filter((result) => !proven.includes(result));
  const run = { context, thresholds, slo, open, bounds };
  const lateness = latenessOf(run);
  const doubts = [...doubtsOf(run), ...lateness.filter(({ severity }) => severity === 'doubt')];
  const notes = [...lateness.filter(({ severity }) => severity === 'note'), ...notesOf(run)];
  const valid = doubts.length === 0;
  const unrecovered = unrecoveredOf(context);
  if (proven.length + unrecovered.length > 0) {
    return {
      verdict: 'FAIL',
      valid,
      reasons: [...proven.map((each) => violationOf(each, context)), ...unrecovered],
      notes: [...doubts, ...notes],
      slo,
    };
  }
  const verdict = thresholds.length === 0 ? null : valid ? 'PASS' : 'INCONCLUSIVE';
  return { verdict, valid, reasons: doubts, notes, slo };
}

/** The violated objectives that speak against the target. */
function provenOf(
  violated: readonly SloResult[],
  context: RunContext,
  bounds: JudgementBounds,
): readonly SloResult[] {
  // What breaks under more load than was asked for may hold under that.
  const isOverloaded = (beyondMultiplier(context) ?? 0) > bounds.multiplierShare;
  // A fault that was not on as planned may have broken what it was not to touch.
  if (context.faults?.some(({ problem }) => problem !== null)) return [];
  const isProven = (result: SloResult) =>
    result.threshold.metric === 'mismatch'
      ? isProvenMismatch(result, context, bounds) && result.mayHold === null
      : result.brokenBy === 'target' && result.mayHold === null && !isOverloaded;
  if (!violated.some(isProven)) return [];
  // In a run that was stopped, unsent requests are nobody's failure.
  const countsUnsent = context.interrupted === null;
  return violated.filter((each) => isProven(each) || (countsUnsent && each.brokenBy === 'unsent'));
}
