import { type Objective, objectiveOf, ofSlice } from '../../documents/metrics/objectives.ts';
import { sliceOf } from '../../documents/metrics/slices.ts';

/** A named set of objectives that must hold together, such as the SLA of one class of customers. */
export interface Tier {
  readonly name: string;
  /** Its own objectives and those of every tier. */
  readonly objectives: readonly Objective[];
}

/**
 * The goals that count for a tier: all except those that only other tiers have. An implied objective, such as the limit
 * of refusals, counts for each tier.
 * @param goals the names of goals in windows, such as `latency{model=gpt}: p(99)<200`
 */
export function goalsOfTier(tier: Tier, tiers: readonly Tier[], goals: readonly string[]): string[] {
  const isOf = ({ objectives }: Tier, goal: string) => objectives.some((each) => isAbout(each, goal));
  return goals.filter((goal) => isOf(tier, goal) || !tiers.some((each) => isOf(each, goal)));
}

/** Whether a window keeps all of these goals that it was judged by; null if unknown, or if it was judged by none. */
export function keepsAll(
  kept: Readonly<Record<string, boolean | null>>,
  goals: readonly string[],
): boolean | null {
  const held = goals.flatMap((goal) => kept[goal] ?? (Object.hasOwn(kept, goal) ? [null] : []));
  if (held.includes(false)) return false;
  return held.length === 0 || held.includes(null) ? null : true;
}

/** Whether an objective covers a goal. An objective on each model covers the goal of any model. */
function isAbout(asked: Objective, goal: string): boolean {
  const { slice, expression } = asked;
  if (expression === goal || slice == null || slice.each === null) return expression === goal;
  const value = objectiveOf(goal)?.slice?.tags.find(({ key }) => key === slice.each)?.value;
  return value !== undefined && ofSlice(asked, sliceOf(slice, value)).expression === goal;
}
