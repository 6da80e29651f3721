import type { ComparedMetric, ComparisonBounds } from '../../documents/comparison.ts';
import {
  comparableItls,
  comparableLatencies,
  comparableTtfts,
  FAILED,
  type PairedAnswers,
  type PairedTimes,
  runEndsOf,
  type SideAnswers,
  STREAMED,
  TURNED_AWAY,
  withoutLag,
} from './pairs.ts';
import { checkedPairs, mismatchMetric, SMALL_PART, shareMetric } from './shares.ts';
import { type ComparedTimes, planTimes, timesMetric } from './times.ts';

/** The metrics of pairs before they are judged. The more metrics share the error, the wider are their intervals. */
interface MetricsPlan {
  /** Metrics that share the error. */
  readonly judged: number;
  /** Kinds of stream times that no pair has on both sides. */
  readonly unknown: readonly string[];
  /** @param judged number of metrics that share the error, including these */
  readonly metricsOf: (bounds: ComparisonBounds, judged: number) => ComparedMetric[];
}

export function planMetrics(pairs: PairedAnswers): MetricsPlan {
  const { a, b } = pairs;
  const runs = runEndsOf(pairs);
  const checked = checkedPairs(pairs);
  // An outcome that neither side has cannot differ by chance, so it gets no share of the error.
  const outcomes = [FAILED, TURNED_AWAY].filter(
    (each) => a.outcome.includes(each) || b.outcome.includes(each),
  );
  const [latency, ...tokens] = comparedTimes(pairs);
  const isKnown = ({ a: times }: ComparedTimes) => times.length > 0;
  const times = [latency, ...tokens.filter(isKnown)].flatMap(planTimes);
  const shares = outcomes.length + (checked.length > 0 ? 1 : 0);
  const metricsOf = (bounds: ComparisonBounds, judged: number) => {
    const shareOf = (name: 'failed' | 'turned_away', outcome: number) => {
      const isOutcome = (side: SideAnswers) => (at: number) => side.outcome[at] === outcome;
      return shareMetric({ name, a: isOutcome(a), b: isOutcome(b) }, runs, bounds, judged);
    };
    return [
      ...times.map((each) => timesMetric(each, bounds, judged)),
      shareOf('failed', FAILED),
      shareOf('turned_away', TURNED_AWAY),
      ...(checked.length === 0 ? [] : [mismatchMetric(pairs, checked, bounds, judged)]),
    ].map((metric) => ({ ...metric, ...lengthNeeded(metric, runs.length, spanOf(pairs)) }));
  };
  return {
    judged: Math.max(1, times.filter(({ cut }) => cut !== null).length + shares),
    unknown: tokens.filter((each) => !isKnown(each)).map(({ name }) => name),
    metricsOf,
  };
}

/** Time from the first pair to the last, seconds; 0 if unknown. */
function spanOf({ count, offsetNs }: PairedAnswers): number {
  return count < 2 || offsetNs === undefined ? 0 : (offsetNs[count - 1]! - offsetNs[0]!) / 1e9;
}

/** How long a run, or how many runs, this traffic needs to produce the missing pairs; null if unknown. */
function lengthNeeded({ pairs, pairsNeeded, windows }: ComparedMetric, runs: number, spanS: number) {
  const times = pairsNeeded === null || pairs === 0 ? null : pairsNeeded / pairs;
  if (runs > 1) return { runsNeeded: times === null || windows === 0 ? null : Math.ceil(runs * times) };
  return { windowNeededS: times === null || spanS <= 0 ? null : spanS * times };
}

/** Latencies of all pairs. For streams also times of tokens, which SAME needs unless few pairs have them. */
function comparedTimes(pairs: PairedAnswers): [latency: ComparedTimes, ...tokens: ComparedTimes[]] {
  const { a, b, count } = pairs;
  const isLate = ({ lagNs }: SideAnswers) => lagNs.some((each) => each > 0);
  const onTime = isLate(a) || isLate(b) ? withoutLag(pairs) : null;
  const ofStreams = (
    name: 'ttft' | 'itl_mean',
    times: PairedTimes,
    lessLag: PairedTimes | null,
  ): ComparedTimes => ({ name, ...times, lessLag, required: times.a.length >= SMALL_PART * count });
  const latency: ComparedTimes = {
    name: 'latency',
    ...comparableLatencies(pairs),
    lessLag: onTime && comparableLatencies(onTime),
    required: true,
  };
  const hasStreams = ({ traits }: SideAnswers) => traits.some((each) => (each & STREAMED) > 0);
  if (!hasStreams(a) && !hasStreams(b)) return [latency];
  return [
    latency,
    ofStreams('ttft', comparableTtfts(pairs), onTime && comparableTtfts(onTime)),
    ofStreams('itl_mean', comparableItls(pairs), null),
  ];
}
