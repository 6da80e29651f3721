import { formatMs, formatShare } from '../../core/units.ts';
import type { ComparedMetric, ComparisonBounds, ComparisonVerdict } from '../../documents/comparison.ts';
import { COMPARISON_BOUNDS, SMALL_PART } from './comparison-bounds.ts';
import { type ComparedTimes, latencyMetrics } from './latency-metrics.ts';
import { checkedPairs, mismatchMetric } from './mismatch-metric.ts';
import {
  ANSWERED,
  comparableItls,
  comparableLatencies,
  comparableTtfts,
  FAILED,
  latenciesLessLag,
  type PairedAnswers,
  type PairedTimes,
  STREAMED,
  TURNED_AWAY,
  ttftsLessLag,
  WHOLE,
} from './paired-answers.ts';
import { shareMetric } from './share-metrics.ts';
import { statusDistance } from './status-distance.ts';

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
  /** Kinds of times that streams have, and of which no pair knows both sides. */
  readonly unknown: readonly string[];
}

/** Share of requests whose kind of status differs, beyond failures and what was turned away: then the answers are not the same. */
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
  const { aOutcome, bOutcome, count } = pairs;
  const checked = checkedPairs(pairs);
  // What happened on neither side cannot differ by chance, and takes no part of the error.
  const outcomes = [FAILED, TURNED_AWAY].filter((each) => aOutcome.includes(each) || bOutcome.includes(each));
  const shares = outcomes.length + (checked.length > 0 ? 1 : 0);
  const kinds = comparedTimes(pairs);
  const isKnown = ({ name, a }: ComparedTimes) => name === 'latency' || a.length > 0;
  const unknown = kinds.filter((kind) => !isKnown(kind)).map(({ name }) => name);
  const latencies = latencyMetrics(kinds.filter(isKnown), bounds, shares);
  const judged = Math.max(1, latencies.filter(({ windows }) => windows > 0).length + shares);
  const shareOf = (name: 'failed' | 'turned_away', outcome: number) =>
    shareMetric(
      { name, a: (at) => aOutcome[at] === outcome, b: (at) => bOutcome[at] === outcome },
      count,
      bounds,
      judged,
    );
  const metrics = [
    ...latencies,
    shareOf('failed', FAILED),
    shareOf('turned_away', TURNED_AWAY),
    ...(checked.length === 0 ? [] : [mismatchMetric(pairs, checked, bounds, judged)]),
  ];
  const unanswered = unansweredDoubts(latencies);
  const doubts = [
    ...others,
    ...mixDoubts(pairs),
    ...streamDoubts(pairs),
    ...unanswered,
    // Of what neither side answers nothing else is worth saying.
    ...(unanswered.length > 0 ? [] : metrics.filter((metric) => isOpen(metric, bounds)).map(openReason)),
  ];
  const changes = (kind: 'worse' | 'better') =>
    metrics.filter(({ verdict }) => verdict === kind).map((metric) => changeReason(metric, kind));
  const worse = changes('worse');
  const better = changes('better');
  const notes = [
    ...metrics.filter((metric) => metric.verdict === 'undecided' && !isOpen(metric, bounds)).map(openReason),
    ...unknown.map(unknownNote),
  ];
  if (worse.length > 0)
    return { verdict: 'WORSE', metrics, reasons: worse, notes: [...better, ...doubts, ...notes], unknown };
  if (doubts.length > 0)
    return { verdict: 'INCONCLUSIVE', metrics, reasons: doubts, notes: [...better, ...notes], unknown };
  return { verdict: better.length > 0 ? 'BETTER' : 'SAME', metrics, reasons: better, notes, unknown };
}

/** Latencies of all pairs; of streams their tokens too, which SAME needs where they are no small part. */
function comparedTimes(pairs: PairedAnswers): ComparedTimes[] {
  const tokens = (
    name: 'ttft' | 'itl_mean',
    times: PairedTimes,
    lessLag: ComparedTimes['lessLag'],
  ): ComparedTimes => ({
    name,
    ...times,
    lessLag,
    required: times.a.length >= SMALL_PART * pairs.count,
  });
  const isLate = (lags: Float32Array) => lags.some((each) => each > 0);
  const hasLag = isLate(pairs.aLagNs) || isLate(pairs.bLagNs);
  const latency: ComparedTimes = {
    name: 'latency',
    ...comparableLatencies(pairs),
    lessLag: hasLag ? () => latenciesLessLag(pairs) : null,
    required: true,
  };
  const hasStreams = (traits: Uint8Array) => traits.some((each) => (each & STREAMED) > 0);
  if (!hasStreams(pairs.aTraits) && !hasStreams(pairs.bTraits)) return [latency];
  return [
    latency,
    tokens('ttft', comparableTtfts(pairs), hasLag ? () => ttftsLessLag(pairs) : null),
    tokens('itl_mean', comparableItls(pairs), null),
  ];
}

/** Undecided where SAME needs it, or where what was seen is worse by as much as SAME rules out. */
function isOpen(metric: ComparedMetric, { detect }: ComparisonBounds): boolean {
  const { verdict, required, ratio, ratioLessLag, unit } = metric;
  if (verdict !== 'undecided') return false;
  return required || (unit === 'ms' && Math.max(ratio ?? 0, ratioLessLag ?? 0) >= 1 + detect);
}

function mixDoubts(pairs: PairedAnswers): ComparisonReason[] {
  const distance = statusDistance(pairs);
  if (distance <= MIX_BOUND) return [];
  return [
    {
      code: 'status_mix',
      text: `${percentText(distance)} of the answers are of another kind than on the other side, failures, 4xx and 3xx apart`,
      advice: 'See the statuses of both runs: what is answered differently cannot be compared by its time.',
    },
  ];
}

/** An answer that comes whole has no first token: those of a stream cannot be held against it. */
function streamDoubts({ count, aOutcome, bOutcome, aTraits, bTraits }: PairedAnswers): ComparisonReason[] {
  let [answered, apart] = [0, 0];
  for (let at = 0; at < count; at++) {
    if (aOutcome[at] !== ANSWERED || bOutcome[at] !== ANSWERED) continue;
    const either = aTraits[at]! | bTraits[at]!;
    answered += 1;
    if ((either & STREAMED) > 0 && (either & WHOLE) > 0) apart += 1;
  }
  if (apart <= MIX_BOUND * answered) return [];
  return [
    {
      code: 'streams_differ',
      text: `${percentText(apart / answered)} of the answers came piece by piece on one side, and whole on the other`,
      advice: 'See how both builds answer what asks for a stream: whole answers have no first token.',
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
      : `${metric.name} went from ${percentText(metric.a)} to ${percentText(metric.b)} of the ${metric.name === 'mismatched' ? 'answers' : 'requests'}`;
  const advice =
    kind === 'better'
      ? 'Nothing to do.'
      : metric.name === 'mismatched'
        ? MISMATCH_ADVICE
        : 'Look at the slowest and the failed requests of B: reprise report.';
  return { code: `${metric.name}_${kind}`, text, advice };
}

const OPEN_ADVICE = 'Replay a longer window on both sides, or a lower multiplier, where queues vary less.';
const MISMATCH_ADVICE =
  'See the mismatches of B by kind: reprise report. What may vary is left out by --check-ignore, or allowed by --check-tolerance.';

function openReason(metric: ComparedMetric): ComparisonReason {
  const { name, pairs, interval90, pairsNeeded, windows } = metric;
  if (metric.doubt === 'no_answer') return blindReason(metric);
  if (metric.doubt === 'our_lag') return lagReason(metric);
  const isMismatch = name === 'mismatched' && windows > 0;
  const why =
    windows === 0
      ? 'too few pairs'
      : isMismatch
        ? `B answers otherwise what A answered as recorded, ${percentText(metric.b)} for ${percentText(metric.a)}`
        : metric.unit === 'ms'
          ? `the ratio lies between ${ratioText(interval90?.[0])} and ${ratioText(interval90?.[1])}`
          : `the difference lies between ${pointsText(interval90?.[0])} and ${pointsText(interval90?.[1])}`;
  return {
    code: windows === 0 ? 'too_few_pairs' : isMismatch ? 'answers_differ' : 'undecided',
    text: `${name} cannot be told from ${pairs} pairs: ${why}; about ${pairsNeeded} pairs are needed`,
    advice: isMismatch ? MISMATCH_ADVICE : OPEN_ADVICE,
  };
}

function blindReason({ name, windows, blindWindows }: ComparedMetric): ComparisonReason {
  return {
    code: 'no_answer',
    text: `${name} cannot be told: in ${blindWindows} of ${windows} windows neither side has an answer at this percentile`,
    advice:
      'See the failures of both runs: reprise report. Replayed without what fails (--path, --status), the rest can be compared.',
  };
}

function lagReason({ name, ratio, ratioLessLag }: ComparedMetric): ComparisonReason {
  return {
    code: 'our_lag',
    text: `${name} cannot be told for how late we sent: its ratio is ${ratioText(ratio)} from the planned instants, and ${ratioText(ratioLessLag)} from when we sent`,
    advice:
      'Give the generators of both runs idle cores of their own, or replay both at a smaller multiplier.',
  };
}

function unknownNote(name: string): ComparisonReason {
  return {
    code: `${name}_unknown`,
    text: `${name} is not compared: no stream has it on both sides`,
    advice:
      "A recording holds no times between tokens, and another tool's file or a coded stream no first token either.",
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

/** A difference of shares, in percentage points. */
export function pointsText(difference: number | null | undefined): string {
  if (difference == null) return '–';
  return `${difference > 0 ? '+' : ''}${Number((difference * 100).toFixed(2))} pp`;
}

export function percentText(share: number | 'Infinity' | null): string {
  return typeof share === 'number' ? formatShare(share) : '–';
}
