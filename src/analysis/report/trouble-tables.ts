import { MISMATCH_KINDS, UNCHECKED_REASONS, UNCHECKED_TEXTS } from '../../core/run.ts';
import type { ErrorLine, ReportDocument } from '../../documents/report.ts';
import { columnsOf, type ReportTable } from './report-table.ts';
import { NONE, numberText, shareText } from './value-text.ts';

export function countsTable({ counts, summary }: ReportDocument): ReportTable {
  const whole = isOfWholePlan(summary);
  const meanings = [
    [
      'recorded in the window',
      counts.recorded,
      whole ? 'all exchanges of the window, filtered ones too' : OF_A_PART,
    ],
    ['selected', counts.selected, whole ? 'what the filters kept' : OF_A_PART],
    ['planned', counts.planned, whole ? 'what the schedule asked for' : OF_A_PART],
    ['sent', counts.sent, 'completed + failed + cancelled'],
    ['completed', counts.completed, 'a whole answer of any status below 500'],
    ['failed', counts.failed, 'no whole answer, or a 5xx'],
    ['cancelled', counts.cancelled, 'ended by us where the recorded client had left'],
    ['refused', counts.refused, 'due, and stopped by a cap of our own'],
    ['unreached', counts.unreached, 'planned, and the run ended before'],
  ] as const;
  return {
    title: 'Requests',
    unit: 'requests',
    source: 'the plan and the rows of the run; the warm-up is in none of them',
    lookFor: 'planned that was not sent: the target had less load than the plan says',
    columns: columnsOf(['what', 'meaning'], ['requests', 'of planned']),
    rows: meanings.flatMap(([name, count, meaning], at) =>
      count === null
        ? []
        : [
            [
              name,
              meaning,
              numberText(count),
              at < 3 || !counts.planned ? NONE : shareText(count / counts.planned),
            ],
          ],
    ),
  };
}

const OF_A_PART = 'at least: the run was stopped, and read no farther';

/** One that says nothing of it was counted as far as it had read. */
function isOfWholePlan(summary: ReportDocument['summary']): boolean {
  return summary === null || (summary.planCounted ?? summary.interrupted === null);
}

export function skippedTable({ skipped }: ReportDocument): ReportTable | null {
  if (skipped.length === 0) return null;
  return {
    title: 'Recorded and not sent',
    unit: 'requests',
    source: 'the replay’s audit of the window',
    lookFor: 'large counts: the load lacks them, and the effective multiplier says by how much',
    columns: columnsOf(['reason', 'what it means'], ['requests']),
    rows: skipped.map(({ reason, meaning, requests }) => [reason, meaning, numberText(requests)]),
  };
}

export function errorTable({ errors }: ReportDocument): ReportTable | null {
  if (errors.length === 0) return null;
  return {
    title: 'Errors by kind',
    unit: 'requests; share of everything sent',
    source:
      'rows of the run; examples are the first of each kind: send (send_index of table send) and the exchange it repeats',
    lookFor: 'kinds that come with load (time-outs, 503) and those that come alone (resets, protocol)',
    columns: columnsOf(['kind', 'what it means', 'examples'], ['requests', 'share']),
    rows: errors.map((line) => [
      line.kind,
      line.meaning,
      examplesText(line),
      numberText(line.requests),
      shareText(line.share),
    ]),
  };
}

function examplesText({ examples }: Pick<ErrorLine, 'examples'>): string {
  if (examples.length === 0) return NONE;
  return examples
    .map(({ index, segment, exchangeId }) => `send ${index}: exchange ${exchangeId} of ${segment}`)
    .join('; ');
}

export function statusTable({ statuses, recording }: ReportDocument): ReportTable | null {
  const { statuses: recorded } = recording;
  const names = [...new Set([...Object.keys(statuses), ...Object.keys(recorded ?? {})])].sort();
  if (names.length === 0) return null;
  const total = (counts: Readonly<Record<string, number>>) =>
    Object.values(counts).reduce((sum, count) => sum + count, 0);
  const answered = total(statuses);
  const found = total(recorded ?? {});
  const cells = (count: number, of: number) => [numberText(count), of === 0 ? NONE : shareText(count / of)];
  return {
    title: 'Statuses',
    unit: 'requests; share of answers',
    source: `answers of the target${recorded === null ? '' : ', and what was recorded for the same requests (none: nobody saw an answer)'}`,
    lookFor: 'a mix that differs from the recording: what is no 2xx is cheap to answer',
    columns: columnsOf(['status'], ['sent', 'share', ...(recorded === null ? [] : ['recorded', 'share'])]),
    rows: names.map((status) => [
      status,
      ...cells(statuses[status] ?? 0, answered),
      ...(recorded === null ? [] : cells(recorded[status] ?? 0, found)),
    ]),
  };
}

const MISMATCH_TEXTS = {
  status: 'another status',
  shape: 'another form: members, types, lengths of lists, or bytes',
  values: 'the same form with other values',
  length: 'generated text of another length',
  finish: 'ended for another reason, or broke off',
} as const;

/** How answers compare with the recorded ones; null where that was not asked for. */
export function answerTable({ summary }: ReportDocument): ReportTable | null {
  const check = summary?.check ?? null;
  if (check === null) return null;
  const { answers, checked, mismatched, byKind, unchecked, examples, level } = check;
  const line = (name: string, meaning: string, example: string, count: number) => [
    name,
    meaning,
    example,
    numberText(count),
    answers === 0 ? NONE : shareText(count / answers),
  ];
  return {
    title: 'Answers held against the recorded ones',
    unit: 'requests; share of all answers',
    source: `replay --check, by ${level}; examples are the first of each kind`,
    lookFor: 'any mismatch: a build that answers something else may be faster for that alone',
    columns: columnsOf(['what', 'what it means', 'examples'], ['requests', 'share']),
    rows: [
      line('checked', 'compared as far as was asked, or found to differ', NONE, checked),
      line('mismatched', 'not the recorded answer', NONE, mismatched),
      ...MISMATCH_KINDS.filter((kind) => byKind[kind] > 0).map((kind) =>
        line(
          `mismatched: ${kind}`,
          MISMATCH_TEXTS[kind],
          examplesText({ examples: examples[kind] ?? [] }),
          byKind[kind],
        ),
      ),
      ...UNCHECKED_REASONS.filter((reason) => (unchecked[reason] ?? 0) > 0).map((reason) =>
        line(`unchecked: ${reason}`, UNCHECKED_TEXTS[reason], NONE, unchecked[reason] ?? 0),
      ),
    ],
  };
}
