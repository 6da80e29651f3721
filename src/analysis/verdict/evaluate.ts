import { isOfTimes } from '../../documents/metrics/metrics.ts';
import { holds, type Objective, ofSlice, withRejected } from '../../documents/metrics/objectives.ts';
import { sliceText } from '../../documents/metrics/slices.ts';
import { measureOf } from '../metrics/index.ts';
import {
  EVERYTHING,
  type Margin,
  type Observable,
  OF_TARGET,
  observable,
  type PartFigures,
  type Scope,
} from '../metrics/measure.ts';
import type { RunFigures } from '../run/run-statistics.ts';
import { emptyPart } from '../run/slice-statistics.ts';

/**
 * The cause of a violation.
 * - `target`: the sent requests violate the objective, counted from the actual sends.
 * - `streams`: only requests whose answer was not the wanted stream, or did not count for goodput.
 * - `pauses`: only the time in which the sender could neither write nor read.
 * - `unsent`: only requests that a limit refused or that were never sent.
 * - `lag`: only the time between the planned and the actual send.
 */
type BrokenBy = 'target' | 'streams' | 'pauses' | 'unsent' | 'lag';

/** The result of one objective. An objective on each model has one result for each. */
export interface ObjectiveResult {
  readonly objective: Objective;
  /** The objective of the user. It may be on each model while this result is for one model. */
  readonly asked: Objective;
  /** The figures of its requests. */
  readonly figures: RunFigures;
  /** The number of its requests; null for the complete run. */
  readonly requests: number | null;
  /** In the unit of the limit. Infinity if too many failed, null if nothing was measured. */
  readonly observed: number | null;
  /**
   * A lower bound of the observed value: of sent requests, from their actual sends, without pauses of the sender. Null
   * unless the target or pauses violate the objective.
   */
  readonly fromSends: number | null;
  /** Null if nothing was measured. */
  readonly ok: boolean | null;
  /** Null if the objective is not violated. */
  readonly brokenBy: BrokenBy | null;
  /** The confidence of a percentile within its limit. Null for other objectives, and with `--confidence point`. */
  readonly margin: Margin | null;
  /**
   * A value within the limit that is also possible for a violated objective. Null if the violation has the required
   * confidence.
   */
  readonly mayHold: { readonly confidence: number; readonly value: number } | null;
  /** Whether the objective holds only because clients cancelled requests before their answer. */
  readonly censored: boolean;
}

/**
 * Evaluates the objectives of a run. Failed and refused requests count as infinitely slow in every aggregation of a
 * time. If the run was `interrupted`, requests in flight that the replay ended itself do not count as failures.
 * @param confidence required confidence of a percentile within its limit; null to use the observed value
 * @param violationConfidence required confidence that any objective is violated, for a run that is judged more than
 *   once. Then shares must be within their limits with the same confidence as percentiles. Null to use the observed
 *   value
 */
export function evaluateObjectives(
  objectives: readonly Objective[],
  figures: RunFigures,
  interrupted: boolean,
  confidence: number | null = null,
  violationConfidence: number | null = null,
): ObjectiveResult[] {
  const parts = objectives.flatMap((objective) => partsFor(objective, figures));
  // One violated objective means FAIL, so all of them share the probability of an error (Bonferroni).
  const sure = violationConfidence === null ? null : 1 - (1 - violationConfidence) / parts.length;
  return parts.map((part) => {
    const { objective } = part;
    const measure = measureOf(objective);
    const seen = observable(part.figures, interrupted);
    // Only a part of the plan was read. The share of that part would be too high.
    const isOpen = interrupted && !figures.planCounted && measure.isOfPlan?.(objective) === true;
    const observed = isOpen ? null : measure.observe(objective, seen, EVERYTHING);
    const ok = observed === null ? null : holds(observed, objective);
    const brokenBy = ok === false ? brokenByIn(objective, seen) : null;
    const isOfSends = brokenBy === 'target' || brokenBy === 'pauses';
    const fromSends = isOfSends ? measure.observe(objective, seen, OF_TARGET) : null;
    const worst = measure.observe(objective, seen, { ...EVERYTHING, cancelled: 'worst' });
    const censored = ok === true && worst !== null && !holds(worst, objective);
    const isAsked = ok === true && confidence !== null;
    const margin =
      (isAsked && measure.margin?.(objective, seen, confidence, sure === null ? 'only' : 'last')) || null;
    const isQuestioned = brokenBy === 'target' && sure !== null;
    const best = (isQuestioned ? measure.best?.(objective, seen, sure) : null) ?? null;
    const mayHold = best !== null && holds(best, objective) ? { confidence: sure ?? 0, value: best } : null;
    return { ...part, observed, fromSends, ok, brokenBy, margin, mayHold, censored };
  });
}

/** Whether more requests increase the confidence of an objective: percentiles of times, and shares. */
export function isBounded(objective: Objective): boolean {
  return measureOf(objective).provenPercent(objective) !== null;
}

/**
 * Whether an objective holds with its confidence at an early look: a time, even if the `open` requests are never
 * answered.
 */
export function holdsEarly(open: number, { objective, figures, margin }: ObjectiveResult): boolean {
  if (margin === null) return true;
  const slowest = isOfTimes(objective) ? withFailed(figures, open) : figures;
  const early = measureOf(objective).margin?.(
    objective,
    observable(slowest, true),
    margin.confidence,
    'early',
  );
  return early?.holds === true;
}

function withFailed(figures: RunFigures, open: number): RunFigures {
  const { outcomes, streams } = figures;
  const goodput = [...figures.goodput].map(
    ([limits, counts]) => [limits, { ...counts, failed: counts.failed + open }] as const,
  );
  return {
    ...figures,
    outcomes: { ...outcomes, sent: outcomes.sent + open, failed: outcomes.failed + open },
    streams: { ...streams, failed: streams.failed + open },
    goodput: new Map(goodput),
  };
}

/** The result of an objective during its run. */
export type ObjectiveSoFar = Pick<ObjectiveResult, 'objective' | 'observed' | 'ok'>;

/** Results of objectives during a run. Those that only its end decides are not known yet. */
export function objectivesSoFar(
  stated: readonly Objective[],
  run: PartFigures & Pick<RunFigures, 'check' | 'statusMix' | 'slices'>,
): ObjectiveSoFar[] {
  return withRejected(stated, run.statusMix.recordedRefused).flatMap((asked) => {
    const { observe, isOfRun } = measureOf(asked);
    if (isOfRun === true) return [{ objective: asked, observed: null, ok: null }];
    return partsFor(asked, run).map(({ objective, figures }) => {
      const part = observable({ ...figures, planned: figures.outcomes.sent }, true);
      const observed = observe(objective, part, EVERYTHING);
      return { objective, observed, ok: observed === null ? null : holds(observed, objective) };
    });
  });
}

/** The parts that an objective judges: the run, a part of it, or each of several parts. */
function partsFor<Figures extends PartFigures & Pick<RunFigures, 'slices'>>(
  objective: Objective,
  figures: Figures,
): { objective: Objective; asked: Objective; figures: Figures; requests: number | null }[] {
  const asked = objective;
  if (objective.slice === null) return [{ objective, asked, figures, requests: null }];
  const parts = figures.slices.get(sliceText(objective.slice))?.parts ?? [];
  // No request of the slice was sent. An objective without requests is never kept.
  if (parts.length === 0) {
    return [{ objective, asked, figures: { ...figures, ...emptyPart(objective.limits) }, requests: 0 }];
  }
  return parts.map((part) => ({
    objective: ofSlice(objective, part.slice),
    asked,
    figures: { ...figures, ...part.figures },
    requests: part.requests,
  }));
}

/** The number of answers and failures for an objective; null if it has no samples. */
export function sampleCount(
  figures: RunFigures,
  interrupted: boolean,
  objective: Pick<Objective, 'metric' | 'limits'>,
): number | null {
  return measureOf(objective).samples(objective, observable(figures, interrupted));
}

/** Removes the causes on our side one after the other, and returns the one without which the violation disappears. */
function brokenByIn(objective: Objective, figures: Observable): BrokenBy {
  const { observe, brokenBy } = measureOf(objective);
  const own = brokenBy?.(objective, figures);
  if (own !== undefined) return own;
  const isBroken = (scope: Scope) => {
    const observed = observe(objective, figures, scope);
    return observed !== null && !holds(observed, objective);
  };
  if (isBroken(OF_TARGET)) return 'target';
  if (isBroken({ ...OF_TARGET, from: 'sent' })) return 'pauses';
  if (!isBroken({ ...EVERYTHING, streamless: false })) return 'streams';
  return isBroken({ ...EVERYTHING, unsent: false }) ? 'lag' : 'unsent';
}
