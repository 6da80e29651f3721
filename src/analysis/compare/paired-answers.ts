/** What became of a request on one side. */
export const ANSWERED = 0;
export const FAILED = 1;
/** Answered with a 4xx or a 3xx: an answer, but not the one that was asked for. */
export const TURNED_AWAY = 2;

/** Traits of an answer, as bits: how it came, where that is known, and how it compares with the recorded one. */
export const STREAMED = 1;
export const WHOLE = 8;
export const AGREES = 2;
export const DIFFERS = 4;
export const CHECKED = AGREES | DIFFERS;

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
  /** From the planned instant to the first token, nanoseconds; Infinity where a stream had none, NaN: not known. */
  readonly aTtftNs: Float32Array;
  readonly bTtftNs: Float32Array;
  /** Mean time between neighbouring events with content of one stream, nanoseconds; NaN: not known. */
  readonly aItlNs: Float32Array;
  readonly bItlNs: Float32Array;
  /** How late we sent it by ourselves, nanoseconds: a part of latency and of the time to the first token. */
  readonly aLagNs: Float32Array;
  readonly bLagNs: Float32Array;
  readonly aTraits: Uint8Array;
  readonly bTraits: Uint8Array;
}

/** One time of both sides, pair by pair in the order of the plan, nanoseconds; Infinity for what never came. */
export interface PairedTimes {
  readonly a: Float64Array;
  readonly b: Float64Array;
}

/** The latencies of pairs that can be compared: a 4xx or 3xx is no cheaper answer, so where either side has one, none is. */
export function comparableLatencies(
  pairs: Pick<PairedAnswers, 'count' | 'aNs' | 'bNs' | 'aOutcome' | 'bOutcome'>,
): PairedTimes {
  return keptTimes(
    pairs.count,
    (at) => (isTurnedAway(pairs, at) ? Number.NaN : pairs.aNs[at]!),
    (at) => pairs.bNs[at]!,
  );
}

/** The same of the same pairs, each counted from when we sent it. */
export function latenciesLessLag(pairs: PairedAnswers): PairedTimes {
  const { aNs, bNs, aLagNs, bLagNs } = pairs;
  return comparableLatencies({
    ...pairs,
    aNs: aNs.map((each, at) => Math.max(0, each - aLagNs[at]!)),
    bNs: bNs.map((each, at) => Math.max(0, each - bLagNs[at]!)),
  });
}

/** Times to the first token, of pairs of which a side streams; one that failed instead never had any. */
export function comparableTtfts(pairs: PairedAnswers): PairedTimes {
  const { aTraits, bTraits, aOutcome, bOutcome, aTtftNs, bTtftNs } = pairs;
  const isStream = (at: number) => !isTurnedAway(pairs, at) && ((aTraits[at]! | bTraits[at]!) & STREAMED) > 0;
  const timeOf = (outcomes: Uint8Array, times: Float32Array) => (at: number) =>
    !isStream(at) ? Number.NaN : outcomes[at] === FAILED ? Number.POSITIVE_INFINITY : times[at]!;
  return keptTimes(pairs.count, timeOf(aOutcome, aTtftNs), timeOf(bOutcome, bTtftNs));
}

/** The same of the same pairs, each counted from when we sent it. */
export function ttftsLessLag(pairs: PairedAnswers): PairedTimes {
  const { aTtftNs, bTtftNs, aLagNs, bLagNs } = pairs;
  return comparableTtfts({
    ...pairs,
    aTtftNs: aTtftNs.map((each, at) => Math.max(0, each - aLagNs[at]!)),
    bTtftNs: bTtftNs.map((each, at) => Math.max(0, each - bLagNs[at]!)),
  });
}

/**
 * Less than this between tokens is no time of the server's: what lies in one segment is read at once, and whether it
 * does is chance.
 */
const LEAST_ITL_NS = 1e6;

/** Mean times between tokens, a millisecond at least, of pairs of which both sides have some. */
export function comparableItls(pairs: PairedAnswers): PairedTimes {
  const { count, aItlNs, bItlNs } = pairs;
  // NaN is the greater of any two.
  return keptTimes(
    count,
    (at) => (isTurnedAway(pairs, at) ? Number.NaN : Math.max(LEAST_ITL_NS, aItlNs[at]!)),
    (at) => Math.max(LEAST_ITL_NS, bItlNs[at]!),
  );
}

/** Times that both sides have. */
function keptTimes(count: number, ofA: (at: number) => number, ofB: (at: number) => number): PairedTimes {
  const a = new Float64Array(count);
  const b = new Float64Array(count);
  let kept = 0;
  for (let at = 0; at < count; at++) {
    const [one, other] = [ofA(at), ofB(at)];
    if (Number.isNaN(one) || Number.isNaN(other)) continue;
    a[kept] = one;
    b[kept] = other;
    kept += 1;
  }
  return { a: a.subarray(0, kept), b: b.subarray(0, kept) };
}

function isTurnedAway(
  { aOutcome, bOutcome }: Pick<PairedAnswers, 'aOutcome' | 'bOutcome'>,
  at: number,
): boolean {
  return aOutcome[at] === TURNED_AWAY || bOutcome[at] === TURNED_AWAY;
}
