import type {
  Figure,
  HistoryChange,
  HistoryDocument,
  HistoryMetric,
  HistoryRun,
  TestHistory,
} from '../../documents/history.ts';
import { changePoints } from './change-points.ts';

/** Chance of naming any change in a test that has none, all of its metrics together. */
const SIGNIFICANCE = 0.05;
/** Of fewer runs no permutation test can prove a change of one of twenty metrics. */
export const LEAST_RUNS = 12;
/** Changes are looked for in this many of the latest runs. The time of the search grows with the square of it. */
export const MOST_RUNS = 200;

/** Puts the runs of a history together by test, and seeks the runs where a metric changed its level. */
export function buildHistory(file: string, runs: readonly HistoryRun[]): HistoryDocument {
  const byTest = Map.groupBy(runs, ({ test }) => test);
  return {
    schemaVersion: 1,
    kind: 'history',
    file,
    significance: SIGNIFICANCE,
    tests: [...byTest].map(([test, own]) => testHistory(test, own.slice(-MOST_RUNS))),
  };
}

function testHistory(test: string, runs: readonly HistoryRun[]): TestHistory {
  // The figures of an undecided run are not those of the load that it names.
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
      return { name, unit, values, changes: enough ? changesOf(judged, name, significance) : [] };
    }),
  };
}

function valueIn({ figures }: HistoryRun, name: string): number | null {
  return figures.find((figure) => figure.name === name)?.value ?? null;
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
