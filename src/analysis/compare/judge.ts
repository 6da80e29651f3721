import type {
  ComparedMetric,
  ComparisonBounds,
  ComparisonDocument,
  FactDifference,
} from '../../documents/comparison.ts';
import type { CheckDocument, ReplayDocument } from '../../documents/replay.ts';
import { AnswerLikeness, differencesIn } from '../run/likeness.ts';
import { isStoppedByFailures, JUDGEMENT_BOUNDS } from '../verdict/run-context.ts';
import { type ComparisonReason, comparisonReason } from './comparison-reasons.ts';
import {
  ANSWERED,
  CHECKED,
  comparableItls,
  comparableLatencies,
  comparableTtfts,
  FAILED,
  type PairCounts,
  type PairedAnswers,
  type PairedTimes,
  type SideAnswers,
  STREAMED,
  TELLS_ERROR,
  TURNED_AWAY,
  WHOLE,
  withoutLag,
} from './pairs.ts';
import { checkedPairs, mismatchMetric, SMALL_PART, shareMetric, statusDistance } from './shares.ts';
import { type ComparedTimes, latencyMetrics } from './times.ts';

export const COMPARISON_BOUNDS: ComparisonBounds = Object.freeze({
  floor: 0.05,
  detect: 0.1,
  failureFloor: 0.005,
});

interface PairsJudgement extends Pick<ComparisonDocument, 'verdict' | 'reasons' | 'notes'> {
  readonly metrics: readonly ComparedMetric[];
  /** Kinds of stream times that no pair has on both sides. */
  readonly unknown: readonly string[];
}

/**
 * If the kind of status differs for more than this share of requests, besides failures and requests turned away, the
 * answers are not the same.
 */
const MIX_BOUND = 0.02;

/**
 * Judges B against A by the same requests: WORSE if any metric is worse. BETTER if one is better and no other is
 * worse or may be. SAME if every required metric shows that nothing changed. Otherwise INCONCLUSIVE.
 * @param others doubts that the pairs do not show
 */
export function comparePairs(
  pairs: PairedAnswers,
  bounds: ComparisonBounds = COMPARISON_BOUNDS,
  others: readonly ComparisonReason[] = [],
): PairsJudgement {
  const { a, b, count } = pairs;
  const checked = checkedPairs(pairs);
  // An outcome that neither side has cannot differ by chance, so it takes no part of the error.
  const outcomes = [FAILED, TURNED_AWAY].filter(
    (each) => a.outcome.includes(each) || b.outcome.includes(each),
  );
  const shares = outcomes.length + (checked.length > 0 ? 1 : 0);
  const kinds = comparedTimes(pairs);
  const isKnown = (times: ComparedTimes) => times.name === 'latency' || times.a.length > 0;
  const unknown = kinds.filter((kind) => !isKnown(kind)).map(({ name }) => name);
  const latencies = latencyMetrics(kinds.filter(isKnown), bounds, shares);
  const judged = Math.max(1, latencies.filter(({ windows }) => windows > 0).length + shares);
  const shareOf = (name: 'failed' | 'turned_away', outcome: number) => {
    const isOutcome = (side: SideAnswers) => (at: number) => side.outcome[at] === outcome;
    return shareMetric({ name, a: isOutcome(a), b: isOutcome(b) }, count, bounds, judged);
  };
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
    ...likenessDoubts(pairs),
    ...unanswered,
    // If neither side answers, the other reasons add nothing.
    ...(unanswered.length > 0 ? [] : metrics.filter((metric) => isOpen(metric, bounds)).map(openReason)),
  ];
  const changes = (kind: 'worse' | 'better') =>
    metrics
      .filter(({ verdict }) => verdict === kind)
      .map((metric) => comparisonReason('changed', { metric, kind }, `${metric.name}_${kind}`));
  const worse = changes('worse');
  const better = changes('better');
  const notes = [
    ...metrics.filter((metric) => metric.verdict === 'undecided' && !isOpen(metric, bounds)).map(openReason),
    ...unknown.map((name) => comparisonReason('not_compared', { name }, `${name}_unknown`)),
  ];
  if (worse.length > 0)
    return { verdict: 'WORSE', metrics, reasons: worse, notes: [...better, ...doubts, ...notes], unknown };
  if (doubts.length > 0)
    return { verdict: 'INCONCLUSIVE', metrics, reasons: doubts, notes: [...better, ...notes], unknown };
  return { verdict: better.length > 0 ? 'BETTER' : 'SAME', metrics, reasons: better, notes, unknown };
}

/** Latencies of all pairs. For streams also times of tokens, which SAME needs unless few pairs have them. */
function comparedTimes(pairs: PairedAnswers): ComparedTimes[] {
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

/** Undecided although SAME needs it, or undecided with an observed change that SAME rules out. */
function isOpen(metric: ComparedMetric, { detect }: ComparisonBounds): boolean {
  const { verdict, required, ratio, ratioLessLag, unit } = metric;
  if (verdict !== 'undecided') return false;
  return required || (unit === 'ms' && Math.max(ratio ?? 0, ratioLessLag ?? 0) >= 1 + detect);
}

function mixDoubts(pairs: PairedAnswers): ComparisonReason[] {
  const distance = statusDistance(pairs);
  return distance <= MIX_BOUND ? [] : [comparisonReason('status_mix', { distance })];
}

/** An answer that comes whole has no first token, so it cannot be compared with that of a stream. */
function streamDoubts({ count, a, b }: PairedAnswers): ComparisonReason[] {
  let [answered, apart] = [0, 0];
  for (let at = 0; at < count; at++) {
    if (a.outcome[at] !== ANSWERED || b.outcome[at] !== ANSWERED) continue;
    const either = a.traits[at]! | b.traits[at]!;
    answered += 1;
    if ((either & STREAMED) > 0 && (either & WHOLE) > 0) apart += 1;
  }
  if (apart <= MIX_BOUND * answered) return [];
  return [comparisonReason('streams_differ', { share: apart / answered })];
}

/** By route: a build whose answers are empty, errors, or of another size is not faster for being so. */
function likenessDoubts({ count, routes, a, b }: PairedAnswers): ComparisonReason[] {
  const likeness = new AnswerLikeness();
  for (let at = 0; at < count; at++) {
    if (a.outcome[at] !== ANSWERED || b.outcome[at] !== ANSWERED) continue;
    const route = routes?.names[routes.of[at]!] ?? null;
    likeness.add(route, comparedAnswer(a, at), comparedAnswer(b, at));
  }
  const differences = likeness.figures().flatMap((each) => differencesIn(each, JUDGEMENT_BOUNDS, false, 'A'));
  return differences.length === 0 ? [] : [comparisonReason('not_comparable', { differences })];
}

function comparedAnswer({ status, bytes, traits }: SideAnswers, at: number) {
  const trait = traits[at]!;
  const size = bytes[at]!;
  return {
    status: status[at]!,
    bytes: Number.isNaN(size) ? null : size,
    // Where they came whole on one side is said by itself.
    ...{ streamed: null, tookNs: null },
    tellsError: (trait & TELLS_ERROR) > 0,
  };
}

/** If both sides are down, nothing can be compared. */
function unansweredDoubts(latencies: readonly ComparedMetric[]): ComparisonReason[] {
  const median = latencies.find(({ name }) => name === 'latency_p50');
  if (median?.a !== 'Infinity' || median.b !== 'Infinity') return [];
  return [comparisonReason('unanswered', null)];
}

function openReason(metric: ComparedMetric): ComparisonReason {
  if (metric.doubt !== null) return comparisonReason(metric.doubt, metric);
  if (metric.windows === 0) return comparisonReason('too_few_pairs', metric);
  if (metric.name === 'mismatched') return comparisonReason('mismatches_undecided', metric, 'answers_differ');
  return comparisonReason('undecided', metric);
}

/** Independent requests would show such a difference by chance only once in a hundred times. */
const CLEAR_Z = 2.576;

/** The check of a side. A recording agrees with itself, and a run without a check is treated alike. */
type CheckedSide = Pick<ReplayDocument, 'check'> | null;

/**
 * A doubt if B's answers differ from the recorded ones more often than A's: a build that answers differently may be
 * faster for that alone.
 * @param floor a share that changes by less is the same
 */
export function answerDoubts(a: CheckedSide, b: CheckedSide, floor: number): ComparisonReason[] {
  const [before, after] = [mismatchShare(a?.check), mismatchShare(b?.check)];
  const difference = after.share - before.share;
  if (difference < floor || difference <= CLEAR_Z * Math.sqrt(before.variance + after.variance)) return [];
  const isKnown = a === null || a.check != null;
  return [comparisonReason('answers_differ', { before: isKnown ? before.share : null, after: after.share })];
}

/** For two runs: if A was checked and B was not, B's answers are unknown. */
export function uncheckedNotes({ a, b }: PairedAnswers): ComparisonReason[] {
  const isChecked = ({ traits }: SideAnswers) => traits.some((each) => (each & CHECKED) > 0);
  return isChecked(a) && !isChecked(b) ? [comparisonReason('b_unchecked', null, 'answers_unchecked')] : [];
}

function mismatchShare(check: CheckDocument | null | undefined) {
  const share = check?.rate ?? 0;
  return { share, variance: (share * (1 - share)) / Math.max(1, check?.checked ?? 0) };
}

/** Half of the requests beyond the 95th percentile, which SAME needs: a change would show even if all of them were slow. */
const MOST_LEFT_OUT = 0.025;

/**
 * Doubts about requests that were left out of one side alone. A run that cancels after the recorded patience cancels
 * more of the slow requests, so the rest looks faster.
 */
export function leftOutDoubts({ pairs, leftOut, leftOutOfA, leftOutOfB }: PairCounts): ComparisonReason[] {
  const share = (count: number) => count / Math.max(1, pairs + leftOut);
  return [
    { side: 'A', ...leftOutOfA },
    { side: 'B', ...leftOutOfB },
  ]
    .filter(({ all }) => share(all) > MOST_LEFT_OUT)
    .map(({ side, all, late }) => comparisonReason('left_out', { side, all: share(all), late: share(late) }));
}

/**
 * Options of a run that decide what is sent and when, and what counts as failed. The words are those of the run's
 * `options`.
 */
const PLAN_OPTIONS = [
  'fromUs', 'toUs', 'window', 'filters', 'multiplier', 'scaling', 'stages', 'targetShare', 'seed', 'jitterMs',
  'perturb', 'shard', 'maxRequests', 'connections', 'warmupMs', 'cancels', 'pinOutputLength', 'requestUsage',
  'shiftTime', 'maxInFlight', 'removedHeaders', 'pathMappings', 'sessionOrder', 'timeoutMs', 'connectTimeoutMs',
  'firstByteTimeoutMs', 'idleTimeoutMs', 'drainDeadlineMs', 'maxRatePerSecond', 'maxInFlightBytes', 'host',
  'addedHeaders', 'faults',
] as const; // biome-ignore format: a list of words
/** Kept short: a list of windows can be long. */
const MAX_TEXT = 160;

/** Doubts of a run for causes of ours: its figures say nothing about the target. */
const OUR_CAUSES: ReadonlySet<string> = new Set([
  'interrupted',
  'nothing_planned',
  'achieved_below',
  'arrivals_off_plan',
  'in_flight_cap',
  'shards_missing',
  'shards_apart',
]);

/** If the guard stopped a run, its target caused these, and they count against it. */
const CAUSED_BY_FAILURES: ReadonlySet<string> = new Set(['interrupted', 'achieved_below']);

/** Facts that two runs must share but do not. */
export function runFactDifferences(a: ReplayDocument, b: ReplayDocument): FactDifference[] {
  const facts: [string, unknown, unknown][] = [
    ['capture', nameOf(a.capture), nameOf(b.capture)],
    ...PLAN_OPTIONS.map((name): [string, unknown, unknown] => [name, statedOf(a, name), statedOf(b, name)]),
  ];
  // If both runs were checked, both must have been checked alike.
  const [checkA, checkB] = [a.options['check'] ?? null, b.options['check'] ?? null];
  return differing(checkA === null || checkB === null ? facts : [...facts, ['check', checkA, checkB]]);
}

/** Names alone for added headers: a run keeps no values, because they may be credentials. */
function statedOf({ options }: ReplayDocument, name: string): unknown {
  const value = options[name];
  if (name !== 'addedHeaders' || !Array.isArray(value)) return value;
  return [...new Set(value.map((each) => String(each).toLowerCase()))].sort();
}

/** The last part of its path: each machine keeps a capture elsewhere, and its requests identify it. */
function nameOf(capture: string): string {
  return capture.split(/[/\\]+/).findLast((part) => part !== '' && part !== '.') ?? capture;
}

/** Facts that keep a run, which is B, from being compared with its recording. */
export function recordingFactDifferences(run: ReplayDocument): FactDifference[] {
  return differing([
    ['multiplier', 1, run.options['multiplier'] ?? run.multiplier],
    ['stages', null, run.options['stages'] ?? null],
    ['targetShare', 1, run.options['targetShare'] ?? 1],
    ['shard', null, run.options['shard'] ?? null],
    ['faults', null, run.options['faults'] ?? null],
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
    .map((doubt) =>
      comparisonReason('run_invalid', { side, doubt }, `run_${side.toLowerCase()}_${doubt.code}`),
    );
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
