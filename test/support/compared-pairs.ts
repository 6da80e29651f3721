import { type ComparisonVerdict, comparePairs } from '../../src/analysis/compare/compare-pairs.ts';
import { ANSWERED, type PairedAnswers } from '../../src/analysis/compare/paired-answers.ts';
import { type QueuePairParts, queuePair } from './queue-simulator.ts';

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
  };
}

/** What the comparison says of so many drawn pairs. */
export function verdictsOf(
  draws: number,
  parts: Omit<QueuePairParts, 'seed'>,
): Record<ComparisonVerdict, number> {
  const counts = { BETTER: 0, SAME: 0, WORSE: 0, INCONCLUSIVE: 0 };
  for (let seed = 1; seed <= draws; seed++) {
    const { a, b } = queuePair({ ...parts, seed });
    counts[comparePairs(answeredPairs(a, b)).verdict] += 1;
  }
  return counts;
}
