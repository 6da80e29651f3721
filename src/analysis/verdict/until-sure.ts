import { type Objective, withRejected } from '../../documents/metrics/objectives.ts';
import type { UntilSureDocument } from '../../documents/parts.ts';
import type { JudgementBounds } from '../../documents/replay.ts';
import { measureOf } from '../metrics/index.ts';
import type { RunFigures } from '../run/run-statistics.ts';
import { samplesNeeded } from '../stats/percentiles.ts';
import { evaluateObjectives, holdsEarly, isBounded, type ObjectiveResult, sampleCount } from './evaluate.ts';

/** Most looks (judgements) of a run. Each costs confidence, and each has only half the answers of the next one. */
const MOST_LOOKS = 6;

/** The expected size of a run at the end of `--duration`. */
interface ExpectedRun {
  readonly requests: number;
  readonly durationNs: number;
}

/** When a run is judged, and with which confidence each time. Instants count from the end of the warm-up. */
interface LookPlan {
  readonly confidence: number;
  readonly confidenceEach: number;
  /** The last look is at the end of the run. */
  readonly atNs: readonly number[];
  readonly needs: UntilSureDocument['needs'];
  /** Objectives that only the complete run decides, such as `makespan`. With one of them the run does not end early. */
  readonly openToTheEnd: readonly string[];
}

/**
 * The number of answers that each objective on a percentile or a share needs at least. An objective on a slice or on
 * streams needs this number of its own requests, so its time is a minimum.
 */
export function needsOf(
  objectives: readonly Objective[],
  { requests, durationNs }: ExpectedRun,
  confidence: number | null,
): UntilSureDocument['needs'] {
  return objectives.filter(isBounded).map((objective) => {
    const answers = answersFor(objective, confidence);
    return {
      expression: objective.expression,
      answers,
      atLeastS: requests === 0 ? null : ((answers / requests) * durationNs) / 1e9,
      reachable: answers <= requests,
    };
  });
}

function answersFor(objective: Objective, confidence: number | null): number {
  const measure = measureOf(objective);
  const floor = measure.floor(objective);
  const percent = measure.provenPercent(objective);
  if (confidence === null || percent === null) return floor;
  return Math.max(floor, Math.ceil(samplesNeeded(percent, confidence, 0)));
}

/**
 * Plans looks at times that double up to the end of the run. None is planned before every objective can be decided.
 * Repeated judgements with a stop at the first good moment are wrong more often than one. So the probability of an
 * error is divided equally among all looks (Bonferroni). In total it is not higher than requested.
 */
export function planLooks(objectives: readonly Objective[], run: ExpectedRun, confidence: number): LookPlan {
  const openToTheEnd = objectives.filter((each) => !isBounded(each)).map(({ expression }) => expression);
  for (let looks = openToTheEnd.length > 0 ? 1 : MOST_LOOKS; ; looks--) {
    const confidenceEach = 1 - (1 - confidence) / looks;
    const needs = needsOf(objectives, run, confidenceEach);
    const firstShare = 2 ** (1 - looks);
    if (looks > 1 && needs.some(({ answers }) => answers > run.requests * firstShare)) continue;
    const atNs = Array.from({ length: looks }, (_, at) => run.durationNs * firstShare * 2 ** at);
    return { confidence, confidenceEach, atNs, needs, openToTheEnd };
  }
}

/** PASS and FAIL need the same confidence. */
export function boundsOfLooks({
  confidenceEach,
}: LookPlan): Pick<JudgementBounds, 'confidence' | 'violationConfidence'> {
  return { confidence: confidenceEach, violationConfidence: confidenceEach };
}

/**
 * Whether an objective is decided, so that a longer run would not change the result.
 * @param open requests in flight. The slowest end last, so finished requests make the target look faster than it is
 */
function isDecided(result: ObjectiveResult, open: number): boolean {
  const { objective, ok, brokenBy, margin, mayHold, censored, figures, requests } = result;
  if (!isBounded(objective) || requests === 0 || ok === null) return false;
  if (!ok) return brokenBy === 'target' && mayHold === null;
  const floor = measureOf(objective).floor(objective);
  const isEnough = (sampleCount(figures, true, objective) ?? floor) >= floor;
  return margin?.holds === true && !censored && isEnough && holdsEarly(open, result);
}

/** The looks of one run. */
export class Looks {
  readonly plan: LookPlan;
  readonly #objectives: readonly Objective[];
  readonly #taken: { readonly atS: number; readonly decided: number; readonly open: number }[] = [];
  #next = 0;
  #isSure = false;

  /** @param objectives the stated objectives, without implied ones */
  constructor(objectives: readonly Objective[], run: ExpectedRun, confidence: number) {
    this.#objectives = objectives;
    this.plan = planLooks(withRejected(objectives, null), run, confidence);
  }

  /**
   * Judges a run if a look is due. The end of the plan is no look here, because the run is judged then anyway.
   * @param elapsedNs time since the end of the warm-up
   * @param open requests that were due and have not ended
   * @param figuresSoFar returns the figures of ended requests
   * @returns whether every objective is decided, now or earlier
   */
  take(elapsedNs: number, open: number, figuresSoFar: () => RunFigures): boolean {
    const { atNs } = this.plan;
    const due = atNs.slice(0, -1).findLastIndex((each) => each <= elapsedNs) + 1;
    if (this.#isSure || due <= this.#next) return this.#isSure;
    this.#next = due;
    const figures = figuresSoFar();
    const { confidence, violationConfidence } = boundsOfLooks(this.plan);
    const objectives = withRejected(this.#objectives, figures.statusMix.recordedRefused);
    const each = evaluateObjectives(objectives, figures, true, confidence, violationConfidence);
    const decided = each.filter((result) => isDecided(result, open)).length;
    this.#taken.push({ atS: elapsedNs / 1e9, decided, open: each.length - decided });
    this.#isSure = each.length > 0 && decided === each.length;
    return this.#isSure;
  }

  /** @param endedEarly whether a part of the plan was not replayed; null before anything was sent */
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
