import { comparePairs } from '../../src/analysis/compare/judge.ts';
import { ANSWERED, FAILED, type PairedAnswers, STREAMED, WHOLE } from '../../src/analysis/compare/pairs.ts';
import type { ComparisonVerdict } from '../../src/documents/comparison.ts';
import { type QueuePairParts, queuePair, swinging } from './queue-simulator.ts';

/** Pairs that all were answered with 200; latencies in seconds. */
export function answeredPairs(a: Float64Array, b: Float64Array): PairedAnswers {
  const count = a.length;
  return {
    count,
    aNs: a.map((seconds) => seconds * 1e9),
    bNs: b.map((seconds) => seconds * 1e9),
    aOutcome: new Uint8Array(count).fill(ANSWERED),
    bOutcome: new Uint8Array(count).fill(ANSWERED),
    aStatus: new Uint16Array(count).fill(200),
    bStatus: new Uint16Array(count).fill(200),
    aTtftNs: new Float32Array(count).fill(Number.NaN),
    bTtftNs: new Float32Array(count).fill(Number.NaN),
    aItlNs: new Float32Array(count).fill(Number.NaN),
    bItlNs: new Float32Array(count).fill(Number.NaN),
    aLagNs: new Float32Array(count),
    bLagNs: new Float32Array(count),
    aTraits: new Uint8Array(count).fill(WHOLE),
    bTraits: new Uint8Array(count).fill(WHOLE),
  };
}

/** What the comparison says of so many drawn pairs. @param swing that both sides share over the run */
export function verdictsOf(
  draws: number,
  parts: Omit<QueuePairParts, 'seed'>,
  swing = 0,
): Record<ComparisonVerdict, number> {
  const counts = { BETTER: 0, SAME: 0, WORSE: 0, INCONCLUSIVE: 0 };
  for (let seed = 1; seed <= draws; seed++) {
    const { a, b } = queuePair({ ...parts, seed });
    counts[comparePairs(answeredPairs(swinging(a, swing), swinging(b, swing))).verdict] += 1;
  }
  return counts;
}

/**
 * The same of streams: latency, time to the first token and mean time between tokens are those of three queues that
 * share nothing, so that chance has all of them to be wrong in. Those of B are so many times slower.
 */
export function streamVerdictsOf(
  draws: number,
  parts: Omit<QueuePairParts, 'seed' | 'slowdown'>,
  slowdown: { readonly ttft: number; readonly itl: number },
): Record<ComparisonVerdict, number> {
  const counts = { BETTER: 0, SAME: 0, WORSE: 0, INCONCLUSIVE: 0 };
  for (let seed = 1; seed <= draws; seed++) {
    const latency = queuePair({ ...parts, seed: seed * 3, slowdown: 1 });
    const ttft = queuePair({ ...parts, seed: seed * 3 + 1, slowdown: slowdown.ttft });
    const itl = queuePair({ ...parts, seed: seed * 3 + 2, slowdown: slowdown.itl });
    const nanoseconds = (seconds: Float64Array) => Float32Array.from(seconds, (each) => each * 1e9);
    const pairs = {
      ...answeredPairs(latency.a, latency.b),
      ...{ aTtftNs: nanoseconds(ttft.a), bTtftNs: nanoseconds(ttft.b) },
      ...{ aItlNs: nanoseconds(itl.a), bItlNs: nanoseconds(itl.b) },
    };
    pairs.aTraits.fill(STREAMED);
    pairs.bTraits.fill(STREAMED);
    counts[comparePairs(pairs).verdict] += 1;
  }
  return counts;
}

/** What is far from its limit. */
export const CALM = { requests: 2_000, executors: 4, load: 0.5, service: 'steady' } as const;

/** B is slower than A by so much. */
export function pairsOf(slowdown: number, requests: number = CALM.requests): PairedAnswers {
  const { a, b } = queuePair({ ...CALM, requests, slowdown, seed: 1 });
  return answeredPairs(a, b);
}

/** Every so many requests of B end otherwise. */
export function spoilt(pairs: PairedAnswers, outcome: number, every: (at: number) => boolean): PairedAnswers {
  for (let at = 0; at < pairs.count; at++) {
    if (!every(at)) continue;
    pairs.bOutcome[at] = outcome;
    pairs.bStatus[at] = outcome === FAILED ? 503 : 429;
    pairs.bNs[at] = outcome === FAILED ? Number.POSITIVE_INFINITY : 1e6;
  }
  return pairs;
}
