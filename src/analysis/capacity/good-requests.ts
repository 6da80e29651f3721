import type { Send } from '../../core/run.ts';
import { isOfStreams } from '../../documents/metrics/metrics.ts';
import {
  limitsText,
  type Objective,
  objectiveLimits,
  type RequestLimit,
} from '../../documents/metrics/objectives.ts';
import {
  isInSlice,
  type Slice,
  type SliceFacts,
  sliceText,
  sliceValueOf,
} from '../../documents/metrics/slices.ts';
import { keepsLimits } from '../metrics/goodput.ts';
import { isServed, outcomeOf } from '../run/outcomes.ts';
import { JUDGEMENT_BOUNDS } from '../verdict/run-context.ts';
import type { Tier } from './tiers.ts';

/** The limits of good requests of a slice: the strictest for each metric. A null slice means all requests. */
export interface GoodLimits {
  readonly slice: Slice | null;
  readonly limits: readonly RequestLimit[];
}

/**
 * The limits of a good request, from all objectives on request times; with tiers, from those of every tier. Objectives
 * on averages or errors give no limit for a single request.
 */
export function goodLimitsOf(objectives: readonly Objective[], tiers: readonly Tier[]): GoodLimits[] {
  const found = new Map<string, { slice: Slice | null; limits: Map<string, RequestLimit> }>();
  const sets = tiers.length === 0 ? [objectives] : tiers.map(({ objectives }) => objectives);
  for (const [name, alike] of sets.flatMap((set) => [...Map.groupBy(set, nameOfSlice)])) {
    const known = found.get(name) ?? { slice: alike[0]?.slice ?? null, limits: new Map() };
    const timed = objectiveLimits(alike.map((each) => ({ ...each, slice: null })));
    for (const limit of [...timed, ...alike.flatMap(({ limits }) => limits)]) {
      if (isStricter(limit, known.limits.get(limit.metric))) known.limits.set(limit.metric, limit);
    }
    found.set(name, known);
  }
  return [...found.values()]
    .map(({ slice, limits }) => ({ slice, limits: [...limits.values()] }))
    .filter(({ limits }) => limits.length > 0);
}

/** `latency<300; {model=a}: ttft<500`, in ms; empty without a limit. */
export function goodLimitsText(all: readonly GoodLimits[]): string {
  return all
    .map(({ slice, limits }) => `${slice === null ? '' : `${sliceText(slice)}: `}${limitsText(limits)}`)
    .join('; ');
}

/** Counts requests that were served within all limits that apply to them. */
export class GoodRequests {
  readonly #all: readonly GoodLimits[];
  #good = 0;
  #unknown = 0;
  #served = 0;

  constructor(limits: readonly GoodLimits[]) {
    this.#all = limits;
  }

  add(send: Send): void {
    if (!isServed(send, outcomeOf(send))) return;
    this.#served += 1;
    const facts = { ...send, stage: 1 };
    const limits = this.#all.flatMap((each) => (isAbout(each, facts) ? each.limits : []));
    // Not good: the request should have got a stream, but got a whole answer.
    if (send.unstreamed && limits.some(isOfStreams)) return;
    const keeps = keepsLimits(send, limits, 'planned');
    if (keeps === null) this.#unknown += 1;
    else if (keeps) this.#good += 1;
  }

  /** The count; null if times are unknown for more requests than a verdict allows. */
  get count(): number | null {
    return this.#unknown > JUDGEMENT_BOUNDS.unreadShare * this.#served ? null : this.#good;
  }
}

function nameOfSlice({ slice }: Objective): string {
  return slice === null ? '' : sliceText(slice);
}

function isStricter({ limit, operator }: RequestLimit, known: RequestLimit | undefined): boolean {
  if (known === undefined || limit !== known.limit) return known === undefined || limit < known.limit;
  return operator === '<';
}

/** Whether limits apply to a request. A `*` slice needs a value, so a request without one is in no slice. */
function isAbout({ slice }: GoodLimits, facts: SliceFacts): boolean {
  if (slice === null) return true;
  return isInSlice(slice, facts) && (slice.each === null || sliceValueOf(slice.each, facts) !== null);
}
