import type {
  ComparedMetric,
  ComparedRoute,
  ComparisonBounds,
  ComparisonDocument,
  FactDifference,
  RouteComparison,
} from '../../documents/comparison.ts';
import type { CheckDocument, ReplayDocument } from '../../documents/replay.ts';
import { AnswerLikeness, differencesIn } from '../run/likeness.ts';
import { JUDGEMENT_BOUNDS } from '../verdict/run-context.ts';
import { type ComparisonReason, comparisonReason } from './comparison-reasons.ts';
import { planMetrics } from './metrics.ts';
import {
  ANSWERED,
  CHECKED,
  type PairCounts,
  type PairedAnswers,
  type SideAnswers,
  STREAMED,
  TELLS_ERROR,
  WHOLE,
} from './pairs.ts';
import { compareRoutes } from './routes.ts';
import { statusDistance } from './shares.ts';

export const COMPARISON_BOUNDS: ComparisonBounds = Object.freeze({
  floor: 0.05,
  detect: 0.1,
  failureFloor: 0.005,
});

interface PairsJudgement extends Pick<ComparisonDocument, 'verdict' | 'reasons' | 'notes'> {
  readonly routes: RouteComparison | null;
  readonly metrics: readonly ComparedMetric[];
  /** Kinds of stream times that no pair has on both sides. */
  readonly unknown: readonly string[];
}

/**
 * If statuses differ for more than this share of requests, the answers are not the same. Failures and requests turned
 * away do not count here.
 */
const MIX_BOUND = 0.02;

/**
 * Judges B against A by the same requests. WORSE if any metric is worse, even of only one route, or if B serves
 * nothing. BETTER if a metric is better and no other is or may be worse. SAME if every required metric shows that
 * nothing changed. Otherwise INCONCLUSIVE.
 * @param others doubts from other sources than the pairs
 */
export function comparePairs(
  pairs: PairedAnswers,
  bounds: ComparisonBounds = COMPARISON_BOUNDS,
  others: readonly ComparisonReason[] = [],
): PairsJudgement {
  const { judged, unknown, metricsOf } = planMetrics(pairs);
  const metrics = metricsOf(bounds, judged);
  const routes = compareRoutes(pairs, bounds);
  const unanswered = unansweredDoubts(metrics);
  const doubts = [
    ...others,
    ...mixDoubts(pairs),
    ...streamDoubts(pairs),
    ...likenessDoubts(pairs),
    ...unanswered,
    // If neither side answers, the other reasons add nothing.
    ...(unanswered.length > 0 ? [] : metrics.filter((metric) => isOpen(metric, bounds)).map(openReason)),
    ...routeReasons('routes_doubtful', routes?.doubtful),
  ];
  const changes = (kind: 'worse' | 'better') =>
    metrics
      .filter(({ verdict }) => verdict === kind)
      .map((metric) => comparisonReason('changed', { metric, kind }, `${metric.name}_${kind}`));
  const changed = [...changes('worse'), ...routeReasons('routes_worse', routes?.worse)];
  const worse = changed.length > 0 ? changed : unservedReasons(pairs);
  const better = changes('better');
  const notes = [
    ...metrics.filter((metric) => metric.verdict === 'undecided' && !isOpen(metric, bounds)).map(openReason),
    ...unknown.map((name) => comparisonReason('not_compared', { name }, `${name}_unknown`)),
  ];
  const found = { metrics, routes: routes?.document ?? null, unknown };
  if (worse.length > 0)
    return { verdict: 'WORSE', ...found, reasons: worse, notes: [...better, ...doubts, ...notes] };
  if (doubts.length > 0)
    return { verdict: 'INCONCLUSIVE', ...found, reasons: doubts, notes: [...better, ...notes] };
  return { verdict: better.length > 0 ? 'BETTER' : 'SAME', ...found, reasons: better, notes };
}

function routeReasons(
  kind: 'routes_worse' | 'routes_doubtful',
  routes: readonly ComparedRoute[] = [],
): ComparisonReason[] {
  return routes.length === 0 ? [] : [comparisonReason(kind, { routes })];
}

/** Reasons that a longer run can remove. */
const HELPED_BY_LENGTH: ReadonlySet<string> = new Set(['undecided', 'too_few_pairs']);

/** How long a run must be to decide every open metric, seconds; null if unknown, or if length does not help. */
export function lengthNeededS({ reasons, metrics, bounds }: ComparisonDocument): number | null {
  if (!reasons.every(({ code }) => HELPED_BY_LENGTH.has(code))) return null;
  const lengths = metrics.flatMap((metric) =>
    'group' in metric || !isOpen(metric, { detect: bounds['detect'] ?? 0 })
      ? []
      : [metric.windowNeededS ?? Number.POSITIVE_INFINITY],
  );
  const longest = Math.max(0, ...lengths);
  return longest === 0 || longest === Number.POSITIVE_INFINITY ? null : longest;
}

/** Codes of what more runs can decide. */
const NOISE: ReadonlySet<string> = new Set([...HELPED_BY_LENGTH, 'routes_doubtful']);

/** Whether two targets are undecided for noise of either side alone, so that more runs may decide. */
export function isNoise({ verdict, reasons }: Pick<ComparisonDocument, 'verdict' | 'reasons'>): boolean {
  const isOurs = (code: string) => OUR_CAUSES.has(code.replace(/^run_[ab]_/, ''));
  const isHelped = (each: Found) => NOISE.has(each.code) || isOurs(each.code) || isLateness(each);
  return verdict === 'INCONCLUSIVE' && reasons.every(isHelped);
}

type Found = ComparisonDocument['reasons'][number];

/** Whether requests were left out because we sent them late, and not for their answers. */
export function isLateness({ code, figures }: Found): boolean {
  const { late = 0, all = 0 } = (figures ?? {}) as { readonly late?: number; readonly all?: number };
  return code === 'left_out' && late > all / 2;
}

/**
 * How long two targets together must be replayed to decide every open metric, besides what was replayed. Null if it is
 * not known, or if that does not help.
 * @param lengthsS of each run of A and the run of B beside it; empty for a recording
 */
export function moreNeededS(
  judgement: PairsJudgement,
  bounds: ComparisonBounds,
  lengthsS: readonly number[],
): number | null {
  if (!isNoise(judgement) || lengthsS.length === 0) return null;
  const meanS = lengthsS.reduce((sum, each) => sum + each, 0) / lengthsS.length;
  const most = Math.max(
    0,
    ...judgement.metrics
      .filter((metric) => isOpen(metric, bounds))
      .map(({ runsNeeded, windowNeededS }) =>
        runsNeeded == null
          ? 2 * (windowNeededS ?? Number.POSITIVE_INFINITY)
          : (runsNeeded - lengthsS.length) * meanS,
      ),
  );
  return most > 0 && Number.isFinite(most) ? most : null;
}

/** Whether a metric prevents SAME: it is undecided, and SAME needs it or excludes a change this large. */
function isOpen(metric: ComparedMetric, { detect }: Pick<ComparisonBounds, 'detect'>): boolean {
  const { verdict, required, ratio, ratioLessLag, unit } = metric;
  if (verdict !== 'undecided') return false;
  return required || (unit === 'ms' && Math.max(ratio ?? 0, ratioLessLag ?? 0) >= 1 + detect);
}

function mixDoubts(pairs: PairedAnswers): ComparisonReason[] {
  const distance = statusDistance(pairs);
  return distance <= MIX_BOUND ? [] : [comparisonReason('status_mix', { distance })];
}

/** Doubts if answers are streams on only one side: a whole answer has no first token to compare. */
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

/**
 * Doubts by route if answers differ in kind: a build is not faster just because it answers with less or with errors.
 */
function likenessDoubts({ count, routes, a, b }: PairedAnswers): ComparisonReason[] {
  const likeness = new AnswerLikeness();
  for (let at = 0; at < count; at++) {
    if (a.outcome[at] !== ANSWERED || b.outcome[at] !== ANSWERED) continue;
    const route = routes === undefined ? null : routes.names[routes.of[at]!];
    if (route !== undefined) likeness.add({ route }, comparedAnswer(a, at), comparedAnswer(b, at));
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
    // `streamDoubts` reports answers that are streams on only one side.
    streamed: null,
    tookNs: null,
    tellsError: (trait & TELLS_ERROR) > 0,
  };
}

/** By chance, one side alone loses this many requests once in a million times. */
const LEAST_UNSERVED = 20;

/** A reason if B served nothing and A most requests. Few pairs are enough, because the guard stops such a run early. */
function unservedReasons({ count, a, b }: PairedAnswers): ComparisonReason[] {
  const ofA = a.outcome.filter((outcome) => outcome === ANSWERED).length;
  if (b.outcome.includes(ANSWERED) || ofA < Math.max(LEAST_UNSERVED, count / 2)) return [];
  return [comparisonReason('unserved', { pairs: count, ofA })];
}

/** A doubt if neither side answers half of the requests: then nothing can be compared. */
function unansweredDoubts(metrics: readonly ComparedMetric[]): ComparisonReason[] {
  const median = metrics.find(({ name }) => name === 'latency_p50');
  if (median?.a !== 'Infinity' || median.b !== 'Infinity') return [];
  return [comparisonReason('unanswered', null)];
}

function openReason(metric: ComparedMetric): ComparisonReason {
  if (metric.doubt !== null) return comparisonReason(metric.doubt, metric);
  if (metric.windows === 0) return comparisonReason('too_few_pairs', metric);
  if (metric.name === 'mismatched') return comparisonReason('mismatches_undecided', metric, 'answers_differ');
  return comparisonReason('undecided', metric);
}

/** Standard errors that independent requests exceed by chance only once in a hundred times. */
const CLEAR_Z = 2.576;

/** The check of a side; null for a recording, which agrees with itself. A run without a check counts the same. */
type CheckedSide = Pick<ReplayDocument, 'check'> | null;

/**
 * A doubt if B's answers differ from the recorded ones more often than A's: a build may be faster only because it
 * answers differently.
 * @param floor smaller changes of the share are ignored
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

/**
 * Most requests left out: half of those beyond the 95th percentile. Even if all were slow, SAME would notice a change.
 */
const MOST_LEFT_OUT = 0.025;

/**
 * Doubts about requests that were left out of only one side. A run that cancels after the recorded patience cancels
 * more slow requests, so the rest looks faster.
 */
export function leftOutDoubts({
  pairs,
  leftOut,
  leftOutOfA,
  leftOutOfB,
}: Omit<PairCounts, 'onlyA' | 'onlyB'>): ComparisonReason[] {
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
  'addedHeaders', 'faults', 'liveValues',
] as const; // biome-ignore format: a list of words
/** Most characters of a fact, because a list of windows can be long. */
const MAX_TEXT = 160;

/** Doubts of a run with causes on our own side. Its figures tell nothing about the target. */
const OUR_CAUSES: ReadonlySet<string> = new Set([
  'nothing_planned',
  'achieved_below',
  'arrivals_off_plan',
  'in_flight_cap',
  'shards_missing',
  'shards_apart',
]);

/** Facts that two runs must share but do not. */
export function runFactDifferences(a: ReplayDocument, b: ReplayDocument): FactDifference[] {
  const facts: [string, unknown, unknown][] = [
    ['capture', lastPartOf(a.capture), lastPartOf(b.capture)],
    ...PLAN_OPTIONS.map((name): [string, unknown, unknown] => [name, statedOf(a, name), statedOf(b, name)]),
  ];
  facts.push(['copyPrompts', copyPromptsOf(a), copyPromptsOf(b)]);
  // If both runs were checked, both must have been checked alike.
  const [checkA, checkB] = [a.options['check'] ?? null, b.options['check'] ?? null];
  return differing(checkA === null || checkB === null ? facts : [...facts, ['check', checkA, checkB]]);
}

/** Null without copies. Runs of earlier versions sent them as recorded. */
function copyPromptsOf({ scalingPlan }: ReplayDocument): string | null {
  return (scalingPlan?.counts?.copies ?? 0) === 0 ? null : (scalingPlan?.copyPrompts ?? 'same');
}

/** The value of an option. Added headers have only names: a run stores no values, because they may be credentials. */
function statedOf({ options }: ReplayDocument, name: string): unknown {
  const value = options[name];
  if (name !== 'addedHeaders' || !Array.isArray(value)) return value;
  return [...new Set(value.map((each) => String(each).toLowerCase()))].sort();
}

/** The last part of a path. The rest differs between machines, and the requests identify the capture. */
function lastPartOf(path: string): string {
  return path.split(/[/\\]+/).findLast((part) => part !== '' && part !== '.') ?? path;
}

/** Facts that prevent a comparison of a run (B) with its recording. */
export function recordingFactDifferences(run: ReplayDocument): FactDifference[] {
  return differing([
    ['multiplier', 1, run.options['multiplier'] ?? run.multiplier],
    ['stages', null, run.options['stages'] ?? null],
    ['targetShare', 1, run.options['targetShare'] ?? 1],
    ['shard', null, run.options['shard'] ?? null],
    ['faults', null, run.options['faults'] ?? null],
  ]);
}

/** Causes on our own side that prevent a comparison of a run. */
export function runDoubts(
  side: 'A' | 'B',
  { reasons, notes, interrupted }: ReplayDocument,
): ComparisonReason[] {
  // A stopped run already has a reason, so its unsent part is not named again.
  const isTold = (code: string) => interrupted !== null && code === 'achieved_below';
  return [...reasons, ...notes]
    .filter(({ code, severity }) => severity === 'doubt' && OUR_CAUSES.has(code) && !isTold(code))
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
