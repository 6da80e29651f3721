import { formatMs } from '../../core/units.ts';
import type { ComparedMetric } from './compared-metric.ts';
import { COMPARISON_BOUNDS, type ComparisonBounds } from './comparison-bounds.ts';
import { latencyMetrics } from './latency-metrics.ts';
import { comparableLatencies, FAILED, type PairedAnswers, TURNED_AWAY } from './paired-answers.ts';
import { shareMetric } from './share-metrics.ts';
import { statusDistance } from './status-distance.ts';

export type ComparisonVerdict = 'BETTER' | 'SAME' | 'WORSE' | 'INCONCLUSIVE';

/** A reason in words, and what to change. */
export interface ComparisonReason {
  readonly code: string;
  readonly text: string;
  readonly advice: string;
}

export interface PairsJudgement {
  readonly verdict: ComparisonVerdict;
  readonly metrics: readonly ComparedMetric[];
  readonly reasons: readonly ComparisonReason[];
  readonly notes: readonly ComparisonReason[];
}

/** Share of requests whose kind of status differs, beyond failures and 4xx: then the answers are not the same. */
const MIX_BOUND = 0.02;

/**
 * Judges B against A by the same requests: WORSE where any metric is, BETTER where one is and none is worse or
 * undecided for the worse, SAME where every required metric shows that nothing changed, else INCONCLUSIVE.
 * @param others doubts that the pairs do not show
 */
export function comparePairs(
  pairs: PairedAnswers,
  bounds: ComparisonBounds = COMPARISON_BOUNDS,
  others: readonly ComparisonReason[] = [],
): PairsJudgement {
  const { a, b } = comparableLatencies(pairs);
  const { aOutcome, bOutcome, count } = pairs;
  // What happened on neither side cannot differ by chance, and takes no part of the error.
  const shares = [FAILED, TURNED_AWAY].filter((each) => aOutcome.includes(each) || bOutcome.includes(each));
  const latencies = latencyMetrics(a, b, bounds, shares.length);
  const judged = latencies.filter(({ windows }) => windows > 0).length + shares.length;
  const shareOf = (name: 'failed' | 'turned_away', outcome: number) =>
    shareMetric(
      { name, a: (at) => aOutcome[at] === outcome, b: (at) => bOutcome[at] === outcome },
      count,
      bounds,
      Math.max(1, judged),
    );
  const metrics = [...latencies, shareOf('failed', FAILED), shareOf('turned_away', TURNED_AWAY)];
  const doubts = [
    ...others,
    ...mixDoubts(pairs),
    ...unansweredDoubts(latencies),
    ...metrics.filter((metric) => isOpen(metric, bounds)).map(openReason),
  ];
  const changes = (kind: 'worse' | 'better') =>
    metrics.filter(({ verdict }) => verdict === kind).map((metric) => changeReason(metric, kind));
  const worse = changes('worse');
  const better = changes('better');
  const notes = metrics
    .filter((metric) => metric.verdict === 'undecided' && !isOpen(metric, bounds))
    .map(openReason);
  if (worse.length > 0)
    return { verdict: 'WORSE', metrics, reasons: worse, notes: [...better, ...doubts, ...notes] };
  if (doubts.length > 0)
    return { verdict: 'INCONCLUSIVE', metrics, reasons: doubts, notes: [...better, ...notes] };
  return { verdict: better.length > 0 ? 'BETTER' : 'SAME', metrics, reasons: better, notes };
}

/** Undecided where SAME needs it, or where what was seen is worse by as much as SAME rules out. */
function isOpen({ verdict, required, ratio, unit }: ComparedMetric, { detect }: ComparisonBounds): boolean {
  if (verdict !== 'undecided') return false;
  return required || (unit === 'ms' && ratio !== null && ratio >= 1 + detect);
}

function mixDoubts(pairs: PairedAnswers): ComparisonReason[] {
  const distance = statusDistance(pairs);
  if (distance <= MIX_BOUND) return [];
  return [
    {
      code: 'status_mix',
      text: `${percentText(distance)} of the answers are of another kind than on the other side, failures and 4xx apart`,
      advice: 'See the statuses of both runs: what is answered differently cannot be compared by its time.',
    },
  ];
}

/** Two sides that are both down agree in nothing that could be compared. */
function unansweredDoubts(latencies: readonly ComparedMetric[]): ComparisonReason[] {
  const median = latencies.find(({ name }) => name === 'latency_p50');
  if (median?.a !== 'Infinity' || median.b !== 'Infinity') return [];
  return [
    {
      code: 'unanswered',
      text: 'most requests got no answer on either side: there is nothing to compare',
      advice: 'See the errors of both runs: reprise report.',
    },
  ];
}

function changeReason(metric: ComparedMetric, kind: 'worse' | 'better'): ComparisonReason {
  const text =
    metric.unit === 'ms'
      ? metric.a === 'Infinity' || metric.b === 'Infinity'
        ? `${metric.name} went from ${latencyText(metric.a)} to ${latencyText(metric.b)}`
        : `${metric.name} is ${changeText(metric.ratio ?? 1)}: ratio ${ratioText(metric.ratio)}, between ${ratioText(metric.interval?.[0])} and ${ratioText(metric.interval?.[1])}`
      : `${metric.name} went from ${percentText(metric.a)} to ${percentText(metric.b)} of the requests`;
  const advice =
    kind === 'worse' ? 'Look at the slowest and the failed requests of B: reprise report.' : 'Nothing to do.';
  return { code: `${metric.name}_${kind}`, text, advice };
}

function openReason(metric: ComparedMetric): ComparisonReason {
  const { name, pairs, interval90, pairsNeeded, windows } = metric;
  const why =
    windows === 0
      ? 'too few pairs'
      : metric.unit === 'ms'
        ? `the ratio lies between ${ratioText(interval90?.[0])} and ${ratioText(interval90?.[1])}`
        : 'more requests than by chance, in too few windows to be sure';
  return {
    code: windows === 0 ? 'too_few_pairs' : 'undecided',
    text: `${name} cannot be told from ${pairs} pairs: ${why}; about ${pairsNeeded} pairs are needed`,
    advice: 'Replay a longer window on both sides, or a lower multiplier, where queues vary less.',
  };
}

function latencyText(value: number | 'Infinity' | null): string {
  return value === 'Infinity' ? 'no answer' : value === null ? '–' : formatMs(value);
}

function changeText(ratio: number): string {
  const change = (ratio - 1) * 100;
  return `${Math.abs(change).toFixed(1)} % ${change > 0 ? 'longer' : 'shorter'}`;
}

export function ratioText(ratio: number | null | undefined): string {
  return ratio == null ? '–' : ratio.toFixed(3);
}

export function percentText(share: number | 'Infinity' | null): string {
  return typeof share === 'number' ? `${Number((share * 100).toPrecision(3))} %` : '–';
}
