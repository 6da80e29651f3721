import { formatMs, formatShare } from '../../core/units.ts';
import type {
  ComparedMetric,
  ComparisonBounds,
  ComparisonVerdict,
  FactDifference,
} from '../../documents/comparison.ts';
import type { CheckDocument, ReplayDocument } from '../../documents/replay.ts';
import { isStoppedByFailures } from '../verdict/run-context.ts';
import { COMPARISON_BOUNDS, SMALL_PART } from './metric.ts';
import {
  ANSWERED,
  CHECKED,
  comparableItls,
  comparableLatencies,
  comparableTtfts,
  FAILED,
  latenciesLessLag,
  type PairCounts,
  type PairedAnswers,
  type PairedTimes,
  STREAMED,
  TURNED_AWAY,
  ttftsLessLag,
  WHOLE,
} from './pairs.ts';
import { checkedPairs, mismatchMetric, shareMetric, statusDistance } from './shares.ts';
import { type ComparedTimes, latencyMetrics } from './times.ts';

/** A reason in words, and what to change. */
export interface ComparisonReason {
  readonly code: string;
  readonly text: string;
  readonly advice: string;
}

interface PairsJudgement {
  readonly verdict: ComparisonVerdict;
  readonly metrics: readonly ComparedMetric[];
  readonly reasons: readonly ComparisonReason[];
  readonly notes: readonly ComparisonReason[];
  /** Kinds of stream times that no pair has on both sides. */
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

/** A difference that requests taken one by one would show only once in a hundred by chance. */
const CLEAR_Z = 2.576;

/** What a side is known to have answered: a recording agrees with itself, and so is a run that was not checked taken. */
type CheckedSide = Pick<ReplayDocument, 'check'> | null;

/**
 * Answers of B that differ from the recorded ones more often than those of A: what answers something else may be
 * faster for that alone.
 * @param floor a share that changes by less is the same
 */
export function answerDoubts(a: CheckedSide, b: CheckedSide, floor: number): ComparisonReason[] {
  const [before, after] = [shareOf(a?.check), shareOf(b?.check)];
  const difference = after.share - before.share;
  if (difference < floor || difference <= CLEAR_Z * Math.sqrt(before.variance + after.variance)) return [];
  const known = a === null || a.check != null ? `, of A ${percentText(before.share)}` : '; A was not checked';
  return [
    {
      code: 'answers_differ',
      text: `${percentText(after.share)} of the answers of B differ from the recorded ones${known}`,
      advice:
        'See the mismatches of B by kind: reprise report. What is answered differently cannot be compared by its time.',
    },
  ];
}

/** For two runs: if A was checked and B was not, B's answers are unknown. */
export function uncheckedNotes({ aTraits, bTraits }: PairedAnswers): ComparisonReason[] {
  const isChecked = (traits: Uint8Array) => traits.some((each) => (each & CHECKED) > 0);
  if (!isChecked(aTraits) || isChecked(bTraits)) return [];
  return [
    {
      code: 'answers_unchecked',
      text: 'the answers of A were held against the recorded ones, and those of B were not',
      advice: 'Replay B with --check as well: a build that answers otherwise may be faster for that alone.',
    },
  ];
}

function shareOf(check: CheckDocument | null | undefined): {
  readonly share: number;
  readonly variance: number;
} {
  const share = check?.rate ?? 0;
  return { share, variance: (share * (1 - share)) / Math.max(1, check?.checked ?? 0) };
}

/** Half of what lies beyond the 95th percentile, which SAME needs: were they all slow, it would still be seen. */
const MOST_LEFT_OUT = 0.025;

/**
 * Requests that were left out of one side alone. Who cancels after the recorded patience cancels more of what is slow:
 * what is left would look faster for it.
 */
export function leftOutDoubts({ pairs, leftOut, leftOutOfA, leftOutOfB }: PairCounts): ComparisonReason[] {
  const share = (count: number) => count / Math.max(1, pairs + leftOut);
  return [
    { side: 'A', ...leftOutOfA },
    { side: 'B', ...leftOutOfB },
  ]
    .filter(({ all }) => share(all) > MOST_LEFT_OUT)
    .map(({ side, all, late }) => ({
      code: 'left_out',
      text: `${percentText(share(all))} of the requests were left out of ${side} alone (${percentText(share(late))} sent late, ${percentText(share(all - late))} cancelled, not reached or open at the end): what is left may not stand for them`,
      advice:
        late > all / 2
          ? `Give the generator of ${side} idle cores of its own, or replay both at a smaller multiplier.`
          : 'Replay both with --cancels wait, to their ends, and with a --drain-deadline as long as answers take.',
    }));
}

/** Options of a run that decide what is sent and when. The words are those of the run's `options`. */
const PLAN_OPTIONS = [
  'fromUs', 'toUs', 'window', 'filters', 'multiplier', 'scaling', 'stages', 'targetShare', 'seed', 'jitterMs',
  'perturb', 'shard', 'maxRequests', 'connections', 'warmupMs', 'cancels', 'pinOutputLength', 'requestUsage',
  'shiftTime', 'maxInFlight', 'removedHeaders', 'pathMappings',
] as const; // biome-ignore format: a list of words
/**
 * The same, of which older runs say nothing: what one side does not know is no difference. How long an answer is
 * waited for, and what is refused, decide what counts as failed.
 */
const LATER_OPTIONS = [
  'sessionOrder', 'timeoutMs', 'connectTimeoutMs', 'firstByteTimeoutMs', 'idleTimeoutMs', 'drainDeadlineMs',
  'maxRatePerSecond', 'maxInFlightBytes', 'host', 'addedHeaders',
] as const; // biome-ignore format: a list of words
/** Kept short: a list of windows can be long. */
const MAX_TEXT = 160;

/** Causes in a run's own judgement that are ours, so that its figures say nothing of the target. */
const OUR_CAUSES: ReadonlySet<string> = new Set([
  'interrupted',
  'nothing_planned',
  'achieved_below',
  'arrivals_off_plan',
  'in_flight_cap',
  'shards_missing',
  'shards_apart',
]);

/** Where the guard stopped a run, these are the target's doing, and what it did answer counts against it. */
const CAUSED_BY_FAILURES: ReadonlySet<string> = new Set(['interrupted', 'achieved_below']);

/** What two runs do not have in common of what they must. */
export function runFactDifferences(a: ReplayDocument, b: ReplayDocument): FactDifference[] {
  const facts: [string, unknown, unknown][] = [
    ['capture', nameOf(a.capture), nameOf(b.capture)],
    ...PLAN_OPTIONS.map((name): [string, unknown, unknown] => [name, a.options[name], b.options[name]]),
    ...LATER_OPTIONS.filter((name) => name in a.options && name in b.options).map(
      (name): [string, unknown, unknown] => [name, statedOf(a, name), statedOf(b, name)],
    ),
  ];
  // A run that was not checked is held to nothing; two that were, to the same.
  const [checkA, checkB] = [a.options['check'] ?? null, b.options['check'] ?? null];
  return differing(checkA === null || checkB === null ? facts : [...facts, ['check', checkA, checkB]]);
}

/** Of headers that are set on every request the names: a run keeps no values, because they may be credentials. */
function statedOf({ options }: ReplayDocument, name: string): unknown {
  const value = options[name];
  if (name !== 'addedHeaders' || !Array.isArray(value)) return value;
  return [...new Set(value.map((each) => String(each).toLowerCase()))].sort();
}

/** Where a capture lay, and how it was named, is another matter on each machine: its requests tell which one it is. */
function nameOf(capture: string): string {
  return capture.split(/[/\\]+/).findLast((part) => part !== '' && part !== '.') ?? capture;
}

/** What keeps a run, which is B, from being held against its recording. */
export function recordingFactDifferences(run: ReplayDocument): FactDifference[] {
  return differing([
    ['multiplier', 1, run.options['multiplier'] ?? run.multiplier],
    ['stages', null, run.options['stages'] ?? null],
    ['targetShare', 1, run.options['targetShare'] ?? 1],
    ['shard', null, run.options['shard'] ?? null],
  ]);
}

/** Causes on our own side that keep a run from being compared. */
export function runDoubts(
  side: 'A' | 'B',
  { reasons, notes, interrupted }: ReplayDocument,
): ComparisonReason[] {
  const isOurs = (code: string) =>
    OUR_CAUSES.has(code) && !(isStoppedByFailures(interrupted) && CAUSED_BY_FAILURES.has(code));
  return [...reasons, ...notes]
    .filter(({ code, severity }) => severity === 'doubt' && isOurs(code))
    .map(({ code, text, advice }) => ({
      code: `run_${side.toLowerCase()}_${code}`,
      text: `${side} is no valid run: ${text}`,
      advice,
    }));
}

export function differing(facts: readonly (readonly [string, unknown, unknown])[]): FactDifference[] {
  return facts.flatMap(([fact, a, b]) => {
    const [textA, textB] = [textOf(a), textOf(b)];
    return textA === textB ? [] : [{ fact, a: shortened(textA), b: shortened(textB) }];
  });
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null);
}

function shortened(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}
