import type { UntilSureDocument } from '../../documents/parts.ts';
import type { JudgementBounds } from '../../documents/replay.ts';
import { type Threshold, withRejected } from '../objectives/slo.ts';
import type { RunFigures } from '../run/run-statistics.ts';
import { samplesNeeded } from '../stats/percentiles.ts';
import { evaluateSlo, floorOf, holdsWith, isBounded, type SloResult, sampleCount } from './evaluate.ts';

/** Each look costs confidence, and each earlier one is of half the answers of the next. */
const MOST_LOOKS = 6;

/** What a run is expected to have when `--duration` ends. */
interface ExpectedRun {
  readonly requests: number;
  readonly durationNs: number;
}

/** When a run is looked at, and how sure each look must be. Instants count from the end of the warm-up. */
interface LookPlan {
  readonly confidence: number;
  readonly confidenceEach: number;
  /** The last one is at the end of the run. */
  readonly atNs: readonly number[];
  readonly needs: UntilSureDocument['needs'];
  /** Objectives that only the whole run decides, such as `makespan`. With one of them the run does not end early. */
  readonly openToTheEnd: readonly string[];
}

/**
 * The answers that each objective on a percentile or a share needs before it can be kept. An objective on a slice or on
 * streams needs that many of its own requests, so its time is a minimum.
 */
export function needsOf(
  thresholds: readonly Threshold[],
  { requests, durationNs }: ExpectedRun,
  confidence: number | null,
): UntilSureDocument['needs'] {
  return thresholds.filter(isBounded).map((threshold) => {
    const answers = answersFor(threshold, confidence);
    return {
      expression: threshold.expression,
      answers,
      atLeastS: requests === 0 ? null : ((answers / requests) * durationNs) / 1e9,
      reachable: answers <= requests,
    };
  });
}

function answersFor(threshold: Threshold, confidence: number | null): number {
  const { aggregation, limit, metric } = threshold;
  const floor = floorOf(threshold);
  if (confidence === null) return floor;
  const share = metric === 'goodput' ? limit : 1 - limit;
  const percent = aggregation.kind === 'percentile' ? aggregation.percent : share * 100;
  return Math.max(floor, Math.ceil(samplesNeeded(percent, confidence, 0)));
}

/**
 * Plans looks at times that double up to the end of the run, none of them before every objective can be decided. To
 * look again and again, and to stop at the first good moment, is wrong more often than to look once. So the chance to
 * be wrong is shared out over all looks in equal parts (Bonferroni): wrong in any of them is no likelier than asked.
 */
export function planLooks(thresholds: readonly Threshold[], run: ExpectedRun, confidence: number): LookPlan {
  const openToTheEnd = thresholds.filter((each) => !isBounded(each)).map(({ expression }) => expression);
  for (let looks = openToTheEnd.length > 0 ? 1 : MOST_LOOKS; ; looks--) {
    const confidenceEach = 1 - (1 - confidence) / looks;
    const needs = needsOf(thresholds, run, confidenceEach);
    const firstShare = 2 ** (1 - looks);
    if (looks > 1 && needs.some(({ answers }) => answers > run.requests * firstShare)) continue;
    const atNs = Array.from({ length: looks }, (_, at) => run.durationNs * firstShare * 2 ** at);
    return { confidence, confidenceEach, atNs, needs, openToTheEnd };
  }
}

/** PASS and FAIL are as sure as each other. */
export function boundsOfLooks({
  confidenceEach,
}: LookPlan): Pick<JudgementBounds, 'confidence' | 'violationConfidence'> {
  return { confidence: confidenceEach, violationConfidence: confidenceEach };
}

/**
 * Whether a longer run would only repeat what is known of an objective.
 * @param open requests under way. The slowest end last, so that what has ended looks faster than the target is
 */
function isDecided(result: SloResult, open: number): boolean {
  const { threshold, ok, brokenBy, margin, mayHold, censored, figures, requests } = result;
  if (!isBounded(threshold) || requests === 0 || ok === null) return false;
  if (!ok) return brokenBy === 'target' && mayHold === null;
  const isEnough = sampleCount(figures, true, threshold) >= floorOf(threshold);
  return margin?.holds === true && !censored && isEnough && holdsWith(open, result);
}

/** The looks of one run. */
export class Looks {
  readonly plan: LookPlan;
  readonly #thresholds: readonly Threshold[];
  readonly #taken: { readonly atS: number; readonly decided: number; readonly open: number }[] = [];
  #next = 0;
  #isSure = false;

  /** @param thresholds as they were stated */
  constructor(thresholds: readonly Threshold[], run: ExpectedRun, confidence: number) {
    this.#thresholds = thresholds;
    this.plan = planLooks(withRejected(thresholds, null), run, confidence);
  }

  /**
   * Looks at a run if it is time to. The end of the plan is no look of its own here: the run is judged then anyway.
   * @param elapsedNs since the end of the warm-up
   * @param open requests that were due and have not ended
   * @param figuresSoFar of what has ended
   * @returns whether every objective is decided, now or before
   */
  take(elapsedNs: number, open: number, figuresSoFar: () => RunFigures): boolean {
    const { atNs } = this.plan;
    const due = atNs.slice(0, -1).findLastIndex((each) => each <= elapsedNs) + 1;
    if (this.#isSure || due <= this.#next) return this.#isSure;
    this.#next = due;
    const figures = figuresSoFar();
    const { confidence, violationConfidence } = boundsOfLooks(this.plan);
    const thresholds = withRejected(this.#thresholds, figures.statusMix.recordedRefused);
    const each = evaluateSlo(thresholds, figures, true, confidence, violationConfidence);
    const decided = each.filter((result) => isDecided(result, open)).length;
    this.#taken.push({ atS: elapsedNs / 1e9, decided, open: each.length - decided });
    this.#isSure = each.length > 0 && decided === each.length;
    return this.#isSure;
  }

  /** @param endedEarly whether some of the plan was not played; null before anything was sent */
  document(endedEarly: boolean | null): UntilSureDocument {
    const { confidence, confidenceEach, atNs, needs } = this.plan;
    return {
      confidence,
      confidenceEach,
      needs,
      looksAtS: atNs.map((each) => each / 1e9),
      looks: this.#taken,
      endedEarly,
    };
  }
}
