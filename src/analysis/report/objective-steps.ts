import type { Send } from '../../core/run.ts';
import { type Objective, objectiveOf } from '../../documents/metrics/objectives.ts';
import { isInSlice } from '../../documents/metrics/slices.ts';
import type { ObjectiveLine } from '../../documents/replay.ts';
import type { ObjectiveSteps } from '../../documents/report.ts';
import { measureOf } from '../metrics/index.ts';
import { TIMES } from '../metrics/times.ts';
import type { SendCategory } from '../run/outcomes.ts';
import { SteppedTimes, stepAt, together, widthFor } from './stepped.ts';

/** The percentile to show if no objective names one. */
export const USUAL_PERCENT = 95;

/** An objective with its result. */
export interface JudgedObjective {
  readonly line: ObjectiveLine;
  readonly objective: Objective;
}

/**
 * The objective for the first screen: the first violated one, or else the first one. If several are on the same metric
 * and requests, the one with the highest percentile. Null if it cannot be shown over time.
 */
export function shownObjective(slo: readonly ObjectiveLine[]): JudgedObjective | null {
  const violated = slo.filter(({ ok }) => ok === false);
  const known = (violated.length > 0 ? violated : slo).flatMap((line): JudgedObjective[] => {
    const objective = objectiveOf(line.expression);
    return objective !== null && hasCourse(objective) ? [{ line, objective }] : [];
  });
  const [first] = known;
  if (first === undefined || (violated.length === 0 && first.line !== slo[0])) return null;
  const subjectOf = ({ objective: { metric, series, slice } }: JudgedObjective) =>
    JSON.stringify([metric, series, slice]);
  return known
    .filter((each) => subjectOf(each) === subjectOf(first))
    .toSorted((a, b) => (percentOf(b.objective) ?? 0) - (percentOf(a.objective) ?? 0))[0]!;
}

/** The objective on the latency of all requests, chosen in the same way. */
export function shownLatency(slo: readonly ObjectiveLine[]): JudgedObjective | null {
  return shownObjective(
    slo.filter(({ expression }) => {
      const objective = objectiveOf(expression);
      return objective !== null && isPlainLatency(objective);
    }),
  );
}

/** The percentile of an objective on times, such as 99 of `latency: p(99)<200`; null for others. */
export function percentOf({ aggregation }: Objective): number | null {
  return aggregation.kind === 'percentile' ? aggregation.percent : null;
}

/** Whether the objective is on the latency of all requests, which every report shows. */
export function isPlainLatency(objective: Objective): boolean {
  return measureOf(objective) === TIMES.latency && objective.slice === null;
}

/** Whether higher is better. Then the least of several values is the worst. */
export function asksForMore({ operator }: Pick<Objective, 'operator'>): boolean {
  return operator.startsWith('>');
}

/** Whether an objective can be shown over time. Rows of a run do not contain stages and faults. */
function hasCourse(objective: Objective): boolean {
  const { series, slice, aggregation } = objective;
  if (series !== undefined) return true;
  if (slice?.tags.some(({ key }) => key === 'stage' || key === 'fault')) return false;
  const { addTimes, isCounted } = measureOf(objective);
  if (isCounted !== undefined) return aggregation.kind === 'rate';
  return addTimes !== undefined && percentOf(objective) !== null;
}

/** Numbers of samples in a step to calculate its share, tried in this order. */
const SHARE_SAMPLES = [100, 20, 1] as const;

/** One objective over the steps of a run. The memory is proportional to the number of steps. */
export class ObjectiveCourse {
  readonly #objective: Objective;
  readonly #expression: string;
  readonly #stepS: number;
  readonly #times: SteppedTimes;
  readonly #all: number[];
  readonly #counted: number[];

  constructor({ line, objective }: JudgedObjective, stepS: number, steps: number) {
    this.#objective = objective;
    this.#expression = line.expression;
    this.#stepS = stepS;
    this.#times = new SteppedTimes(stepS, steps);
    this.#all = new Array<number>(steps).fill(0);
    this.#counted = new Array<number>(steps).fill(0);
  }

  add(send: Send, outcome: SendCategory): void {
    const { slice } = this.#objective;
    // The stage does not matter: objectives on stages and faults are not shown over time.
    if (slice !== null && !isInSlice(slice, { ...send, stage: 1 })) return;
    const { addTimes } = measureOf(this.#objective);
    if (addTimes === undefined) this.#addShare(send, outcome);
    else addTimes(this.#times, send, outcome);
  }

  steps(): ObjectiveSteps {
    const { metric } = this.#objective;
    const named = { expression: this.#expression, metric };
    if (measureOf(this.#objective).addTimes !== undefined) {
      const { p50Ms, tailMs, ...course } = this.#times.course(percentOf(this.#objective) ?? USUAL_PERCENT);
      return { ...named, unit: 'ms', ...course, median: p50Ms, values: tailMs };
    }
    const widths = SHARE_SAMPLES.map((samples) => widthFor(this.#all, samples));
    const width = widths.find((each) => each !== undefined) ?? 1;
    const sum = (part: readonly number[]) => part.reduce((total, count) => total + count, 0);
    const samples = together(this.#all, width).map(sum);
    const counted = together(this.#counted, width).map(sum);
    return {
      ...named,
      unit: 'share',
      stepS: this.#stepS * width,
      percent: null,
      at: samples.map((_, at) => at * this.#stepS * width),
      samples,
      median: null,
      values: samples.map((count, at) => (count === 0 ? null : counted[at]! / count)),
    };
  }

  #addShare(send: Send, outcome: SendCategory): void {
    const at = stepAt(send.intendedOffsetNs, this.#stepS, this.#all.length);
    if (at === null) return;
    const counted = measureOf(this.#objective).isCounted?.(this.#objective, send, outcome) ?? null;
    if (counted === null) return;
    this.#all[at]! += 1;
    if (counted) this.#counted[at]! += 1;
  }
}
