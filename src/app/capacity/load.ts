import type { TimeRange } from '../../core/ports.ts';
import { US_PER_S } from '../../core/units.ts';
import type { SecondSums } from '../../replay/window/capture.ts';
import { findStretch } from '../../replay/window/search.ts';
import type { OpenedCapture } from '../open-capture.ts';
import type { ReplayChoice } from '../replay/plan.ts';

/** The longest stretch that is chosen by default. */
const MOST_S = 60;
/** A stretch has at most this share of the budget, so that a dozen steps fit. */
export const SHARE_OF_BUDGET = 1 / 30;
/** A window of at most this share of the budget is replayed whole. */
const WHOLE_SHARE = 1 / 10;
const LEAST_S = 2;

/**
 * The load of a search at 1x: one stretch of the recording. Every window of every step replays it whole, once or more
 * often, so that all steps differ in the multiplier only.
 */
export interface SearchedLoad {
  readonly parts: readonly TimeRange[];
  /** Whether it is the busiest part of a longer window. */
  readonly isBusiest: boolean;
}

/** Chooses the load: the whole window if it is short enough, else its busiest stretch. */
export function loadOf(
  opened: OpenedCapture,
  { source, window: { parts, found } }: ReplayChoice,
  { budgetS, windowS }: { readonly budgetS: number; readonly windowS: number | null },
): SearchedLoad {
  const lengthS = Math.ceil(windowS ?? Math.min(MOST_S, Math.max(LEAST_S, budgetS * SHARE_OF_BUDGET)));
  if (secondsIn(parts) <= (windowS ?? Math.max(lengthS, budgetS * WHOLE_SHARE)))
    return { parts, isBusiest: found?.kind === 'busiest' };
  const secondsOf = (range: TimeRange) =>
    source.isSelective ? selectedSeconds(source, range) : opened.overview.seconds(range);
  const stretches = parts.flatMap((range) => busiestIn(range, lengthS, secondsOf(range)));
  const [busiest] = stretches.toSorted((a, b) => b.exchanges - a.exchanges);
  return busiest === undefined ? { parts, isBusiest: false } : { parts: [busiest.range], isBusiest: true };
}

function busiestIn(range: TimeRange, lengthS: number, seconds: Iterable<SecondSums>) {
  const [first, last] = [range.fromUs / US_PER_S, range.toUs / US_PER_S];
  const isShort = Math.floor(last) <= Math.ceil(first);
  const stretch = findStretch(seconds, {
    kind: 'busiest',
    lengthS,
    fromSecond: isShort ? Math.floor(first) : Math.ceil(first),
    toSecond: isShort ? Math.ceil(last) : Math.floor(last),
    minLatencies: 0,
  });
  if (stretch === null) return [];
  const fromUs = Math.max(range.fromUs, stretch.fromSecond * US_PER_S);
  const toUs = Math.min(range.toUs, stretch.toSecond * US_PER_S);
  return [{ exchanges: stretch.exchanges, range: { fromUs, toUs } }];
}

/** Selected exchanges by second. Roll-ups do not consider filters. */
function* selectedSeconds(source: ReplayChoice['source'], range: TimeRange): Generator<SecondSums> {
  const none = { latencyCount: 0, latencySumUs: 0 };
  let [second, exchanges] = [-1, 0];
  for (const { arrivalUs } of source.rows(range)) {
    const at = Math.floor(arrivalUs / US_PER_S);
    if (at !== second && exchanges > 0) yield { second, exchanges, ...none };
    exchanges = at === second ? exchanges + 1 : 1;
    second = at;
  }
  if (exchanges > 0) yield { second, exchanges, ...none };
}

/** The length of all parts, seconds. */
export function secondsIn(parts: readonly TimeRange[]): number {
  return parts.reduce((sum, { fromUs, toUs }) => sum + toUs - fromUs, 0) / US_PER_S;
}

/**
 * The length of a window: whole passes over the load, as many as last for `leastS`.
 * @param pace seconds of the recording that are replayed in a second
 */
export function windowLengthS(lengthS: number, leastS: number, pace: number): number {
  return (Math.max(1, Math.ceil((leastS * pace) / lengthS - 1e-9)) * lengthS) / pace;
}
