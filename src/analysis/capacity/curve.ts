import { hasFailed, type Send } from '../../core/run.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';

/** Answers per second of a step. An answer counts when its last byte came, not when its request was due. */
export class AnsweredRate {
  readonly #settlingNs: number;
  #whileSettling = 0;
  #behindIt = 0;

  constructor(settlingNs: number) {
    this.#settlingNs = settlingNs;
  }

  /** Adds finished sends, in any order, each once. @param untilNs end of the step; later answers do not count */
  add(sends: readonly Send[], untilNs: number): void {
    for (const send of sends) {
      const { lastByteOffsetNs } = send;
      if (lastByteOffsetNs === null || lastByteOffsetNs > untilNs) continue;
      if (send.actualOffsetNs === null || send.cancelled || hasFailed(send)) continue;
      if (lastByteOffsetNs < this.#settlingNs) this.#whileSettling += 1;
      else this.#behindIt += 1;
    }
  }

  /** The rate after the settling time. If the step ended before, the rate during it. */
  perSecond(untilNs: number): number {
    const spanNs = untilNs - this.#settlingNs;
    if (spanNs > 0) return this.#behindIt / (spanNs / 1e9);
    return untilNs > 0 ? this.#whileSettling / (untilNs / 1e9) : 0;
  }
}

type CurvePoint = CapacityDocument['curve'][number];

/**
 * The knee of a throughput–latency curve: the load with the greatest power, which is throughput divided by latency (L.
 * Kleinrock, Power and deterministic rules of thumb, ICC 1979). By Little's law, from there on requests in flight grow
 * faster than the square of the throughput.
 * @param curve ascending
 * @returns null for fewer than three loads, or if the greatest load has the greatest power: then the knee is beyond it
 */
export function kneeOf(curve: readonly CurvePoint[]): CurvePoint | null {
  const powerOf = ({ completedPerSecond, latencyMeanMs }: CurvePoint) =>
    latencyMeanMs === null || latencyMeanMs === 0 ? 0 : completedPerSecond / latencyMeanMs;
  const known = curve.filter((point) => powerOf(point) > 0);
  const [best] = known.toSorted((a, b) => powerOf(b) - powerOf(a));
  return known.length < 3 || best === undefined || best === known.at(-1) ? null : best;
}
