import type { ReplayDocument } from '../documents/replay.ts';
import type { OutcomeFigures } from './outcome-counts.ts';

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
  // What a run that was stopped had not read of its plan was not reached either, and has no rows.
  const stated = { ...summary, unreached: summary.unreached - summary.unread.planned };
  const counts = COUNTS.filter((name) => outcomes[name] !== stated[name]).map(
    (name) => `${name} ${outcomes[name]} in the rows, ${stated[name]} in the summary`,
  );
  return [...own, ...counts];
}
