/** Minimum rounds for a judgement. Fewer rounds only show that a bench runs. */
export const JUDGED_ROUNDS = 5;

/** A figure of a bench and its upper limit. */
export interface Bounded {
  readonly figure: string;
  readonly bound: number;
  /** Null if it was not measured, for example without nginx or after a loss. The log has the reason already. */
  readonly value: number | null;
}

/**
 * Compares the figures of a bench with their limits and prints the results.
 * @returns true if at least one was measured and none exceeds its limit, or if there are too few rounds to judge
 */
export function withinBounds(
  rounds: number,
  figures: readonly Bounded[],
  say: (line: string) => void = console.log,
): boolean {
  if (rounds < JUDGED_ROUNDS) {
    say(`not judged: ${rounds} rounds are too few, ${JUDGED_ROUNDS} would do`);
    return true;
  }
  const beyond = figures.filter(({ value, bound }) => value !== null && !(value <= bound));
  for (const one of figures) say(`${wordOf(one, beyond.includes(one))}: ${one.figure}`);
  return beyond.length === 0 && figures.some(({ value }) => value !== null);
}

function wordOf({ value, bound }: Bounded, beyond: boolean): string {
  if (value === null) return 'not judged, because not measured';
  return beyond ? `BEYOND ITS BOUND, ${value} > ${bound}` : `within its bound, ${value} ≤ ${bound}`;
}
