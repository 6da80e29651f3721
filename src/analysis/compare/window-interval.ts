import { studentT } from '../stats/student-t.ts';

/** Windows an interval is made of: fewer say nothing of how they vary, more are too short. */
export const MIN_WINDOWS = 5;
const JOINED_WINDOWS = 10;
export const MAX_WINDOWS = 20;

/** What the differences of some windows come to. */
export interface WindowSpread {
  readonly mean: number;
  /** Standard error of the mean. */
  readonly error: number;
  readonly windows: number;
}

/** How many windows of at least `least` values so many values make: 20, 10, or 5 to 9; 0 for fewer. */
export function windowCount(values: number, least: number): number {
  const most = Math.floor(values / least);
  if (most >= MAX_WINDOWS) return MAX_WINDOWS;
  if (most >= JOINED_WINDOWS) return JOINED_WINDOWS;
  return most < MIN_WINDOWS ? 0 : most;
}

/** Positions from where to where a window of equal count lies. */
export function windowEdges(values: number, windows: number, at: number): readonly [number, number] {
  return [Math.floor((at * values) / windows), Math.floor(((at + 1) * values) / windows)];
}

/** Mean and standard error over windows, as if they were independent. */
export function spreadOf(differences: readonly number[]): WindowSpread {
  const windows = differences.length;
  const mean = differences.reduce((sum, each) => sum + each, 0) / windows;
  const squares = differences.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  return { mean, error: Math.sqrt(squares / (windows * (windows - 1))), windows };
}

/**
 * Half the width of the interval that each side of the truth lies outside of with 1 − `probability`: Student's t
 * over windows, and where there are both, the wider one of twenty windows and of ten twice as long: neighbours
 * that hang together vary more when they are joined.
 */
export function halfWidth(spreads: readonly WindowSpread[], probability: number): number {
  return spreads.reduce(
    (most, { error, windows }) => Math.max(most, studentT(probability, windows - 1) * error),
    0,
  );
}

/** The same differences over the windows, and over joined ones where there are twenty. */
export function spreadsOver(windows: number, differencesOf: (windows: number) => number[]): WindowSpread[] {
  const counts = windows === MAX_WINDOWS ? [MAX_WINDOWS, JOINED_WINDOWS] : [windows];
  return counts.map((count) => spreadOf(differencesOf(count)));
}

/** Median of all means of two differences, each with itself as well (Hodges and Lehmann): robust against one odd window. */
export function hodgesLehmann(differences: readonly number[]): number {
  const means = differences.flatMap((one, at) => differences.slice(at).map((other) => (one + other) / 2));
  means.sort((a, b) => a - b);
  const middle = means.length / 2;
  return (means[Math.floor(middle)]! + means[Math.ceil(middle) - 1]!) / 2;
}
