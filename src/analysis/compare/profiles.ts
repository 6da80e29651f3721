import type { ComparisonDocument, FactDifference, ShiftedFigure } from '../../documents/comparison.ts';
import { IDC_WINDOWS } from '../../documents/parts.ts';
import type { ProfileDocument } from '../../documents/profile.ts';
import { type ComparisonReason, comparisonReason } from './comparison-reasons.ts';
import { differing } from './judge.ts';

/** Profiles with fewer requests differ by chance. */
const MIN_REQUESTS = 1_000;

interface ProfilesJudgement extends Pick<ComparisonDocument, 'verdict' | 'reasons' | 'notes'> {
  readonly metrics: readonly ShiftedFigure[];
}

/** Facts that must be equal before two profiles can be compared. */
export function profileFactDifferences(a: ProfileDocument, b: ProfileDocument): FactDifference[] {
  return differing([
    ['filters', a.filters, b.filters],
    ['timeZone', a.window?.timeZone ?? null, b.window?.timeZone ?? null],
    ['shared', a.privacy.shared, b.privacy.shared],
  ]);
}

/** WORSE if a figure shifted beyond its bound, up or down: the tested traffic is outdated. */
export function compareProfiles(
  a: ProfileDocument,
  b: ProfileDocument,
  bounds: ShiftBounds,
): ProfilesJudgement {
  const metrics = profileFigures(a, b).map((figure) => shiftOf(figure, bounds));
  const shifted = metrics
    .filter(({ verdict }) => verdict === 'worse')
    .map((figure) => comparisonReason('shifted', figure, `${figure.name}_shifted`));
  const few = [a, b].some(({ requests }) => requests < MIN_REQUESTS);
  const shortage = { requests: [a.requests, b.requests], least: MIN_REQUESTS };
  const doubts = few ? [comparisonReason('too_few_requests', shortage)] : [];
  const notes = spanNotes(a, b);
  if (few) return { verdict: 'INCONCLUSIVE', metrics, reasons: doubts, notes: [...shifted, ...notes] };
  return { verdict: shifted.length > 0 ? 'WORSE' : 'SAME', metrics, reasons: shifted, notes };
}

function shiftOf(
  { name, group, kind, a, b, distance, chance }: ProfileFigure,
  bounds: ShiftBounds,
): ShiftedFigure {
  const bound = bounds[group];
  const base = { name, group, a, b, ratio: a !== null && b !== null && a > 0 ? b / a : null, interval: null };
  if (kind === 'mix') {
    const shift = distance ?? 0;
    return { ...base, shift, bound, verdict: shift - (chance ?? 0) > bound ? 'worse' : 'same' };
  }
  const shift = kind === 'difference' ? differenceOf(a, b) : ratioShift(a, b);
  const allowed = (1 + bound) * (1 + (chance ?? 0)) - 1;
  return {
    ...base,
    shift,
    bound,
    verdict: shift === null ? 'undecided' : shift > allowed ? 'worse' : 'same',
  };
}

function differenceOf(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : Math.abs(b - a);
}

/** The larger value divided by the smaller, minus 1. A shift from zero counts as 1. */
function ratioShift(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return null;
  if (a === b) return 0;
  return Math.min(a, b) <= 0 ? 1 : Math.max(a, b) / Math.min(a, b) - 1;
}

function spanNotes(a: ProfileDocument, b: ProfileDocument): ComparisonReason[] {
  const spans = spansOf(a, b);
  return areAlike(spans) ? [] : [comparisonReason('spans_differ', { spans })];
}

function spansOf(a: ProfileDocument, b: ProfileDocument): readonly [number, number] {
  return [a.window?.spanS ?? 0, b.window?.spanS ?? 0];
}

/** Windows whose lengths differ by a larger factor have different peaks and hours for this reason alone. */
const COMPARABLE_SPANS = 2;

function areAlike(spans: readonly number[]): boolean {
  return Math.max(...spans) <= COMPARABLE_SPANS * Math.min(...spans);
}

/** Groups of figures with their shared limit: how far B may differ from A before a new load test is due. */
export const SHIFT_BOUNDS = Object.freeze({
  rate: 0.2,
  peak: 0.25,
  burst: 0.5,
  size: 0.2,
  tokens: 0.2,
  mix: 0.05,
  hours: 0.15,
  duplicates: 0.1,
  cache: 0.05,
  failed: 0.01,
});
export type ShiftGroup = keyof typeof SHIFT_BOUNDS;
export type ShiftBounds = Readonly<Record<ShiftGroup, number>>;

/** `ratio`: larger divided by smaller, minus 1. `difference`: of two shares. `mix`: total variation of two mixes. */
type ShiftKind = 'ratio' | 'difference' | 'mix';

/** One figure of both profiles, before it is judged. */
interface ProfileFigure {
  readonly name: string;
  readonly group: ShiftGroup;
  readonly kind: ShiftKind;
  readonly a: number | null;
  readonly b: number | null;
  /** Only for a mix. */
  readonly distance?: number;
  /** The shift that chance alone would cause: for a mix a share, for a ratio a factor minus 1. */
  readonly chance?: number;
}

type Shares = ReadonlyMap<string, number>;

/** All figures for comparing two profiles. A figure that a profile does not have is null. */
function profileFigures(a: ProfileDocument, b: ProfileDocument): ProfileFigure[] {
  const figure =
    (kind: ShiftKind) =>
    (name: string, group: ShiftGroup, of: (profile: ProfileDocument) => number | null): ProfileFigure => ({
      name,
      group,
      kind,
      a: of(a),
      b: of(b),
    });
  const ratio = figure('ratio');
  const share = figure('difference');
  const mix = (name: string, of: (mix: ProfileDocument['mix']) => Shares) =>
    mixOf(`mix_${name}`, 'mix', of(a.mix), of(b.mix), [a, b]);
  const spans = spansOf(a, b);
  const likeSpans = areAlike(spans);
  return [
    ratio('rate_mean', 'rate', ({ rate }) => rate.mean),
    ...(likeSpans
      ? [
          ratio('rate_peak_1s', 'peak', ({ rate }) => rate.peak1s),
          ratio('rate_peak_60s', 'peak', ({ rate }) => rate.peak60s),
          ratio('rate_peak_1h', 'peak', ({ rate }) => rate.peak1h),
          ratio('concurrency_mean', 'peak', ({ concurrency }) => concurrency.mean),
        ]
      : []),
    ratio('gaps_cv', 'burst', ({ interArrival }) => interArrival.cv),
    ...IDC_WINDOWS.slice(1).map((window) => ({
      ...ratio(`idc_${window}s`, 'burst', ({ idc }) => idc[window]),
      chance: dispersionChance(spans.map((spanS) => spanS / Number(window))),
    })),
    ...(['p50', 'p90', 'p99'] as const).map((each) =>
      ratio(`request_bytes_${each}`, 'size', ({ requestBytes }) => requestBytes[each]),
    ),
    ratio('response_bytes_p50', 'size', ({ responseBytes }) => responseBytes.p50),
    ratio('prompt_tokens_p50', 'tokens', ({ tokens }) => tokens.prompt.p50),
    ratio('prompt_tokens_p95', 'tokens', ({ tokens }) => tokens.prompt.p95),
    ratio('output_tokens_p50', 'tokens', ({ tokens }) => tokens.output.p50),
    ratio('batch_p50', 'tokens', ({ batch }) => batch.p50),
    mix('routes', ({ routes }) => new Map(routes.map((each) => [each.route ?? '', each.share]))),
    mix('models', ({ models }) => new Map(models.map((each) => [each.model ?? '', each.share]))),
    mix('statuses', ({ statuses }) => new Map(statuses.map((each) => [`${each.status}`, each.share]))),
    ...(likeSpans && spans[0] >= 24 * 3_600 ? [hours(a, b)] : []),
    share('duplicates', 'duplicates', ({ duplicateRatio }) => duplicateRatio),
    share('prompt_reuse_bound', 'cache', ({ reuse }) => reuse?.upperBound ?? null),
    share('cache_hits', 'cache', ({ reuse }) => reuse?.reported?.share ?? null),
    share('failed', 'failed', ({ errors }) => errors.failedShare),
  ];
}

/**
 * How far two indexes of dispersion differ by chance: twice the standard error. The relative error of a variance over n
 * windows is the square root of 2 / n.
 */
function dispersionChance(windows: readonly number[]): number {
  return Math.exp(2 * Math.sqrt(windows.reduce((sum, count) => sum + 2 / Math.max(1, count), 0))) - 1;
}

/** The mix of requests over the hours of the week, per observed second. */
function hours(a: ProfileDocument, b: ProfileDocument): ProfileFigure {
  const both = a.hourOfWeekPerSecond.map((rate, at) => [rate, b.hourOfWeekPerSecond[at] ?? null] as const);
  const known = both.flatMap(([one, other]) =>
    one === null || other === null ? [] : [[one, other] as const],
  );
  const sums = [0, 1].map((side) => known.reduce((sum, pair) => sum + pair[side as 0 | 1], 0));
  const shares = (side: 0 | 1): Shares =>
    new Map(known.map((pair, at) => [String(at), pair[side] / (sums[side] || 1)]));
  return mixOf('hours_of_week', 'hours', shares(0), shares(1), [a, b]);
}

/** The total variation between two mixes, and the part of it that chance alone would cause. */
function mixOf(
  name: string,
  group: ShiftGroup,
  one: Shares,
  other: Shares,
  profiles: readonly ProfileDocument[],
): ProfileFigure {
  let [distance, chance] = [0, 0];
  const noise = (2 / Math.PI) * profiles.reduce((sum, { requests }) => sum + 1 / Math.max(1, requests), 0);
  for (const key of new Set([...one.keys(), ...other.keys()])) {
    const [shareA, shareB] = [one.get(key) ?? 0, other.get(key) ?? 0];
    const mean = (shareA + shareB) / 2;
    distance += Math.abs(shareA - shareB) / 2;
    chance += Math.sqrt(mean * Math.max(0, 1 - mean) * noise) / 2;
  }
  return { name, group, kind: 'mix', a: null, b: null, distance, chance };
}
