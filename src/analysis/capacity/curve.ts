import { hasFailed, type Send } from '../../core/run.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';

/** Answers in a second of a step, by when their last bytes came, whenever their requests were due. */
export class AnsweredRate {
  readonly #settlingNs: number;
  #whileSettling = 0;
  #behindIt = 0;

  constructor(settlingNs: number) {
    this.#settlingNs = settlingNs;
  }

  /** Takes finished sends, in any order, each once. @param untilNs where the step ends: what is answered later is left out */
  add(sends: readonly Send[], untilNs: number): void {
    for (const send of sends) {
      const { lastByteOffsetNs } = send;
      if (lastByteOffsetNs === null || lastByteOffsetNs > untilNs) continue;
      if (send.actualOffsetNs === null || send.cancelled || hasFailed(send)) continue;
      if (lastByteOffsetNs < this.#settlingNs) this.#whileSettling += 1;
      else this.#behindIt += 1;
    }
  }

  /** Behind the settling time; of a step that did not come that far, in it. */
  perSecond(untilNs: number): number {
    const spanNs = untilNs - this.#settlingNs;
    if (spanNs > 0) return this.#behindIt / (spanNs / 1e9);
    return untilNs > 0 ? this.#whileSettling / (untilNs / 1e9) : 0;
  }
}

type CurvePoint = CapacityDocument['curve'][number];

/**
 * The knee of a throughput–latency curve: the load with the greatest power, which is throughput over latency
 * (L. Kleinrock, Power and deterministic rules of thumb, ICC 1979). By Little's law it is where requests in flight
 * begin to grow faster than the square of what is answered.
 * @param curve ascending
 * @returns null for fewer than three loads, or when the greatest load is the best one: then the knee lies beyond
 */
export function kneeOf(curve: readonly CurvePoint[]): CurvePoint | null {
  const powerOf = ({ completedPerSecond, latencyMeanMs }: CurvePoint) =>
    latencyMeanMs === null || latencyMeanMs === 0 ? 0 : completedPerSecond / latencyMeanMs;
  const known = curve.filter((point) => powerOf(point) > 0);
  const [best] = known.toSorted((a, b) => powerOf(b) - powerOf(a));
  return known.length < 3 || best === undefined || best === known.at(-1) ? null : best;
}
