import type { OutcomeFigures } from './outcome-counts.ts';
import type { ReplayDocument } from './replay-document.ts';

const COUNTS = ['sent', 'completed', 'failed', 'cancelled', 'refused', 'unreached'] as const;

/**
 * In what the rows of a run are not those its summary was written of, in words; empty where they agree.
 * @param run the id that lies beside the rows; null where none does
 */
export function rowDifferences(
  run: string | null,
  outcomes: OutcomeFigures,
  summary: ReplayDocument,
): string[] {
  const own = run === null || run === summary.run ? [] : [`rows of run ${run}, a summary of ${summary.run}`];
  const counts = COUNTS.filter((name) => outcomes[name] !== summary[name]).map(
    (name) => `${name} ${outcomes[name]} in the rows, ${summary[name]} in the summary`,
  );
  return [...own, ...counts];
}
