import { sliceOf } from '../objectives/slices.ts';
import { namesBesideOurs, ofSlice, parseSlo, type Threshold } from '../objectives/slo.ts';

/** A named set of objectives that are to hold together, such as what one class of customers was promised. */
export interface Tier {
  readonly name: string;
  /** Those of every tier too. */
  readonly objectives: readonly Threshold[];
}

/**
 * The goals of windows that count for a tier: all but those that only other tiers ask for. An implied
 * objective, such as a bound on refusals, counts for each tier.
 * @param goals names of what windows were judged by: `latency{model=gpt}: p(99)<200`
 */
export function goalsOfTier(tier: Tier, tiers: readonly Tier[], goals: readonly string[]): string[] {
  const isOf = ({ objectives }: Tier, goal: string) => objectives.some((each) => isAbout(each, goal));
  return goals.filter((goal) => isOf(tier, goal) || !tiers.some((each) => isOf(each, goal)));
}

/** Whether a window keeps every goal of these that it was judged by; null if that is not known, or it has none. */
export function keepsAll(
  kept: Readonly<Record<string, boolean | null>>,
  goals: readonly string[],
): boolean | null {
  const held = goals.flatMap((goal) => kept[goal] ?? (Object.hasOwn(kept, goal) ? [null] : []));
  if (held.includes(false)) return false;
  return held.length === 0 || held.includes(null) ? null : true;
}

/** An objective on each model is about the goal of any one. */
function isAbout(asked: Threshold, goal: string): boolean {
  const { slice, expression } = asked;
  if (expression === goal || slice == null || slice.each === null) return expression === goal;
  const [parsed] = parseSlo([goal], namesBesideOurs([goal]));
  const value = parsed?.slice?.tags.find(({ key }) => key === slice.each)?.value;
  return value !== undefined && ofSlice(asked, sliceOf(slice, value)).expression === goal;
}
