import { factsOf, isOfFirstTokens, needsComparison } from '../../documents/metrics/metrics.ts';
import { type Objective, withRejected } from '../../documents/metrics/objectives.ts';
import type { JudgementBounds, Verdict } from '../../documents/replay.ts';
import { evaluateObjectives, type ObjectiveResult } from './evaluate.ts';
import { type Reason, reason } from './reasons.ts';
import { beyondMultiplier, JUDGEMENT_BOUNDS, type RunContext, unlikeHitsOf } from './run-context.ts';
import { doubtsOf, isProvenMismatch, latenessOf, notesOf, unrecoveredOf, violationOf } from './validity.ts';

export interface Judgement {
  /** Null without objectives. */
  readonly verdict: Verdict | null;
  /** True if nothing on our side or in the comparison makes the run doubtful. */
  readonly valid: boolean;
  /** The reasons of the verdict or, without one, of an invalid run. */
  readonly reasons: readonly Reason[];
  /** Further notes for the reader. */
  readonly notes: readonly Reason[];
  readonly results: readonly ObjectiveResult[];
}

/**
 * Judges a finished run, in this order:
 * 1. FAIL if the sent requests violate an objective, counted from the actual sends. Then unsent requests count as well,
 *    because the target may have been the cause.
 * 2. INCONCLUSIVE if only the time before the actual sends violates an objective. Also if the load was not as planned,
 *    or if answers cannot be compared.
 * 3. Otherwise PASS. Our own lag is then only a note, because scheduled latency includes it.
 */
export function judge(
  context: RunContext,
  stated: readonly Objective[],
  bounds: JudgementBounds = JUDGEMENT_BOUNDS,
): Judgement {
  const objectives = withRejected(stated, context.figures.statusMix.recordedRefused);
  const results = evaluateObjectives(
    objectives,
    context.figures,
    context.interrupted !== null,
    bounds.confidence,
    bounds.violationConfidence,
  );
  const explains = ({ objective }: ObjectiveResult) => Number(factsOf(objective).explainsOthers);
  const violated = results.filter(({ ok }) => ok === false).toSorted((a, b) => explains(b) - explains(a));
  const proven = provenOf(violated, context, bounds);
  const open = violated.filter((result) => !proven.includes(result));
  const run = { context, objectives, results, open, bounds };
  const either = [...latenessOf(run), ...unlikeHits(context, objectives)];
  const doubts = [...doubtsOf(run), ...either.filter(({ severity }) => severity === 'doubt')];
  const notes = [...either.filter(({ severity }) => severity === 'note'), ...notesOf(run)];
  const valid = doubts.length === 0;
  const unrecovered = unrecoveredOf(context);
  if (proven.length + unrecovered.length > 0) {
    return {
      verdict: 'FAIL',
      valid,
      reasons: [...proven.map((each) => violationOf(each, context)), ...unrecovered],
      // What the recording itself violates weakens a FAIL most.
      notes: [...doubts, ...notes].toSorted((a, b) => isOfRecording(b) - isOfRecording(a)),
      results,
    };
  }
  const verdict = objectives.length === 0 ? null : valid ? 'PASS' : 'INCONCLUSIVE';
  return { verdict, valid, reasons: doubts, notes, results };
}

function isOfRecording({ code }: Reason): number {
  return Number(code === 'recorded_violation');
}

/** A doubt if an objective is on first tokens, which come sooner the more of a prompt is in a cache. */
function unlikeHits({ figures, scaling }: RunContext, objectives: readonly Objective[]): Reason[] {
  const hits = unlikeHitsOf(figures);
  if (hits === null) return [];
  const decides = objectives.filter(isOnFirstTokens).map(({ expression }) => expression);
  return [reason('cache_unlike', { ...hits, decides, scaling }, decides.length > 0 ? 'doubt' : 'note')];
}

function isOnFirstTokens(objective: Objective): boolean {
  return isOfFirstTokens(objective) || objective.limits.some(isOfFirstTokens);
}

/** The violations that are proved against the target. */
function provenOf(
  violated: readonly ObjectiveResult[],
  context: RunContext,
  bounds: JudgementBounds,
): readonly ObjectiveResult[] {
  // An objective that is violated under a higher load than requested may hold under the requested load.
  const isOverloaded = (beyondMultiplier(context) ?? 0) > bounds.multiplierShare;
  // A fault that was not active as planned may have caused violations outside its time.
  if (context.faults?.some(({ problem }) => problem !== null)) return [];
  // With fewer hits than recorded, the target had more work for each first token than production.
  const hits = unlikeHitsOf(context.figures);
  const hasMoreWork = hits !== null && hits.sent < hits.recorded;
  const isProven = (result: ObjectiveResult) =>
    !(hasMoreWork && isOnFirstTokens(result.objective)) && isProvenByTarget(result);
  const isProvenByTarget = (result: ObjectiveResult) =>
    needsComparison(result.objective)
      ? isProvenMismatch(result, context, bounds) && result.mayHold === null
      : result.brokenBy === 'target' && result.mayHold === null && !isOverloaded;
  if (!violated.some(isProven)) return [];
  // In a stopped run, unsent requests do not count as failures.
  const countsUnsent = context.interrupted === null;
  return violated.filter((each) => isProven(each) || (countsUnsent && each.brokenBy === 'unsent'));
}
