import { hasFailed, type Send } from '../../core/run.ts';

/** Answers in a second of a step, by when their last bytes came, whenever their requests were due. */
export class AnsweredRate {
  readonly #leadInNs: number;
  #inLeadIn = 0;
  #behindIt = 0;

  constructor(leadInNs: number) {
    this.#leadInNs = leadInNs;
  }

  /** Takes finished sends, in any order, each once. @param untilNs where the step ends: what is answered later is left out */
  add(sends: readonly Send[], untilNs: number): void {
    for (const send of sends) {
      const { lastByteOffsetNs } = send;
      if (lastByteOffsetNs === null || lastByteOffsetNs > untilNs) continue;
      if (send.actualOffsetNs === null || send.cancelled || hasFailed(send)) continue;
      if (lastByteOffsetNs < this.#leadInNs) this.#inLeadIn += 1;
      else this.#behindIt += 1;
    }
  }

  /** Behind the lead-in; of a step that did not come that far, in it. */
  perSecond(untilNs: number): number {
    const spanNs = untilNs - this.#leadInNs;
    if (spanNs > 0) return this.#behindIt / (spanNs / 1e9);
    return untilNs > 0 ? this.#inLeadIn / (untilNs / 1e9) : 0;
  }
}

/** What one load looked like, over the windows of its steps. */
export interface CurvePoint {
  readonly multiplier: number;
  readonly offeredPerS: number;
  readonly answeredPerS: number;
  readonly latencyMs: {
    readonly mean: number;
    readonly p50: number;
    readonly p95: number;
    readonly p99: number;
  };
}

/**
 * The knee of a throughput–latency curve: the load with the greatest power, which is throughput over latency
 * (L. Kleinrock, Power and deterministic rules of thumb, ICC 1979). By Little's law it is where requests in flight
 * begin to grow faster than the square of what is answered.
 * @returns null for fewer than three loads, or when the greatest load is the best one: then the knee lies beyond
 */
export function kneeOf(points: readonly CurvePoint[]): CurvePoint | null {
  const ascending = points
    .filter(({ answeredPerS, latencyMs }) => answeredPerS > 0 && latencyMs.mean > 0)
    .sort((a, b) => a.multiplier - b.multiplier);
  const powerOf = ({ answeredPerS, latencyMs }: CurvePoint) => answeredPerS / latencyMs.mean;
  const best = ascending.reduce<CurvePoint | null>(
    (most, point) => (most === null || powerOf(point) > powerOf(most) ? point : most),
    null,
  );
  return ascending.length < 3 || best === ascending.at(-1) ? null : best;
}

export interface SizingParts {
  /** Replicas that the target had while it was searched. */
  readonly replicas: number;
  /** The load it surely stands: the lower end of the boundary's interval, or the largest passing load. */
  readonly multiplier: number;
  /** Good requests per second at that load. */
  readonly goodPerS: number;
  /** The recorded peak rate over that of the recording's part that was played at 1x; 1 if the peak was played. */
  readonly peakOverPlayed: number;
  /** Of one replica and hour, in any currency; null if it is not known. */
  readonly replicaCostPerHour: number | null;
}

/** How many replicas the recorded traffic takes, if capacity grows with their number. */
export interface Sizing {
  readonly replicasNeeded: readonly { readonly timesPeak: number; readonly replicas: number }[];
  /** Share of today's replicas that the recorded peak does not need; negative if there are too few. */
  readonly overProvisionedShare: number;
  /** At the load that is stood, with all replicas paid for. */
  readonly costPerThousandGood: number | null;
}

const TIMES_PEAK = [1, 1.5, 2] as const;
/** So that 3.0000000000000004 replicas are three. */
const ROUNDING = 1e-9;

/** @returns replicas for 1, 1.5 and 2 times the recorded peak, and what a thousand good requests cost */
export function sizingOf(parts: SizingParts): Sizing {
  const { replicas, multiplier, goodPerS, peakOverPlayed, replicaCostPerHour } = parts;
  const forPeak = (replicas * peakOverPlayed) / multiplier;
  return {
    replicasNeeded: TIMES_PEAK.map((timesPeak) => ({
      timesPeak,
      replicas: Math.max(1, Math.ceil(forPeak * timesPeak - ROUNDING)),
    })),
    overProvisionedShare: 1 - forPeak / replicas,
    costPerThousandGood:
      replicaCostPerHour === null || goodPerS <= 0
        ? null
        : (replicas * replicaCostPerHour * 1_000) / (3_600 * goodPerS),
  };
}
