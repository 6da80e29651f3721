import { COMPARISON_BOUNDS, comparePairs } from '../../src/analysis/compare/judge.ts';
import {
  ANSWERED,
  FAILED,
  joinedPairs,
  type PairedAnswers,
  type SideRow,
  STREAMED,
  WHOLE,
} from '../../src/analysis/compare/pairs.ts';
import type { ComparisonBounds, ComparisonVerdict } from '../../src/documents/comparison.ts';
import { type QueuePairParts, queuePair, type RunNoise, runFactors, swinging } from './queue-simulator.ts';

/** A request of one side that was answered with 200. */
export function sideRow(exchangeId: number, latencyNs: number, parts: Partial<SideRow> = {}): SideRow {
  const none = { ttftNs: Number.NaN, itlNs: Number.NaN, lagNs: 0, bytes: Number.NaN, traits: 0 };
  return {
    segment: 's',
    exchangeId,
    offsetNs: exchangeId,
    latencyNs,
    outcome: 0,
    status: 200,
    ...none,
    ...parts,
  };
}

/** Pairs with only 200 answers; latencies in seconds. */
export function answeredPairs(a: Float64Array, b: Float64Array): PairedAnswers {
  const side = (seconds: Float64Array) => ({
    latencyNs: seconds.map((each) => each * 1e9),
    ttftNs: new Float32Array(seconds.length).fill(Number.NaN),
    itlNs: new Float32Array(seconds.length).fill(Number.NaN),
    lagNs: new Float32Array(seconds.length),
    bytes: new Float32Array(seconds.length).fill(1_000),
    status: new Uint16Array(seconds.length).fill(200),
    outcome: new Uint8Array(seconds.length).fill(ANSWERED),
    traits: new Uint8Array(seconds.length).fill(WHOLE),
  });
  return { count: a.length, a: side(a), b: side(b) };
}

/** Assigns requests to routes in turn, with `parts[route]` consecutive requests for each route. */
export function routed(pairs: PairedAnswers, parts: readonly number[]): PairedAnswers {
  const order = parts.flatMap((of, route) => Array.from({ length: of }, () => route));
  const of = Uint32Array.from({ length: pairs.count }, (_, at) => order[at % order.length]!);
  return { ...pairs, routes: { names: parts.map((_, route) => `POST /${route}`), of } };
}

/**
 * The verdicts of comparisons of simulated pairs.
 * @param draws number of comparisons
 * @param swing amplitude of a variation over the run that both sides share
 * @param routes consecutive requests for each route
 */
export function verdictsOf(
  draws: number,
  parts: Omit<QueuePairParts, 'seed'>,
  swing = 0,
  bounds: ComparisonBounds = COMPARISON_BOUNDS,
  routes: readonly number[] = [1],
): Record<ComparisonVerdict, number> {
  const counts = { BETTER: 0, SAME: 0, WORSE: 0, INCONCLUSIVE: 0 };
  for (let seed = 1; seed <= draws; seed++) {
    const { a, b } = queuePair({ ...parts, seed });
    const pairs = routed(answeredPairs(swinging(a, swing), swinging(b, swing)), routes);
    counts[comparePairs(pairs, bounds).verdict] += 1;
  }
  return counts;
}

/** Several runs of each side of one plan, on a machine that is slower in some runs than in others. */
interface RepeatedParts extends Omit<QueuePairParts, 'seed'> {
  /** Of each side. */
  readonly runs: number;
  readonly noise: RunNoise;
  /** Standard deviation of the latencies of one build between its runs. */
  readonly share: number;
}

/** The verdicts of comparisons of several simulated runs of each side. */
export function repeatedVerdictsOf(draws: number, parts: RepeatedParts): Record<ComparisonVerdict, number> {
  const counts = { BETTER: 0, SAME: 0, WORSE: 0, INCONCLUSIVE: 0 };
  for (let seed = 1; seed <= draws; seed++) counts[comparePairs(repeatedPairs(parts, seed)).verdict] += 1;
  return counts;
}

export function repeatedPairs(
  { runs, noise, share, slowdown, ...queue }: RepeatedParts,
  seed: number,
): PairedAnswers {
  const factors = runFactors(runs, noise, share, seed);
  const pairs = factors.a.map((factor, at) => {
    const { a, b } = queuePair({ ...queue, slowdown: 1, seed: seed * runs + at });
    const slower = b.map((each) => each * factors.b[at]! * slowdown);
    const both = answeredPairs(
      a.map((each) => each * factor),
      slower,
    );
    return { ...both, offsetNs: Float64Array.from(a.keys()) };
  });
  return joinedPairs(pairs);
}

/**
 * The verdicts for streams. Latency, time to the first token and mean time between tokens come from three independent
 * queues, so that each can be wrong by chance. The times of B are slower by the given factors.
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
    const pairs = answeredPairs(latency.a, latency.b);
    for (const side of ['a', 'b'] as const) {
      pairs[side].ttftNs.set(nanoseconds(ttft[side]));
      pairs[side].itlNs.set(nanoseconds(itl[side]));
    }
    pairs.a.traits.fill(STREAMED);
    pairs.b.traits.fill(STREAMED);
    counts[comparePairs(pairs).verdict] += 1;
  }
  return counts;
}

/** A queue far from its limit. */
export const CALM = { requests: 2_000, executors: 4, load: 0.5, service: 'steady' } as const;

/** Pairs in which B is slower than A by this factor. */
export function pairsOf(slowdown: number, requests: number = CALM.requests): PairedAnswers {
  const { a, b } = queuePair({ ...CALM, requests, slowdown, seed: 1 });
  return answeredPairs(a, b);
}

/** Gives some requests of B another outcome. */
export function spoilt(pairs: PairedAnswers, outcome: number, every: (at: number) => boolean): PairedAnswers {
  for (let at = 0; at < pairs.count; at++) {
    if (!every(at)) continue;
    pairs.b.outcome[at] = outcome;
    pairs.b.status[at] = outcome === FAILED ? 503 : 429;
    pairs.b.latencyNs[at] = outcome === FAILED ? Number.POSITIVE_INFINITY : 1e6;
  }
  return pairs;
}
