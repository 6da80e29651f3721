/** What became of a request on one side. */
export const ANSWERED = 0;
export const FAILED = 1;
/** Answered with a 4xx: an answer, but not the one that was asked for. */
export const TURNED_AWAY = 2;

/**
 * The same requests on both sides, in the order of the plan, one position each. Latencies are nanoseconds,
 * Infinity for a request without a complete answer, with a 5xx, or refused by our own cap.
 */
export interface PairedAnswers {
  readonly count: number;
  readonly aNs: Float64Array;
  readonly bNs: Float64Array;
  /** `ANSWERED`, `FAILED` or `TURNED_AWAY`. */
  readonly aOutcome: Uint8Array;
  readonly bOutcome: Uint8Array;
  /** 0 where there is none. */
  readonly aStatus: Uint16Array;
  readonly bStatus: Uint16Array;
}

/** The latencies of pairs that can be compared: a 4xx is no cheaper answer, so where either side has one, none is. */
export function comparableLatencies(pairs: PairedAnswers): {
  readonly a: Float64Array;
  readonly b: Float64Array;
} {
  const a = new Float64Array(pairs.count);
  const b = new Float64Array(pairs.count);
  let kept = 0;
  for (let at = 0; at < pairs.count; at++) {
    if (pairs.aOutcome[at] === TURNED_AWAY || pairs.bOutcome[at] === TURNED_AWAY) continue;
    a[kept] = pairs.aNs[at]!;
    b[kept] = pairs.bNs[at]!;
    kept += 1;
  }
  return { a: a.subarray(0, kept), b: b.subarray(0, kept) };
}
