import { hasFailed, type Send } from '../../core/run.ts';
import { latencyOf } from '../run/latency.ts';
import type { Threshold } from '../verdict/slo.ts';

const NS_PER_S = 1e9;
const NS_PER_MS = 1e6;

/**
 * Counts the load of each second at its arrival, not when it was answered: a target that is too small would look idle.
 * A second violates an objective where more of its requests are over the limit than the objective lets be.
 */
export class LoadSeconds {
  readonly #objectives: readonly { readonly threshold: Threshold; readonly allowed: number }[];
  /** By second: flat, because a run may last for weeks. */
  readonly #offered: number[] = [];
  /** Of each objective, the requests that broke its limit. */
  readonly #over: readonly number[][];

  /** @param thresholds those that say something of a second: percentiles and maxima of latency, and shares of errors */
  constructor(thresholds: readonly Threshold[]) {
    this.#objectives = thresholds.flatMap((threshold) => {
      const allowed = allowedShare(threshold);
      return allowed === null ? [] : [{ threshold, allowed }];
    });
    this.#over = this.#objectives.map(() => []);
  }

  add(sends: readonly Send[]): void {
    for (const send of sends) {
      const at = Math.floor(send.intendedOffsetNs / NS_PER_S);
      this.#offered[at] = this.offeredAt(at) + 1;
      for (const [index, { threshold }] of this.#objectives.entries()) {
        const over = this.#over[index];
        if (over !== undefined && isOver(threshold, send)) over[at] = (over[at] ?? 0) + 1;
      }
    }
  }

  /** Requests that were due in a second. */
  offeredAt(second: number): number {
    return this.#offered[second] ?? 0;
  }

  /** Seconds that violate an objective, ascending; null where no objective says anything of a second. */
  violated(): readonly number[] | null {
    if (this.#objectives.length === 0) return null;
    return [...this.#offered.keys()].filter((second) =>
      this.#objectives.some(
        ({ allowed }, at) => (this.#over[at]?.[second] ?? 0) > allowed * this.offeredAt(second) + 1e-9,
      ),
    );
  }
}

function allowedShare({ metric, aggregation, operator, limit, slice }: Threshold): number | null {
  if (slice !== null || !operator.startsWith('<')) return null;
  if (metric === 'errors') return aggregation.kind === 'rate' ? limit : null;
  if (metric !== 'latency' && metric !== 'service') return null;
  if (aggregation.kind === 'percentile') return 1 - aggregation.percent / 100;
  return aggregation.kind === 'max' ? 0 : null;
}

/** A request that failed, or never left, was never answered. Who left as recorded says nothing. */
function isOver({ metric, limit }: Threshold, send: Send): boolean {
  if (send.cancelled) return false;
  if (send.refused || send.actualOffsetNs === null) return true;
  const failed = hasFailed(send);
  if (metric === 'errors' || failed) return failed;
  const latency = latencyOf({ ...send, actualOffsetNs: send.actualOffsetNs }, true);
  if (latency === null) return true;
  return (metric === 'latency' ? latency.scheduledNs : latency.serviceNs) > limit * NS_PER_MS;
}
