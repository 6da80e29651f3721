import { isTurnedAway, type Send } from '../../core/run.ts';
import { NS_PER_MS } from '../../core/units.ts';
import { isOfStreams } from '../../documents/metrics/metrics.ts';
import { limitsText, type Objective, type RequestLimit } from '../../documents/metrics/objectives.ts';
import { sliceText } from '../../documents/metrics/slices.ts';
import type { MissingGoodput } from '../../documents/parts.ts';
import type { SendCategory } from '../run/outcomes.ts';
import { lowerShare, sampleFloor, samplesNeeded } from '../stats/percentiles.ts';
import {
  EVERYTHING,
  type GoodputFigures,
  type Margin,
  type Measure,
  marginOf,
  type Observable,
  OF_TARGET,
  type PartFigures,
  ratio,
  type Scope,
} from './measure.ts';
import { TIMES } from './times.ts';

/** The limits of the goodput objectives of a slice; null means all requests. */
export function limitsOf(
  objectives: readonly Objective[],
  slice: string | null,
): readonly (readonly RequestLimit[])[] {
  return objectives
    .filter((each) => (each.slice === null ? null : sliceText(each.slice)) === slice)
    .flatMap(({ limits }) => (limits.length === 0 ? [] : [limits]));
}

/** Counts requests by whether they keep all limits. */
export class GoodputCounts {
  readonly figures: { -readonly [Name in keyof GoodputFigures]: GoodputFigures[Name] } = {
    served: 0,
    good: 0,
    goodFromSent: 0,
    goodOfTarget: 0,
    unserved: 0,
    whole: 0,
    unknown: 0,
    left: 0,
    leftOver: 0,
    failed: 0,
    stopped: 0,
    refused: 0,
    unreached: 0,
  };
  readonly #limits: readonly RequestLimit[];
  readonly #isOfStreams: boolean;

  constructor(limits: readonly RequestLimit[]) {
    this.#limits = limits;
    this.#isOfStreams = limits.every(isOfStreams);
  }

  add(send: Send, outcome: SendCategory): void {
    const wantsStream = send.streamed || send.unstreamed;
    if (this.#isOfStreams && !wantsStream) return;
    const { figures } = this;
    if (outcome === 'cancelled') {
      if (keepsLimits(send, this.#limits, 'target') === false) figures.leftOver += 1;
      else figures.left += 1;
      return;
    }
    if (outcome !== 'completed') {
      figures[outcome] += 1;
      if (send.error === 'stopped' && outcome === 'failed') figures.stopped += 1;
      return;
    }
    const isWhole = send.unstreamed && this.#limits.some(isOfStreams);
    if (isWhole || (send.status !== null && isTurnedAway(send.status))) {
      figures.unserved += 1;
      if (isWhole) figures.whole += 1;
      return;
    }
    const good = keepsLimits(send, this.#limits, 'planned');
    const goodFromSent = keepsLimits(send, this.#limits, 'sent');
    if (good === null || goodFromSent === null) {
      figures.unknown += 1;
      return;
    }
    figures.served += 1;
    if (good) figures.good += 1;
    if (goodFromSent) figures.goodFromSent += 1;
    if (keepsLimits(send, this.#limits, 'target') === true) figures.goodOfTarget += 1;
  }
}

/** Whether a request keeps all limits. Null if a time is unknown and no known time is over its limit. */
export function keepsLimits(
  send: Send,
  limits: readonly RequestLimit[],
  from: Scope['from'],
): boolean | null {
  let isKnown = true;
  for (const each of limits) {
    if (isOfStreams(each) && !send.streamed) continue;
    const ns = TIMES[each.metric].ofSend(send, from);
    if (ns === null) isKnown = false;
    else if (each.operator === '<' ? ns >= each.limit * NS_PER_MS : ns > each.limit * NS_PER_MS) return false;
  }
  return isKnown ? true : null;
}

/** The request counts of a goodput objective; null for other objectives. */
export function goodputOf(
  { limits }: Pick<Objective, 'limits'>,
  { goodput }: Pick<PartFigures, 'goodput'>,
): GoodputFigures | null {
  return limits.length === 0 ? null : (goodput.get(limitsText(limits)) ?? null);
}

/** The number of requests that are compared with limits, without cancelled ones. */
export function judgedByLimits(counts: GoodputFigures, interrupted: boolean): number {
  return counts.served + missedIn(counts, interrupted, EVERYTHING);
}

/** Why the other requests were not good. */
export function missingIn(counts: GoodputFigures, interrupted: boolean): MissingGoodput {
  const { served, good, failed, stopped, unserved, whole, refused, unreached } = counts;
  return {
    late: served - good,
    failed: failed - (interrupted ? stopped : 0),
    turnedAway: unserved - whole,
    whole,
    unsent: refused + (interrupted ? 0 : unreached),
  };
}

/** The number of requests that were not served, if they count. */
function missedIn(counts: GoodputFigures, interrupted: boolean, scope: Scope): number {
  const { failed, stopped, refused, unreached, unserved } = counts;
  const unsent = refused + (interrupted ? 0 : unreached);
  return (
    failed - (interrupted ? stopped : 0) + (scope.unsent ? unsent : 0) + (scope.streamless ? unserved : 0)
  );
}

/** The share of good requests. Failed, refused and turned-away requests count as not good. */
function rateOf(objective: Objective, figures: Observable, scope: Scope): number | null {
  const counts = goodputOf(objective, figures);
  if (counts === null) return null;
  const { served, left, leftOver } = counts;
  const good = { planned: counts.good, sent: counts.goodFromSent, target: counts.goodOfTarget }[scope.from];
  const all = served + left + leftOver + missedIn(counts, figures.unanswered.interrupted, scope);
  return ratio(scope.cancelled === 'worst' ? good : good + left, all);
}

function samplesOf(objective: Pick<Objective, 'limits'>, figures: Observable): number {
  const counts = goodputOf(objective, figures);
  return counts === null ? 0 : judgedByLimits(counts, figures.unanswered.interrupted);
}

/** If the limited times come in clusters, good requests do too, so the independent samples of these times count. */
function margin(objective: Objective, figures: Observable, confidence: number): Margin | null {
  const { limit, limits } = objective;
  const observed = rateOf(objective, figures, EVERYTHING);
  if (observed === null) return null;
  const all = samplesOf(objective, figures);
  // The second percentile is among the slowest requests, which exceed a limit.
  const percents = [limit * 100, 50 + observed * 50];
  const samples = Math.min(
    all,
    ...limits.flatMap(({ metric }) =>
      percents.map((each) => TIMES[metric].worth(each, confidence, figures, all)),
    ),
  );
  const needed = { samples: samplesNeeded(limit * 100, confidence, 1 - observed), known: samples };
  const found = marginOf(objective, confidence, lowerShare(observed, confidence, samples), needed);
  // If all requests are good, there is another proof. Each limit is kept by a share of the requests, and together these
  // shares keep the objective (Bonferroni).
  const part = (1 - limit) / limits.length;
  const each = 1 - (1 - confidence) / limits.length;
  const isFarFrom = ({ metric, limit: most }: RequestLimit) =>
    TIMES[metric].bound(100 * (1 - part), each, figures).upper < most;
  return { ...found, holds: found.holds || (observed === 1 && limits.every(isFarFrom)) };
}

/** A share of good requests is like a percentile: 95 % of them keep their limits. */
export const GOODPUT: Measure = {
  observe: rateOf,
  isBroken: (objective, send, from) =>
    objective.limits.some(
      ({ metric, limit }) => TIMES[metric].isBroken?.({ ...objective, limit }, send, from) === true,
    ),
  samples: samplesOf,
  floor: ({ limit }) => sampleFloor(limit * 100),
  provenPercent: ({ limit }) => limit * 100,
  margin,
  best: (objective, figures, confidence) => {
    const count = samplesOf(objective, figures);
    const rate = rateOf(objective, figures, OF_TARGET) ?? 1;
    const samples = Math.min(
      ...objective.limits.map(({ metric }) =>
        TIMES[metric].worth(50 + rate * 50, confidence, figures, count),
      ),
    );
    return 1 - lowerShare(1 - rate, confidence, samples);
  },
  isCounted: ({ limits }, send, outcome) => {
    const goodput = new GoodputCounts(limits);
    goodput.add(send, outcome);
    const { good, left, served, leftOver, failed, refused, unreached, unserved } = goodput.figures;
    const all = served + left + leftOver + failed + refused + unreached + unserved;
    return all === 0 ? null : good + left > 0;
  },
};
