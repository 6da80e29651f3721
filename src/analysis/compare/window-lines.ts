import type { WindowLine } from '../../documents/comparison.ts';
import { comparableLatencies, type PairedAnswers } from './paired-answers.ts';
import { percentileOf } from './percentile-change.ts';
import { windowEdges } from './window-interval.ts';

const LINES = 20;

/** Latencies of both sides over the plan, in at most twenty stretches of equally many pairs: to be looked at. */
export function windowLines(pairs: PairedAnswers & { readonly offsetNs: Float64Array }): WindowLine[] {
  const count = Math.min(LINES, pairs.count);
  return Array.from({ length: count }, (_, at) => {
    const [from, to] = windowEdges(pairs.count, count, at);
    const { a, b } = comparableLatencies(partOf(pairs, from, to));
    const both = (percent: number) => ({ a: ms(percentileOf(a, percent)), b: ms(percentileOf(b, percent)) });
    const fromS = (pairs.offsetNs[from]! - pairs.offsetNs[0]!) / 1e9;
    return { fromS, pairs: to - from, p50: both(50), p95: both(95) };
  });
}

function partOf(pairs: PairedAnswers, from: number, to: number) {
  return {
    count: to - from,
    aNs: pairs.aNs.subarray(from, to),
    bNs: pairs.bNs.subarray(from, to),
    aOutcome: pairs.aOutcome.subarray(from, to),
    bOutcome: pairs.bOutcome.subarray(from, to),
  };
}

function ms(ns: number): number | null {
  return Number.isFinite(ns) ? ns / 1e6 : null;
}
