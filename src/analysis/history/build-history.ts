import { SeededRandom } from '../../core/random.ts';
import type {
  Figure,
  HistoryChange,
  HistoryDocument,
  HistoryMetric,
  HistoryRun,
  TestHistory,
} from '../../documents/history.ts';

/** The probability of a false change in an unchanged test, over all its metrics. */
const SIGNIFICANCE = 0.05;
/** With fewer runs, no permutation test can prove a change of one of twenty metrics. */
export const LEAST_RUNS = 12;
/** Changes are searched in the latest runs, up to this number. The time of the search grows with its square. */
export const MOST_RUNS = 200;

/** Groups the runs of a history by test, and finds the runs where the level of a metric changed. */
export function buildHistory(
  file: string,
  runs: readonly HistoryRun[],
  exceptions: HistoryDocument['exceptions'] = [],
): HistoryDocument {
  const byTest = Map.groupBy(runs, ({ test }) => test);
  return {
    schemaVersion: 1,
    kind: 'history',
    file,
    significance: SIGNIFICANCE,
    exceptions,
    tests: [...byTest].map(([test, own]) => testHistory(test, own.slice(-MOST_RUNS))),
  };
}

function testHistory(test: string, runs: readonly HistoryRun[]): TestHistory {
  // Undecided runs are left out: their figures may not belong to the stated load.
  const judged = runs.filter(({ result }) => result !== 'undecided');
  const enough = judged.length >= LEAST_RUNS;
  const figures = new Map<string, Figure>();
  for (const figure of runs.flatMap((run) => run.figures)) figures.set(figure.name, figure);
  const significance = SIGNIFICANCE / Math.max(1, figures.size);
  return {
    test,
    runs: runs.map(({ figures: _figures, test: _test, ...run }) => run),
    judged: judged.length,
    enough,
    metrics: [...figures.values()].map(({ name, unit }): HistoryMetric => {
      const values = runs.map((run) => valueIn(run, name));
      const limits = runs.map((run) => figureIn(run, name)?.limit ?? null);
      return {
        ...{ name, unit, values },
        ...(limits.some((limit) => limit !== null) && { limits }),
        changes: enough ? changesOf(judged, name, significance) : [],
      };
    }),
  };
}

function figureIn({ figures }: HistoryRun, name: string): Figure | undefined {
  return figures.find((figure) => figure.name === name);
}

function valueIn(run: HistoryRun, name: string): number | null {
  return figureIn(run, name)?.value ?? null;
}

function changesOf(runs: readonly HistoryRun[], name: string, significance: number): HistoryChange[] {
  const known = runs.flatMap((run) => {
    const value = valueIn(run, name);
    return value === null ? [] : [{ run, value }];
  });
  const points = changePoints(
    known.map(({ value }) => value),
    significance,
  );
  const ends = [...points.map(({ index }) => index), known.length];
  const mean = (from: number, to: number) =>
    known.slice(from, to).reduce((sum, { value }) => sum + value, 0) / (to - from);
  return points.map(({ index, p }, at) => {
    const before = mean(ends[at - 1] ?? 0, index);
    const after = mean(index, ends[at + 1] as number);
    const { run, startedAt } = (known[index] as (typeof known)[number]).run;
    return { run, startedAt, before, after, ratio: before === 0 ? null : after / before, p };
  });
}

/** Runs on each side of a change. With fewer, one outlier would be a level of its own. */
const LEAST_SIDE = 3;
/** The smallest p is about 1 divided by this. Many metrics need a small p. */
const PERMUTATIONS = 1_999;

/** A change of a series' level. */
interface ChangePoint {
  readonly index: number;
  /** The probability of such a difference by chance; at least 1 / 2,000. */
  readonly p: number;
}

/**
 * The indexes at which the level of a series changes, in order. It divides the series at the split with the greatest
 * energy distance between its sides. A permutation test decides whether this distance is unlikely by chance; then both
 * sides are divided in the same way. This is E-divisive (Matteson and James, "A nonparametric approach for multiple
 * change point analysis of multivariate data", JASA 2014). The complete segment is used on both sides of a split, as
 * MongoDB does for performance tests (Daly et al., ICPE 2020). Each permutation takes O(n²), so limit n.
 * @param significance the largest p of a change
 */
export function changePoints(values: readonly number[], significance: number): ChangePoint[] {
  const found: ChangePoint[] = [];
  const stretches: [number, number][] = [[0, values.length]];
  for (let stretch = stretches.pop(); stretch !== undefined; stretch = stretches.pop()) {
    const [from, to] = stretch;
    const change = changeIn(values.slice(from, to), significance);
    if (change === null) continue;
    const index = from + change.index;
    found.push({ index, p: change.p });
    stretches.push([from, index], [index, to]);
  }
  return found.sort((a, b) => a.index - b.index);
}

function changeIn(values: readonly number[], significance: number): ChangePoint | null {
  const { index, statistic } = bestSplit(values);
  if (index === null) return null;
  const random = new SeededRandom(values.length);
  const drawn = [...values];
  let asFar = 1;
  for (let round = 0; round < PERMUTATIONS; round += 1) {
    shuffle(drawn, random);
    if (bestSplit(drawn).statistic >= statistic) asFar += 1;
    // Further rounds cannot make p small enough.
    if (asFar / (PERMUTATIONS + 1) > significance) return null;
  }
  return { index, p: asFar / (PERMUTATIONS + 1) };
}

/** The split with the greatest energy distance, weighted by the sizes of its sides (Q of the paper, with alpha 1). */
function bestSplit(values: readonly number[]): { readonly index: number | null; readonly statistic: number } {
  const n = values.length;
  let [within, between, beyond] = [0, 0, 0];
  for (let i = 0; i < n; i += 1) for (let j = i + 1; j < n; j += 1) beyond += distance(values, i, j);
  let best: { index: number | null; statistic: number } = { index: null, statistic: 0 };
  for (let split = 1; split <= n - LEAST_SIDE; split += 1) {
    // Moves one value from the right to the left, with its distances to both sides.
    let [left, right] = [0, 0];
    const moved = split - 1;
    for (let i = 0; i < moved; i += 1) left += distance(values, i, moved);
    for (let j = split; j < n; j += 1) right += distance(values, moved, j);
    within += left;
    beyond -= right;
    between += right - left;
    const [a, b] = [split, n - split];
    if (a < LEAST_SIDE) continue;
    const energy = (2 * between) / (a * b) - (2 * within) / (a * (a - 1)) - (2 * beyond) / (b * (b - 1));
    const statistic = ((a * b) / n) * energy;
    if (statistic > best.statistic) best = { index: split, statistic };
  }
  return best;
}

function distance(values: readonly number[], i: number, j: number): number {
  return Math.abs((values[i] as number) - (values[j] as number));
}

/** Fisher–Yates shuffle. */
function shuffle(values: number[], random: SeededRandom): void {
  for (let at = values.length - 1; at > 0; at -= 1) {
    const other = random.below(at + 1);
    [values[at], values[other]] = [values[other] as number, values[at] as number];
  }
}
