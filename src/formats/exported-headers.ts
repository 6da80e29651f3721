import type { HeaderPair } from '../core/headers.ts';
import type { LostCounts } from './export-writer.ts';

/** What a replay puts on its requests begins so. */
const OURS = 'x-reprise-';

/** Header pairs of a flat list. */
export function headerPairs(flat: readonly string[]): HeaderPair[] {
  const pairs: HeaderPair[] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at] ?? '', flat[at + 1] ?? '']);
  return pairs;
}

/** The same without what marks a replay: for archives, which nobody sends. */
export function recordedPairs(flat: readonly string[]): HeaderPair[] {
  return headerPairs(flat).filter(([name]) => !name.toLowerCase().startsWith(OURS));
}

/** Counts requests with a name that comes more than once: where headers are a map, their values are joined. */
export function countRepeated(flat: readonly string[], lost: LostCounts): void {
  const names = new Set<string>();
  for (let at = 0; at < flat.length; at += 2) names.add((flat[at] ?? '').toLowerCase());
  if (names.size < flat.length / 2) lost.count('a header that came more than once: its values are joined');
}
