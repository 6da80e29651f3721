import { nearestRank } from '../../core/histogram.ts';
import type { CauseFigures, NamedCause } from '../../documents/explanation.ts';
import { countBelow } from '../stats/queues.ts';
import { Tally } from '../stats/tally.ts';
import { type ExplainedRequest, totalMs } from './requests.ts';

/** A possible cause: the requests that it holds for, and how much of their time in the target it explains. */
export interface Candidate extends NamedCause {
  /** By the place of a request. */
  readonly exposed: (at: number) => boolean;
  readonly explainedMs: (at: number) => number;
  readonly figures: CauseFigures;
  /** How well it separates slow requests from fast ones, 0 to 1. */
  readonly separation: number;
  /** Of candidates that explain the same, causes come before their consequences. */
  readonly preference: number;
}

/** Of a cause that held all the time: no request without it can be compared. */
export const CONSTANT_PREFERENCE = 0.85;

/** The fast requests of a run are taken as usual. Of the time of a request, this percentile is no excess. */
const USUAL_PERCENT = 20;
/** With fewer other requests than this share, the fastest quarter is compared with the rest. */
const LEAST_FAST = 0.05;
const FASTEST_PERCENT = 25;
/** A broken request is still to be explained while this share of its excess is left. */
const LEFT = 0.3;

/**
 * What broken requests took too long, as far as it is not explained yet. The excess of a request is its time in the
 * target beyond the usual one, or beyond its recorded one if that is less.
 */
export class Evidence {
  readonly requests: readonly ExplainedRequest[];
  /** Places of answered requests. */
  readonly timed: readonly number[];
  /** Places of broken requests that were answered. */
  readonly broken: readonly number[];
  /** The time in the target that is left, and how much of it is excess. */
  readonly targetMs: Float64Array;
  readonly excessMs: Float64Array;
  /** All that a broken request lost, including our own part: what shares refer to. */
  readonly lostMs: Float64Array;
  readonly usualMs: number;
  slow: readonly number[] = [];
  fast: readonly number[] = [];

  constructor(requests: readonly ExplainedRequest[]) {
    this.requests = requests;
    this.timed = requests.flatMap(({ parts }, at) => (parts === null ? [] : [at]));
    this.broken = this.timed.filter((at) => requests[at]!.isBroken);
    this.targetMs = Float64Array.from(requests, ({ parts }) => parts?.targetMs ?? 0);
    this.usualMs = this.targetAt(USUAL_PERCENT, this.timed);
    this.excessMs = this.targetMs.map((ms, at) =>
      Math.max(0, ms - Math.min(this.usualMs, requests[at]!.recordedMs ?? this.usualMs)),
    );
    this.lostMs = this.excessMs.map((ms, at) => {
      const { parts } = requests[at]!;
      // The objective may be below what the target always takes. Then nearly nothing is excess.
      return parts === null
        ? 0
        : Math.max(ms + parts.generatorMs + parts.connectMs, LEAST_LOST * totalMs(parts));
    });
    this.#compare();
  }

  /** A percentile of the time that is left of requests in the target; 0 for none. */
  targetAt(percent: number, places: readonly number[]): number {
    const times = places.map((at) => this.targetMs[at]!);
    return percentileOf(times, percent) ?? 0;
  }

  /** Removes what a cause explains, before the next one is searched. */
  take({ explainedMs }: Candidate): void {
    for (const at of this.timed) {
      const ms = Math.min(this.excessMs[at]!, explainedMs(at));
      this.excessMs[at]! -= ms;
      this.targetMs[at]! -= ms;
    }
    this.#compare();
  }

  /** Separation of slow requests from fast ones by an exposure. */
  separation(exposed: Candidate['exposed']): number {
    return separationOf(this.slow, this.fast, exposed);
  }

  /** By what it met: requests of which it explains most of the excess, and as much of it as slow requests have. */
  metEnough(metMs: Float64Array): Candidate['exposed'] {
    const { excessMs, slow } = this;
    const usualMs =
      percentileOf(
        slow.map((at) => excessMs[at]!),
        FEW_PERCENT,
      ) ?? 0;
    return (at) => metMs[at]! > 0 && metMs[at]! >= MOSTLY * Math.max(excessMs[at]!, usualMs);
  }

  /**
   * A cause of which all time beyond that of other requests is taken as its effect. Null if requests with it are hardly
   * slower.
   */
  exposure(
    named: NamedCause,
    exposed: (at: number) => boolean,
    { figures = {}, preference = 1 }: Partial<Pick<Candidate, 'figures' | 'preference'>> = {},
  ): Candidate | null {
    const separation = this.separation(exposed);
    if (separation < LEAST_SEPARATION) return null;
    const inside = this.timed.filter(exposed);
    const withMs = this.targetAt(50, inside);
    const others = this.timed.filter((at) => !exposed(at));
    const withoutMs = this.targetAt(50, others);
    if (withMs < LEAST_SLOWER * withoutMs) return null;
    return {
      ...named,
      exposed,
      explainedMs: (at) =>
        exposed(at) ? Math.min(this.excessMs[at]!, Math.max(0, this.targetMs[at]! - withoutMs)) : 0,
      figures: { requests: inside.length, medianMs: withMs, othersMedianMs: withoutMs, ...figures },
      separation,
      preference,
    };
  }

  /** The share of the losses of all broken requests that were answered. */
  shareOf({ explainedMs }: Pick<Candidate, 'explainedMs'>): number {
    const { broken, lostMs, excessMs } = this;
    const sum = broken.reduce(
      (total, at) => total + Math.min(excessMs[at]!, explainedMs(at)) / Math.max(lostMs[at]!, TINY_MS),
      0,
    );
    return broken.length === 0 ? 0 : sum / broken.length;
  }

  #compare(): void {
    const { excessMs, lostMs, requests } = this;
    const isLeft = (at: number) => excessMs[at]! >= LEFT * lostMs[at]! && excessMs[at]! > 0;
    this.slow = this.broken.filter(isLeft);
    this.fast = this.timed.filter((at) => !requests[at]!.isBroken);
    if (this.fast.length >= LEAST_FAST * this.timed.length) return;
    const limit = this.targetAt(FASTEST_PERCENT, this.timed);
    this.fast = this.timed.filter((at) => this.targetMs[at]! <= limit);
    this.slow = this.slow.filter((at) => this.targetMs[at]! > LEAST_SLOWER * limit);
  }
}

const FEW_PERCENT = 10;
const MOSTLY = 0.5;
const LEAST_LOST = 0.1;
const TINY_MS = 1e-9;
/** A cause that separates less may be chance. */
export const LEAST_SEPARATION = 0.3;
const LEAST_SLOWER = 1.5;

/**
 * Separation by an exposure: its share of the slow requests minus that of the fast ones (Youden's J). Chance alone
 * rarely exceeds the subtracted term.
 */
export function separationOf(
  slow: readonly number[],
  fast: readonly number[],
  exposed: Candidate['exposed'],
): number {
  if (slow.length === 0 || fast.length === 0) return 0;
  const share = (places: readonly number[]) => places.filter(exposed).length / places.length;
  return share(slow) - share(fast) - chance(slow.length) - chance(fast.length);
}

/** One standard error of a share, at most. */
function chance(count: number): number {
  return 0.5 / Math.sqrt(count);
}

export function percentileOf(values: readonly number[], percent: number): number | null {
  return values.length === 0
    ? null
    : (Float64Array.from(values).sort()[nearestRank(percent, values.length) - 1] ?? null);
}

/** The median of the known values of requests. */
export function medianOf(places: readonly number[], of: (at: number) => number | null): number | null {
  const known = places.flatMap((at) => of(at) ?? []);
  return percentileOf(known, 50);
}

const THRESHOLDS = 64;
/** A threshold is the best of many, so it must separate better than a name. */
const LEAST_OF_THRESHOLD = 0.4;
const LEAST_KNOWN = 0.9;

/** The value from which on requests are slow; null if it hardly separates slow requests from fast ones. */
export function thresholdOf({ slow, fast }: Evidence, sizeAt: (at: number) => number | null): number | null {
  const known = (places: readonly number[]) =>
    Float64Array.from(places.flatMap((at) => sizeAt(at) ?? [])).sort();
  const [ofSlow, ofFast] = [known(slow), known(fast)];
  if (ofSlow.length <= LEAST_KNOWN * slow.length || ofFast.length <= LEAST_KNOWN * fast.length) return null;
  let [best, from] = [LEAST_OF_THRESHOLD, null as number | null];
  for (let step = 0; step < THRESHOLDS; step += 1) {
    const value = ofSlow[Math.floor((step * ofSlow.length) / THRESHOLDS)]!;
    const separation = countBelow(ofFast, value) / ofFast.length - countBelow(ofSlow, value) / ofSlow.length;
    if (separation > best) [best, from] = [separation, value];
  }
  return from;
}

/** Whether two causes hold for the same requests, so that a run cannot tell them apart. */
export function areAlike(a: Candidate, b: Candidate, { slow, fast }: Evidence): boolean {
  const differ = (places: readonly number[]) =>
    places.filter((at) => a.exposed(at) !== b.exposed(at)).length / Math.max(1, places.length);
  return differ(slow) <= MOST_DIFFERENT && differ(fast) <= MOST_DIFFERENT;
}

const MOST_DIFFERENT = 0.1;

export const GROUPS = ['route', 'model', 'client'] as const;

/** The routes, models and clients that have at least this share of some requests. */
export function groupsOf(
  requests: readonly ExplainedRequest[],
  places: readonly number[],
  leastShare: number,
) {
  return GROUPS.flatMap((kind) =>
    namesIn(
      places.flatMap((at) => requests[at]![kind] ?? []),
      leastShare * places.length,
    ).map((subject) => ({
      ...{ kind, subject },
      isIn: (at: number) => requests[at]![kind] === subject,
    })),
  );
}

/** The names that occur at least so often, the commonest first. */
export function namesIn(names: readonly string[], least: number): string[] {
  const counts = new Tally<string>();
  for (const name of names) counts.count(name);
  const enough = [...counts].filter(([, count]) => count >= least);
  return enough.sort((a, b) => b[1] - a[1]).map(([name]) => name);
}
