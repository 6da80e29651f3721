import { formatMultiplier } from '../../core/units.ts';
import type { ReportDocument } from '../../documents/report.ts';
import { msText, numberText, shareText } from './value-text.ts';

/** What was played, against what, and when, as sentences. */
export function runLines({ run, summary, counts, recording }: ReportDocument): string[] {
  const who = run.id === null ? 'a run that was not sealed' : `run ${run.id}`;
  const load =
    run.multiplier === null
      ? ''
      : ` at ${formatMultiplier(run.multiplier)}x by ${run.scaling} (effective ${run.effectiveMultiplier === null ? 'not known' : numberText(run.effectiveMultiplier)})`;
  const lines = [
    run.target === null
      ? `${who} in ${run.directory}`
      : `${who}: ${run.capture} against ${run.target}${load}`,
    `${numberText(counts.sent)} requests in ${msText(run.durationS * 1e3)}${run.startedAt === null ? '' : `, from ${run.startedAt} to ${run.endedAt}`}${run.warmupS === 0 ? '' : `; ${msText(run.warmupS * 1e3)} of warm-up before it are in no figure`}`,
  ];
  if (summary?.coverage != null) {
    lines.push(
      `the capture holds ${shareText(summary.coverage)} of the traffic that was seen while recording`,
    );
  }
  return [...lines, recordingLine(recording), ...mergedLines(summary)];
}

function recordingLine({ unavailable, found, sought, timed }: ReportDocument['recording']): string {
  if (unavailable !== null) return `recorded latency is not available: ${unavailable}`;
  if (found < sought) {
    return `the recording beside it: ${numberText(found)} of the ${numberText(sought)} requests are in the capture, ${numberText(timed)} with a latency`;
  }
  if (sought === 0) return 'no requests were sent that could be held against the recording';
  return timed === 0
    ? 'recorded latency is not available: the capture holds no times of answers'
    : `the recording beside it: ${numberText(timed)} of the ${numberText(sought)} requests have a recorded latency`;
}

/** Of a run that was put together from shards. */
function mergedLines(summary: object | null): string[] {
  const merged = (summary as { merged?: { count?: number; missing?: readonly number[] } } | null)?.merged;
  if (merged?.count === undefined) return [];
  const missing = merged.missing ?? [];
  return [
    `put together from ${merged.count - missing.length} of ${merged.count} shards${missing.length === 0 ? '' : `; missing: ${missing.join(', ')}`}`,
  ];
}
