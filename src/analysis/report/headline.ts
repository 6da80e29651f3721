import { formatMultiplier } from '../../core/units.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import type { ReportDocument } from '../../documents/report.ts';

type Judged = Pick<ReportDocument, 'verdict' | 'valid' | 'summary'> & {
  /** Whether the rows are other than those the verdict was found on. */
  readonly differs: boolean;
};

/** The verdict in a sentence, for whoever reads no further. */
export function headlineOf({ verdict, valid, summary, differs }: Judged): string {
  if (summary === null)
    return 'This run never came to its end: there is no verdict, only what its rows tell.';
  if (differs)
    return `The run was judged ${verdict ?? 'without an objective'}, but its rows are no longer those it was judged by.`;
  const load =
    summary.multiplier === 1
      ? 'at the recorded load'
      : `at ${formatMultiplier(summary.multiplier)} times the recorded load`;
  if (verdict === 'PASS') return `The target kept ${objectivesText(summary)} ${load}.`;
  if (verdict === 'FAIL') return `The target did not keep ${violatedText(summary)} ${load}.`;
  if (verdict === 'INCONCLUSIVE') {
    return `The run cannot say whether the target keeps ${objectivesText(summary)} ${load}: the cause lies on our side or in the comparison.`;
  }
  return valid
    ? `No objective was given, so there is no verdict; the run itself is valid, ${load}.`
    : 'No objective was given, and the run is not valid: its figures are not those of the planned load.';
}

function objectivesText({ slo }: ReplayDocument): string {
  return slo.length === 1 ? 'its objective' : `all of its ${slo.length} objectives`;
}

function violatedText({ slo }: ReplayDocument): string {
  const violated = slo.filter(({ ok }) => ok === false).length;
  if (slo.length === 1) return 'its objective';
  return violated === slo.length
    ? `any of ${slo.length} objectives`
    : `${violated} of ${slo.length} objectives`;
}
