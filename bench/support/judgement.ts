/** Fewer rounds show that a bench runs, and not what it measures. */
export const JUDGED_ROUNDS = 5;

/** A figure of a bench, and the most that it may be. */
export interface Bounded {
  readonly figure: string;
  readonly bound: number;
  /** Null where it could not be measured, and why is in the log already: no nginx, or something was lost. */
  readonly value: number | null;
}

/**
 * Holds the figures of a bench to their bounds and says how each fares.
 * @returns whether one was measured and none is beyond its bound, or there are too few rounds to tell
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
